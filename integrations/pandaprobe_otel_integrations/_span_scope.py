"""One span around a call of a framework's, whatever sort of function it is: what `wrap` of the decorators surrounds."""

from __future__ import annotations

import asyncio

from opentelemetry.context import get_current
from opentelemetry.trace import Span, set_span_in_context

from pandaprobe_otel import attributes as ours
from pandaprobe_otel.decorators.wrapping import ContextScope

from ._guard import guarded
from ._llm_span import without_llm_span
from ._model_call import Recorder
from ._span_writing import record_raised


class SpanScope(ContextScope):
    """One span around code that may run in steps, as a stream does. Those below say when it has ended well."""

    def __init__(self, recorder: Recorder, span: Span) -> None:
        super().__init__(set_span_in_context(span, without_llm_span(get_current())))
        self.recorder = recorder
        self.span = span

    def raised(self, error: BaseException, /) -> None:
        """The app gets the exception; the span ends."""
        guarded(self._tell_raised, error)
        guarded(self.span.end)

    def _tell_raised(self, error: BaseException) -> None:
        if isinstance(error, (GeneratorExit, asyncio.CancelledError)):
            self.span.set_attribute(ours.CANCELLED, True)
        else:
            record_raised(self.span, error, with_content=self.recorder.with_content)
