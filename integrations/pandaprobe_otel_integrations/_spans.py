"""One span for each model call, whoever makes it; writing on spans, and the context in which they are current."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextvars import Token
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.context import (
    _SUPPRESS_INSTRUMENTATION_KEY,  # pyright: ignore[reportPrivateUsage]
    Context,
    detach,
    get_value,
    set_value,
)
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)

from pandaprobe_otel.capture.content import record_exception
from pandaprobe_otel.mapping.attributes import AGENT_NAME, ERROR_TYPE, KIND, OPERATION_NAME, TOOL_NAME
from pandaprobe_otel.mapping.kinds import REPEATED_SCOPES
from pandaprobe_otel.mapping.outcomes import outcome_of

# -- use of spans that a library makes of its own model calls. The clients below make no second span -------------------

_MODEL_CALLS: Final = frozenset({"chat", "embeddings", "generate_content", "text_completion"})
_OPENINFERENCE_MODEL: Final = "llm.model_name"
"""Attribute of OpenInference's spans of model calls, set at their start; their kind is set only at the end."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adoption:
    """The use of the spans of one instrumentation scope, until `undo`, and while `is_on` returns True."""

    scope: str
    is_on: Callable[[], bool]

    def undo(self) -> None:
        """Stop using the spans: clients below them record their calls again."""
        _adopted.remove(self)


_adopted: list[Adoption] = []


def adopt(scope: str, *, is_on: Callable[[], bool]) -> Adoption:
    """Use the spans of this scope: while the span of a model call is current, it is the only span of that call."""
    adoption = Adoption(scope=scope, is_on=is_on)
    _adopted.append(adoption)
    return adoption


def is_natively_recorded(context: Context) -> bool:
    """Return whether the current span of `context` is an open span that a library made for the model call."""
    if not _adopted:
        return False
    span: Any = get_current_span(context)
    scope = scope_of(span)
    if not any(each.scope == scope and each.is_on() for each in _adopted):
        return False
    return span.is_recording() and _is_model_call(span.attributes)


def scope_of(span: Any) -> str | None:
    """Return the name of the instrumentation scope of a span; None for a span that is not recorded."""
    return getattr(getattr(span, "instrumentation_scope", None), "name", None)


def _is_model_call(attributes: Mapping[str, Any]) -> bool:
    return attributes.get(OPERATION_NAME) in _MODEL_CALLS or _OPENINFERENCE_MODEL in attributes


# -- writing attributes and status on spans, the same in every integration ---------------------------------------------


def present(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes without None values."""
    return {name: value for name, value in attributes.items() if value is not None}


def agent(name: str | None) -> dict[str, Any]:
    """Return the attributes of an agent's run."""
    return {KIND: "AGENT", OPERATION_NAME: "invoke_agent", AGENT_NAME: name}


def tool(name: str | None, call_id: str | None = None) -> dict[str, Any]:
    """Return the attributes of a tool call, with the model's id of it."""
    return {
        OPERATION_NAME: "execute_tool",
        TOOL_NAME: name,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": call_id,
    }


RETRIEVAL: Final = {KIND: "RETRIEVER", OPERATION_NAME: "retrieval"}
"""The attributes of a search."""


def fail(span: Span, kind: str, text: str) -> None:
    """Mark the span's work as failed. `kind` is a low-cardinality name of the failure, `text` its message."""
    span.set_attribute(ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, text))


def record_raised(span: Span, error: BaseException, *, with_content: bool) -> None:
    """Mark the span's work as ended with this exception, whose text may quote content.

    Cancellation is not a failure.
    """
    if with_content or outcome_of(error) is not None or not isinstance(error, Exception):
        record_exception(span, error)
    else:
        fail(span, type(error).__name__, type(error).__name__)


# -- restoring the OpenTelemetry context, even in cases where the API would log an error -------------------------------


def restore(token: Token[Context]) -> None:
    """Undo an `attach`.

    If the garbage collector or another task closes a coroutine, the coroutine ends in a context in which its token is
    invalid. There is nothing to undo there, but `detach` would log "Failed to detach context" with a traceback. So the
    context variable is reset directly.
    """
    variable: Any = getattr(token, "var", None)
    if variable is None:
        detach(token)  # the app uses another runtime context than the default one
        return
    try:
        variable.reset(token)
    except ValueError:
        return


# -- one LLM span per model call: a key in the OpenTelemetry context shows that the call already has a span ------------

LLM_SPAN_KEY: Final = "pandaprobe-llm-span"
"""Context key of the LLM span in progress: the Span, a ModelClaim or a CallWatch; None means no span."""

SPAN_KEY: Final = next(iter(set_span_in_context(INVALID_SPAN, Context())))
"""The key of the current span, which the API does not publish."""
_SUPPRESS_LLM_KEY: Final = "suppress_language_model_instrumentation"
"""Key that OpenLLMetry sets while a framework's model call already has a span."""
_SUPPRESS_KEYS: Final = (_SUPPRESS_INSTRUMENTATION_KEY, "suppress_instrumentation")


class ModelClaim:
    """A claim that another span records a model call, until it is closed. It may stay in a context for good."""

    __slots__ = ("_is_closed", "_stream")

    def __init__(self) -> None:
        self._is_closed = False
        self._stream: weakref.ref[Any] | None = None

    @property
    def is_open(self) -> bool:
        """Return whether the claim still holds: nothing has closed it, and the app has not dropped its stream."""
        return not self._is_closed and (self._stream is None or self._stream() is not None)

    def lasts_with(self, stream: Any) -> None:
        """Keep the claim open until this stream is first read, or until the app drops the stream."""
        self._stream = weakref.ref(stream)

    def close(self) -> None:
        """Close the claim: the model call is over, or its request was sent."""
        self._is_closed = True


class CallWatch:
    """Notes whether any integration records a model call in this context."""

    __slots__ = ("is_recorded",)

    def __init__(self) -> None:
        self.is_recorded = False


def with_watch(watch: CallWatch, context: Context | None = None) -> Context:
    """Return a context in which the watch notes model calls that are recorded."""
    return set_value(LLM_SPAN_KEY, watch, context)


def llm_span(context: Context | None = None) -> Span | None:
    """Return the LLM span in progress in `context` (default: the current one), or None."""
    value = get_value(LLM_SPAN_KEY, context)
    return value if isinstance(value, Span) else None


def with_claim(claim: ModelClaim, context: Context | None = None) -> Context:
    """Return a context in which the claim's holder records model calls, while the claim is open."""
    return set_value(LLM_SPAN_KEY, claim, context)


def with_llm_span(span: Span, context: Context | None = None, *, current: bool = True) -> Context:
    """Return a context in which `span` is the LLM span in progress and, with `current`, the parent of new spans."""
    marked = set_value(LLM_SPAN_KEY, span, context)
    return set_span_in_context(span, marked) if current else marked


def is_claimed(context: Context | None = None) -> bool:
    """Return whether the model call that starts in `context` (default: the current one) has an open claim."""
    value = get_value(LLM_SPAN_KEY, context)
    return isinstance(value, ModelClaim) and value.is_open


def without_llm_span(context: Context | None = None) -> Context:
    """Return a context without an LLM span in progress, for a tool or agent that runs inside a model call."""
    return set_value(LLM_SPAN_KEY, None, context)


def is_taken(context: Context) -> bool:
    """Return whether another span already records the model call that starts in `context`.

    The default is the current context.
    """
    if not context:
        return False  # no span, as in every call that is its own trace
    held = context.get(LLM_SPAN_KEY)
    if held is not None and (isinstance(held, Span) or is_claimed(context)):
        return True
    if isinstance(held, CallWatch):
        held.is_recorded = True
    if is_natively_recorded(context) or context.get(_SUPPRESS_LLM_KEY):
        return True
    return not is_instrumentation_enabled()


def around_repetition(context: Context) -> Context | None:
    """Return the context around another vendor's span that repeats ours and turns other instrumentations off.

    None if the current span of `context` is no such span.
    """
    if not any(context.get(key) for key in _SUPPRESS_KEYS):
        return None
    span: Any = get_current_span(context)
    if scope_of(span) not in REPEATED_SCOPES:
        return None
    around = Context({key: value for key, value in context.items() if key not in _SUPPRESS_KEYS})
    return set_span_in_context(NonRecordingSpan(span.parent) if span.parent is not None else INVALID_SPAN, around)
