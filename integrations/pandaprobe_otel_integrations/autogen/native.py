"""AutoGen's functions that open its spans. Each is a context manager that AutoGen's code enters."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.trace import INVALID_SPAN, Span, get_current_span, get_tracer

from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._span_writing import record_raised

_SCOPE: Final = "autogen-core"
"""Name of AutoGen's own tracer."""
_NO_SPAN: Final = nullcontext(INVALID_SPAN)

SpanBlock = AbstractContextManager[Span]


class OpenEnded:
    """A tracer whose spans do not end with their block: other code ends them."""

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> SpanBlock:
        """Start a span as OpenTelemetry's tracer does."""
        block: SpanBlock = self._tracer.start_as_current_span(*args, **{**kwargs, "end_on_exit": False})
        return block


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeSpans:
    """The patches of AutoGen's own spans.

    `provider` is None for OpenTelemetry's global provider. `is_open` returns whether to change anything; `is_ours` also
    returns False if another vendor records the same.
    """

    provider: Any
    with_content: bool
    is_open: Callable[[], bool]
    is_ours: Callable[[], bool]

    @property
    def tracer(self) -> Any:
        """The tracer for AutoGen's spans."""
        return get_tracer(_SCOPE, tracer_provider=self.provider)

    def making(self, wrapped: Callable[..., SpanBlock], _: Any, args: Any, kwargs: Any) -> SpanBlock:
        """Drop the span of an agent's creation if it would be a separate trace, billed although it contains no run."""
        if self.is_open() and not get_current_span().is_recording():
            return _NO_SPAN
        return self.agent(wrapped, None, args, kwargs)

    def agent(self, wrapped: Callable[..., SpanBlock], _: Any, args: Any, kwargs: Any) -> SpanBlock:
        """Return the span of an agent, unless another vendor has a span of the same work."""
        if not self.is_open():
            return wrapped(*args, **kwargs)
        if not self.is_ours():
            return _NO_SPAN
        return self.watched(wrapped(*args, **{"tracer": self.tracer, **kwargs}))

    @contextmanager
    def watched(self, block: SpanBlock) -> Generator[Span]:
        """Yield the block, and record on its span what AutoGen does not record itself: cancellation.

        AutoGen records exceptions with their texts. Without content, they pass by its block, with their types only.
        """
        passed: Exception | None = None
        with block as span:
            try:
                yield span
            except Exception as error:
                if self.with_content:
                    raise
                guarded(record_raised, span, error, with_content=False)
                passed = error
            except BaseException as error:
                guarded(record_raised, span, error, with_content=self.with_content)
                raise
        try:
            if passed is not None:
                raise passed
        finally:
            passed = None  # its traceback has this frame: together they would wait for the garbage collector
