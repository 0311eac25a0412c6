"""PandaProbe for OpenTelemetry: traces, evaluations and a local server.

An app needs only `init()`. This file lists every public name and loads it on first use. The pytest plugin is part of
this package, so every test run of every user imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandaprobe_otel.api import AsyncClient as AsyncClient
    from pandaprobe_otel.api import Client as Client

    __version__: str

    from pandaprobe_otel.bootstrap import PandaProbe as PandaProbe
    from pandaprobe_otel.bootstrap import aflush as aflush
    from pandaprobe_otel.bootstrap import flush as flush
    from pandaprobe_otel.bootstrap import get_client as get_client
    from pandaprobe_otel.bootstrap import init as init
    from pandaprobe_otel.bootstrap import shutdown as shutdown
    from pandaprobe_otel.bootstrap import status as status
    from pandaprobe_otel.bootstrap import trace_url as trace_url
    from pandaprobe_otel.capture.public_names import agent as agent
    from pandaprobe_otel.capture.public_names import chain as chain
    from pandaprobe_otel.capture.public_names import embedding as embedding
    from pandaprobe_otel.capture.public_names import llm as llm
    from pandaprobe_otel.capture.public_names import retriever as retriever
    from pandaprobe_otel.capture.public_names import span as span
    from pandaprobe_otel.capture.public_names import start_trace as start_trace
    from pandaprobe_otel.capture.public_names import tool as tool
    from pandaprobe_otel.capture.public_names import trace as trace
    from pandaprobe_otel.capture.scores import score as score
    from pandaprobe_otel.capture.trace_context import context as context
    from pandaprobe_otel.capture.trace_context import context_executor as context_executor
    from pandaprobe_otel.capture.trace_context import current_trace_id as current_trace_id
    from pandaprobe_otel.capture.trace_context import reset_current_session_id as reset_current_session_id
    from pandaprobe_otel.capture.trace_context import reset_current_user_id as reset_current_user_id
    from pandaprobe_otel.capture.trace_context import session as session
    from pandaprobe_otel.capture.trace_context import set_current_session_id as set_current_session_id
    from pandaprobe_otel.capture.trace_context import set_current_user_id as set_current_user_id
    from pandaprobe_otel.capture.trace_context import set_session as set_session
    from pandaprobe_otel.capture.trace_context import set_user as set_user
    from pandaprobe_otel.capture.trace_context import user as user
    from pandaprobe_otel.enums import ScoreDataType as ScoreDataType
    from pandaprobe_otel.enums import SpanKind as SpanKind
    from pandaprobe_otel.enums import SpanStatusCode as SpanStatusCode
    from pandaprobe_otel.enums import TraceStatus as TraceStatus
    from pandaprobe_otel.errors import PandaProbeError as PandaProbeError
    from pandaprobe_otel.evals import evaluate as evaluate
    from pandaprobe_otel.id_generator import SystemIdGenerator as SystemIdGenerator
    from pandaprobe_otel.registry import instrument as instrument
    from pandaprobe_otel.registry import uninstrument as uninstrument
    from pandaprobe_otel.registry import wrap_anthropic as wrap_anthropic
    from pandaprobe_otel.registry import wrap_bedrock as wrap_bedrock
    from pandaprobe_otel.registry import wrap_gemini as wrap_gemini
    from pandaprobe_otel.registry import wrap_litellm as wrap_litellm
    from pandaprobe_otel.registry import wrap_mistral as wrap_mistral
    from pandaprobe_otel.registry import wrap_openai as wrap_openai
    from pandaprobe_otel.replay.divergence import Divergence as Divergence
    from pandaprobe_otel.replay.recording import Recording as Recording
    from pandaprobe_otel.replay.recording import recording as recording
    from pandaprobe_otel.sdk.exporter import PandaProbeSpanExporter as PandaProbeSpanExporter
    from pandaprobe_otel.sdk.processor import PandaProbeSpanProcessor as PandaProbeSpanProcessor
    from pandaprobe_otel.serverless import flush_on_return as flush_on_return

_HOMES = {
    "api": ("AsyncClient", "Client"),
    "bootstrap": ("PandaProbe", "aflush", "flush", "get_client", "init", "shutdown", "status", "trace_url"),
    "capture.public_names": ("agent", "chain", "embedding", "llm", "retriever", "span", "start_trace", "tool", "trace"),
    "serverless": ("flush_on_return",),
    "enums": ("ScoreDataType", "SpanKind", "SpanStatusCode", "TraceStatus"),
    "errors": ("PandaProbeError",),
    "evals": ("evaluate",),
    "id_generator": ("SystemIdGenerator",),
    "registry": (
        "instrument",
        "uninstrument",
        "wrap_anthropic",
        "wrap_bedrock",
        "wrap_gemini",
        "wrap_litellm",
        "wrap_mistral",
        "wrap_openai",
    ),
    "capture.scores": ("score",),
    "capture.trace_context": (
        "context",
        "context_executor",
        "current_trace_id",
        "session",
        "set_session",
        "set_user",
        "user",
        "set_current_session_id",
        "reset_current_session_id",
        "set_current_user_id",
        "reset_current_user_id",
    ),
    "replay.divergence": ("Divergence",),
    "replay.recording": ("Recording", "recording"),
    "sdk.exporter": ("PandaProbeSpanExporter",),
    "sdk.processor": ("PandaProbeSpanProcessor",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 - sorted by purpose, as in the documentation
    "init",
    "flush",
    "aflush",
    "flush_on_return",
    "shutdown",
    "status",
    "get_client",
    "PandaProbe",
    "instrument",
    "uninstrument",
    "wrap_anthropic",
    "wrap_bedrock",
    "wrap_gemini",
    "wrap_litellm",
    "wrap_mistral",
    "wrap_openai",
    "trace",
    "span",
    "agent",
    "tool",
    "llm",
    "chain",
    "retriever",
    "embedding",
    "start_trace",
    "context",
    "session",
    "user",
    "set_session",
    "set_user",
    "set_current_session_id",
    "reset_current_session_id",
    "set_current_user_id",
    "reset_current_user_id",
    "context_executor",
    "current_trace_id",
    "trace_url",
    "score",
    "evaluate",
    "recording",
    "Recording",
    "Divergence",
    "Client",
    "AsyncClient",
    "PandaProbeSpanExporter",
    "PandaProbeSpanProcessor",
    "SystemIdGenerator",
    "PandaProbeError",
    "SpanKind",
    "SpanStatusCode",
    "TraceStatus",
    "ScoreDataType",
    "__version__",
]


if not TYPE_CHECKING:  # else a type checker would accept any name, even a misspelt one

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            value: Any = version("pandaprobe-otel")
        elif (home := _HOME_OF.get(name)) is not None:
            from importlib import import_module

            value = getattr(import_module(f"{__name__}.{home}"), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
