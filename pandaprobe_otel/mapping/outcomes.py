"""Outcomes of work: OK, ERROR, or UNSET for work that neither succeeded nor failed.

Such work was cancelled, timed out, interrupted or left early. Exceptions that mean this are recognized by name, so that
neither asyncio, trio nor any framework is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from pandaprobe_otel.mapping.attributes import CANCELLED, INTERRUPTED, PARTIAL, TIMED_OUT
from pandaprobe_otel.mapping.dialect_table import FAILURES
from pandaprobe_otel.mapping.span_view import EventView, SpanView
from pandaprobe_otel.mapping.text import cut_text
from pandaprobe_otel.mapping.values import type_of

if TYPE_CHECKING:
    from pandaprobe_otel.mapping.mapped_span import MappedSpan

UNFINISHED: Final = frozenset({CANCELLED, TIMED_OUT, PARTIAL})
"""Outcomes of work that stays incomplete for good. Interrupted work, in contrast, has stopped as intended."""

_CANCELLATIONS: Final = frozenset({"CancelledError", "Cancelled", "GreenletExit"})
"""Exceptions of asyncio, trio and gevent; they derive from BaseException."""
_CANCELLING_MODULES: Final = frozenset({"asyncio", "concurrent", "trio", "greenlet", ""})

_PAUSES: Final = {
    "GraphInterrupt": "langgraph", "NodeInterrupt": "langgraph", "GraphDrained": "langgraph",
    "CallDeferred": "pydantic_ai", "ApprovalRequired": "pydantic_ai", "WaitingForEvent": "workflows",
    "InterruptException": "strands", "NodeInterruptedError": "google", "HumanFeedbackPending": "crewai",
}  # fmt: skip
"""Exceptions with which frameworks pause work that is resumed later, and their packages."""
_STEERING: Final = ("ParentCommand", "langgraph")
"""Exception by which a graph's node tells its parent where to continue. It is not an outcome."""


def outcome_of(error: BaseException) -> str | None:
    """Return `pandaprobe.outcome` for work that this exception ended; None for a failure, "" for control flow."""
    if isinstance(error, GeneratorExit):
        return PARTIAL
    for kind in type(error).__mro__:
        told = outcome_named(f"{kind.__module__}.{kind.__name__}")
        if told is not None and (told != CANCELLED or not isinstance(error, Exception)):
            return told
    return None


def outcome_in(body: Mapping[str, Any]) -> str | None:
    """Return the outcome in the metadata of a PandaProbe span or trace; None if it succeeded or failed."""
    metadata: Any = body.get("metadata")
    told: Any = cast("Mapping[str, Any]", metadata).get("outcome") if isinstance(metadata, Mapping) else None
    return told if isinstance(told, str) and (told in UNFINISHED or told == INTERRUPTED) else None


def outcome_named(kind: str) -> str | None:
    """Return the outcome for the class name of an exception, with or without its module, as `outcome_of` does."""
    module, _, name = kind.rpartition(".")
    package = module.partition(".")[0]
    if name in _CANCELLATIONS and package in _CANCELLING_MODULES:
        return CANCELLED
    if name == _STEERING[0] and package in ("", _STEERING[1]):
        return ""
    pauses = _PAUSES.get(name)
    return INTERRUPTED if pauses is not None and package in ("", pauses) else None


MAX_ERROR: Final = 16_384
"""Bound on the characters of an error text. The server has none, but a judge's prompt may repeat the error."""


def outcome(view: SpanView, found: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
    """Return (status, error text, outcome from an exception).

    An `exception` event alone means a handled exception, not a failure; it counts only if a framework pauses with it. A
    span with status ERROR has not failed if its exception does not mean failure.
    """
    failed = view.status_code == "ERROR" or not found.keys().isdisjoint(FAILURES)
    if not failed and "outcome" in found:
        return "UNSET", None, None
    told = _outcome_of_exception(view, found) if failed or view.events else None
    if told and (failed or told == INTERRUPTED):
        return "UNSET", None, told
    if not failed or told is not None:
        return ("OK" if view.end_ns is not None else "UNSET"), None, None
    text = error_text(view, found)
    return "ERROR", text if len(text) <= MAX_ERROR else cut_text(text, MAX_ERROR), None


_CONVENTIONS: Final = ("opentelemetry.instrumentation.", "opentelemetry.util.genai")
_ALWAYS_FINISHED: Final = frozenset(
    {f"{_CONVENTIONS[0]}{name}" for name in ("openai.v1", "anthropic", "genai.openai", "genai.anthropic")}
)
"""Instrumentations that record a finish reason of every complete stream, also without content (measured)."""
_ABANDONED: Final = "abandoned stream"
"""Description with which OpenTelemetry's utilities end the span of a stream that is collected as garbage."""
_STREAMED: Final = ("gen_ai.request.stream", "gen_ai.is_streaming")
_OPENINFERENCE: Final = ("openinference.instrumentation.openai", "openinference.instrumentation.anthropic")
"""Instrumentors that set the status OK only when the stream ends (measured with 0.1.66 and 3.1.0)."""
_ANTHROPIC: Final = "com.anthropic.sdk.python"


def is_left(span: MappedSpan) -> bool:
    """Return whether the span of a model call shows that its reader left the stream before the end.

    The evidence is the finish reason: "error", or none at all from an instrumentor that never omits it.
    """
    view, reasons = span.view, span.metadata.get("finish_reasons")
    scope = view.scope_name
    if scope.startswith(_OPENINFERENCE):
        request: Any = view.attributes.get("llm.invocation_parameters")
        streamed = type_of(request) is str and '"stream": true' in request
        return streamed and view.status_code == "UNSET" and not reasons
    if scope.startswith(_CONVENTIONS):
        if reasons:
            return "error" in reasons
        streamed = any(view.attributes.get(name) is True for name in _STREAMED)
        return streamed and scope in _ALWAYS_FINISHED
    if scope != _ANTHROPIC or reasons or view.status_code == "OK":
        return False
    return view.attributes.get(_STREAMED[0]) is True


def _outcome_of_exception(view: SpanView, found: Mapping[str, Any]) -> str | None:
    if "error.own" in found:
        return None
    if view.status_description == _ABANDONED and view.scope_name.startswith(_CONVENTIONS):
        return PARTIAL
    exception = last_exception(view)
    kind = found.get("error_type") if exception is None else exception.attributes.get("exception.type")
    return outcome_named(str(kind)) if type_of(kind) is str else None


def error_text(view: SpanView, found: Mapping[str, Any]) -> str:
    """Return the text of the error. The exception's own message comes first, because it equals `str(exc)`."""
    own = _text(found.get("error.own"))
    if own is not None:
        return own
    exception = last_exception(view)
    if exception is not None:
        for key in ("exception.message", "exception.type"):
            if text := _text(exception.attributes.get(key)):
                return text
    return _text(view.status_description) or _text(found.get("error.text")) or _text(found.get("error_type")) or "error"


def last_exception(view: SpanView) -> EventView | None:
    """Return the last `exception` event, or None."""
    for event in reversed(view.events):
        if event.name in ("exception", "gen_ai.client.operation.exception"):
            return event
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None
