"""Work that a service continues after its answer: a later request for it joins the span that started the work."""

from __future__ import annotations

from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, get_current_span, set_span_in_context

_MAX_KEPT: Final = 1024


class BegunWork:
    """The spans that started background work, by the service's ids. If there are too many, the oldest are forgotten."""

    def __init__(self) -> None:
        self._spans: dict[str, SpanContext] = {}

    def add(self, one: str, span: Span) -> None:
        """Remember that this span started work with this id."""
        if len(self._spans) >= _MAX_KEPT:
            self._spans.pop(next(iter(self._spans)), None)
        self._spans.setdefault(one, span.get_span_context())

    def context_of(self, one: str | None, context: Context) -> Context:
        """Return the context for a request about this work.

        The request is below the span that started the work, unless it is in the same trace anyway.
        """
        begun = self._spans.get(one) if one is not None else None
        if begun is None or begun.trace_id == get_current_span(context).get_span_context().trace_id:
            return context
        return set_span_in_context(NonRecordingSpan(begun), context)


BEGUN: Final = BegunWork()
"""The background work of this process."""
