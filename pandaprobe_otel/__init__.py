"""PandaProbe for OpenTelemetry: traces, evaluations and a local server.

An app needs only `init()`. This file lists every public name and loads it on first use. The pytest plugin is part of
this package, so every test run of every user imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandaprobe_otel.process.forks import lazy_names  # the one module that is not loaded lazily

if TYPE_CHECKING:
    __version__: str

    from pandaprobe_otel.api import AsyncClient, Client
    from pandaprobe_otel.bootstrap import PandaProbe, aflush, flush, init, shutdown, status, trace_url
    from pandaprobe_otel.capture.factories import (
        agent,
        chain,
        embedding,
        llm,
        retriever,
        span,
        start_trace,
        tool,
        trace,
    )
    from pandaprobe_otel.capture.official_names import get_client as get_client
    from pandaprobe_otel.capture.official_names import reset_current_session_id as reset_current_session_id
    from pandaprobe_otel.capture.official_names import reset_current_user_id as reset_current_user_id
    from pandaprobe_otel.capture.official_names import set_current_session_id as set_current_session_id
    from pandaprobe_otel.capture.official_names import set_current_user_id as set_current_user_id
    from pandaprobe_otel.capture.official_names import wrap_anthropic as wrap_anthropic
    from pandaprobe_otel.capture.official_names import wrap_bedrock as wrap_bedrock
    from pandaprobe_otel.capture.official_names import wrap_gemini as wrap_gemini
    from pandaprobe_otel.capture.official_names import wrap_litellm as wrap_litellm
    from pandaprobe_otel.capture.official_names import wrap_mistral as wrap_mistral
    from pandaprobe_otel.capture.official_names import wrap_openai as wrap_openai
    from pandaprobe_otel.capture.scores import score
    from pandaprobe_otel.capture.trace_context import (
        context,
        context_executor,
        current_trace_id,
        session,
        set_session,
        set_user,
        user,
    )
    from pandaprobe_otel.enums import ScoreDataType as ScoreDataType
    from pandaprobe_otel.enums import SpanKind as SpanKind
    from pandaprobe_otel.enums import SpanStatusCode as SpanStatusCode
    from pandaprobe_otel.enums import TraceStatus as TraceStatus
    from pandaprobe_otel.errors import PandaProbeError
    from pandaprobe_otel.evals import evaluate
    from pandaprobe_otel.registry import instrument, uninstrument, wrap
    from pandaprobe_otel.replay.recording import recording
    from pandaprobe_otel.sdk.exporter import PandaProbeSpanExporter
    from pandaprobe_otel.sdk.processor import PandaProbeSpanProcessor
    from pandaprobe_otel.serverless import flush_on_return

_HOMES = {
    "api": "AsyncClient Client",
    "bootstrap": "PandaProbe aflush flush init shutdown status trace_url",
    "capture.factories": "agent chain embedding llm retriever span start_trace tool trace",
    "serverless": "flush_on_return",
    "errors": "PandaProbeError",
    "evals": "evaluate",
    "registry": "instrument uninstrument wrap",
    "capture.scores": "score",
    "capture.trace_context": "context context_executor current_trace_id session set_session set_user user",
    "replay.recording": "recording",
    "sdk.exporter": "PandaProbeSpanExporter",
    "sdk.processor": "PandaProbeSpanProcessor",
    # Names that only the official SDK has. They work, but are not in `__all__`.
    "enums": "ScoreDataType SpanKind SpanStatusCode TraceStatus",
    "capture.official_names": (
        "get_client set_current_session_id reset_current_session_id set_current_user_id reset_current_user_id "
        "wrap_anthropic wrap_bedrock wrap_gemini wrap_litellm wrap_mistral wrap_openai"
    ),
}
"""Public names, by the module that defines them."""
_load, _names = lazy_names(__name__, {home: names.split() for home, names in _HOMES.items()})

__all__ = [  # noqa: RUF022 - sorted by purpose, as in the documentation
    "init", "flush", "aflush", "flush_on_return", "shutdown", "status", "PandaProbe",
    "instrument", "uninstrument", "wrap",
    "trace", "span", "agent", "tool", "llm", "chain", "retriever", "embedding", "start_trace",
    "context", "session", "user", "set_session", "set_user",
    "context_executor", "current_trace_id", "trace_url",
    "score", "evaluate", "recording", "Client", "AsyncClient",
    "PandaProbeSpanExporter", "PandaProbeSpanProcessor", "PandaProbeError",
]  # fmt: skip


if not TYPE_CHECKING:  # else a type checker would accept any name, even a misspelt one

    def __getattr__(name: str) -> Any:
        if name != "__version__":
            return _load(name)
        from importlib.metadata import version

        globals()[name] = version("pandaprobe-otel")
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*_names(), *__all__})
