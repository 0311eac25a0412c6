"""Semantic Kernel's functions that open its own spans, for cases in which ours is already current."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, get_current_span

from pandaprobe_otel_integrations._native_spans import scope_of

SCOPE: Final = "pandaprobe_otel.semantic_kernel"
"""The instrumentation scope of this integration's spans."""
_NO_SPAN: Final = nullcontext(INVALID_SPAN)

SpanBlock = AbstractContextManager[Span]


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeSpans:
    """A switch for the framework's own spans: while `is_on`, none is made right below one of ours.

    An agent of a class that is not recorded here, and a chat outside of an agent, keep theirs.
    """

    is_on: Callable[[], bool]

    def block(self, wrapped: Callable[..., SpanBlock], _: Any, args: Any, kwargs: Any) -> SpanBlock:
        """Wrap the opening of an agent's or a function's span, as a block."""
        return _NO_SPAN if self._is_below_ours() else wrapped(*args, **kwargs)

    def loop(self, wrapped: Callable[..., Span], _: Any, args: Any, kwargs: Any) -> Span:
        """Wrap the start of the span of the loop that calls functions until the model has an answer."""
        if not self._is_below_ours():
            return wrapped(*args, **kwargs)
        # The caller makes this span current and ends it. Spans below must be below our span, which must not end here.
        return NonRecordingSpan(get_current_span().get_span_context())

    def _is_below_ours(self) -> bool:
        return self.is_on() and scope_of(get_current_span()) == SCOPE
