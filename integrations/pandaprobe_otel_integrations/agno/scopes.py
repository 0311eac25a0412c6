"""What the spans of runs and of tools have in common: one context for all their code, one end."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from opentelemetry.context import get_current
from opentelemetry.trace import Span, set_span_in_context

from pandaprobe_otel import attributes as ours
from pandaprobe_otel.decorators.wrapping import ContextScope
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._llm_span import without_llm_span
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._shape import obj
from pandaprobe_otel_integrations._span_writing import record_raised

_CANCELLED: Final = "RunCancelledException"
_STEERING: Final = "AgentRunException"
"""Base of the exceptions by which a tool says how the agent is to go on: try again, or stop."""
_JSON: Final[frozenset[type]] = frozenset({str, int, float, bool, list, tuple, type(None)})


class SpanScope(ContextScope):
    """One span around code that may run in steps, as a stream does."""

    def __init__(self, recorder: Recorder, span: Span) -> None:
        super().__init__(set_span_in_context(span, without_llm_span(get_current())))
        self.recorder = recorder
        self.span = span

    def raised(self, error: BaseException, /) -> None:
        """The app gets the exception; the span ends."""
        guarded(self._tell_raised, error)
        guarded(self.span.end)

    def _tell_raised(self, error: BaseException) -> None:
        bases = {base.__name__ for base in type(error).__mro__}
        if _CANCELLED in bases or isinstance(error, (GeneratorExit, asyncio.CancelledError)):
            self.span.set_attribute(ours.CANCELLED, True)
        elif _STEERING not in bases:
            record_raised(self.span, error, with_content=self.recorder.with_content)


def text_of(value: Any) -> str:
    """Content that is a text, or an object of the app's own, as text."""
    told = plain(value)
    return told if isinstance(told, str) else to_json(told)


def plain(value: Any) -> Any:
    """A result as it is where JSON has a form for it, an object by its fields, else as text."""
    return value if type(value) in _JSON else obj(value) or str(value)
