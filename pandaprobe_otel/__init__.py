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
    from pandaprobe_otel.bootstrap import PandaProbe, aflush, flush, get_client, init, shutdown, status, trace_url
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
    from pandaprobe_otel.capture.scores import score
    from pandaprobe_otel.capture.trace_context import (
        context,
        context_executor,
        current_trace_id,
        reset_current_session_id,
        reset_current_user_id,
        session,
        set_current_session_id,
        set_current_user_id,
        set_session,
        set_user,
        user,
    )
    from pandaprobe_otel.enums import ScoreDataType, SpanKind, SpanStatusCode, TraceStatus
    from pandaprobe_otel.errors import PandaProbeError
    from pandaprobe_otel.evals import evaluate
    from pandaprobe_otel.id_generator import SystemIdGenerator
    from pandaprobe_otel.registry import (
        instrument,
        uninstrument,
        wrap_anthropic,
        wrap_bedrock,
        wrap_gemini,
        wrap_litellm,
        wrap_mistral,
        wrap_openai,
    )
    from pandaprobe_otel.replay.divergence import Divergence
    from pandaprobe_otel.replay.recording import Recording, recording
    from pandaprobe_otel.sdk.exporter import PandaProbeSpanExporter
    from pandaprobe_otel.sdk.processor import PandaProbeSpanProcessor
    from pandaprobe_otel.serverless import flush_on_return

_HOMES = {
    "api": "AsyncClient Client",
    "bootstrap": "PandaProbe aflush flush get_client init shutdown status trace_url",
    "capture.factories": "agent chain embedding llm retriever span start_trace tool trace",
    "serverless": "flush_on_return",
    "enums": "ScoreDataType SpanKind SpanStatusCode TraceStatus",
    "errors": "PandaProbeError",
    "evals": "evaluate",
    "id_generator": "SystemIdGenerator",
    "registry": "instrument uninstrument wrap_anthropic wrap_bedrock wrap_gemini wrap_litellm wrap_mistral wrap_openai",
    "capture.scores": "score",
    "capture.trace_context": (
        "context context_executor current_trace_id session set_session set_user user set_current_session_id "
        "reset_current_session_id set_current_user_id reset_current_user_id"
    ),
    "replay.divergence": "Divergence",
    "replay.recording": "Recording recording",
    "sdk.exporter": "PandaProbeSpanExporter",
    "sdk.processor": "PandaProbeSpanProcessor",
}
"""Public names, by the module that defines them."""
_load, _names = lazy_names(__name__, {home: names.split() for home, names in _HOMES.items()})

__all__ = [  # noqa: RUF022 - sorted by purpose, as in the documentation
    "init", "flush", "aflush", "flush_on_return", "shutdown", "status", "get_client", "PandaProbe",
    "instrument", "uninstrument",
    "wrap_anthropic", "wrap_bedrock", "wrap_gemini", "wrap_litellm", "wrap_mistral", "wrap_openai",
    "trace", "span", "agent", "tool", "llm", "chain", "retriever", "embedding", "start_trace",
    "context", "session", "user", "set_session", "set_user",
    "set_current_session_id", "reset_current_session_id", "set_current_user_id", "reset_current_user_id",
    "context_executor", "current_trace_id", "trace_url",
    "score", "evaluate", "recording", "Recording", "Divergence", "Client", "AsyncClient",
    "PandaProbeSpanExporter", "PandaProbeSpanProcessor", "SystemIdGenerator", "PandaProbeError",
    "SpanKind", "SpanStatusCode", "TraceStatus", "ScoreDataType", "__version__",
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
