"""Work that a service goes on with after it has answered: who asks for it later joins the span that began it."""

from __future__ import annotations

from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, get_current_span, set_span_in_context

_MAX_KEPT: Final = 1024


class BegunWork:
    """The spans that began it, by the service's ids; of many, the oldest are forgotten."""

    def __init__(self) -> None:
        self._spans: dict[str, SpanContext] = {}

    def add(self, one: str, span: Span) -> None:
        """The service goes on with what this span has begun."""
        if len(self._spans) >= _MAX_KEPT:
            self._spans.pop(next(iter(self._spans)), None)
        self._spans.setdefault(one, span.get_span_context())

    def context_of(self, one: str | None, context: Context) -> Context:
        """Return the context for a question about it: below the span that began it, unless that is in this trace."""
        begun = self._spans.get(one) if one is not None else None
        if begun is None or begun.trace_id == get_current_span(context).get_span_context().trace_id:
            return context
        return set_span_in_context(NonRecordingSpan(begun), context)


BEGUN: Final = BegunWork()
"""Of this process."""
