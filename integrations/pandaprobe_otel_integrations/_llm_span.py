"""One LLM span per model call: a key in the OpenTelemetry context shows that the call already has a span.

A framework's instrumentation that opens an LLM span runs the model call inside `with_llm_span(span)`. The provider
client's instrumentation checks `llm_span()` and then makes no span. Some frameworks call back before and after a model
call, and the second callback cannot restore the context of the first (they may run in different tasks). Then a
`ModelClaim` replaces the span in the context, and is closed afterwards.
"""

from __future__ import annotations

import weakref
from typing import Any, Final

from opentelemetry.context import (
    _SUPPRESS_INSTRUMENTATION_KEY,  # pyright: ignore[reportPrivateUsage]
    Context,
    get_value,
    set_value,
)
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, get_current_span, set_span_in_context

from pandaprobe_otel.mapping.kinds import REPEATED_SCOPES
from pandaprobe_otel_integrations._native_spans import is_natively_recorded, scope_of

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
