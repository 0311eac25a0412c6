"""Attributes of the spans of agents, tools and models, during their work and at the end."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import Span

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._span_scope import SpanScope
from pandaprobe_otel_integrations._span_writing import record_ended

from .messages import answer_of, usage_of

_FINAL: Final = "FinalAnswerStep"
_DROPPED: Final = "generator ignored GeneratorExit"
"""Python's error when the app drops the steps, because smolagents' generator yields again after it is closed."""
_PLAIN: Final[frozenset[type]] = frozenset({str, int, float, bool, dict, list})
"""Types of results that are recorded unchanged."""


class _Scope(SpanScope):
    """One call. An external stop is not an error of it."""

    def returned(self, value: Any, /) -> None:
        """Record the end of the call, with this value or, for a stream, after its last item."""
        guarded(self._record, value)
        guarded(self.span.end)

    def _record(self, value: Any) -> None:
        raise NotImplementedError

    def _record_error(self, error: BaseException) -> None:
        record_ended(self.span, error, with_content=self.recorder.with_content)


class AgentScope(_Scope):
    """A run of an agent, whose steps may be read one by one."""

    def __init__(self, recorder: Recorder, span: Span, agent: Any) -> None:
        super().__init__(recorder, span)
        self._agent = agent
        self._is_read = False

    def produced(self, item: Any, /) -> None:
        """Record a step."""
        self._is_read = True
        if type(item).__name__ == _FINAL:
            guarded(self._record_answer, item.output)

    def _record(self, value: Any) -> None:
        if not self._is_read:  # otherwise, the last step contains it
            self._record_answer(getattr(value, "output", value))

    def _record_answer(self, output: Any) -> None:
        if self.recorder.with_content:
            parts = [{"type": "text", "content": output if isinstance(output, str) else str(output)}]
            message = {"role": "assistant", "parts": parts, "finish_reason": "stop"}
            self.span.set_attributes(encoded({names.OUTPUT_MESSAGES: [message]}))

    def _record_error(self, error: BaseException) -> None:
        interrupted = type(error).__name__ == "AgentError" and getattr(self._agent, "interrupt_switch", False)
        if interrupted or str(error) == _DROPPED:
            self.span.set_attribute(ours.OUTCOME, ours.CANCELLED if interrupted else ours.PARTIAL)
        else:
            super()._record_error(error)


class ToolScope(_Scope):
    """A tool call."""

    def _record(self, value: Any) -> None:
        if self.recorder.with_content:
            told: Any = value if type(value) in _PLAIN else str(value)
            self.span.set_attributes(encoded({names.TOOL_CALL_RESULT: told}))


class ModelScope(_Scope):
    """A model call, whose answer may be read in pieces."""

    def __init__(self, recorder: Recorder, span: Span, context: Context) -> None:
        super().__init__(recorder, span, context)
        self._pieces: list[Any] = []

    def produced(self, item: Any, /) -> None:
        """Record a piece of the answer."""
        if not self._pieces:
            guarded(self.span.set_attribute, names.STREAM, True)
        self._pieces.append(item)

    def _record(self, value: Any) -> None:
        if not self._pieces:
            self._record_message(value)
        else:
            self._record_pieces()

    def _record_error(self, error: BaseException) -> None:
        if self._pieces:
            guarded(self._record_pieces)
        super()._record_error(error)

    def _record_pieces(self) -> None:
        models: Any = import_module("smolagents.models")  # loaded: its generator was read
        self._record_message(models.agglomerate_stream_deltas(self._pieces))

    def _record_message(self, message: Any) -> None:
        self.span.set_attributes(usage_of(message))
        if self.recorder.with_content:
            self.span.set_attributes(encoded({names.OUTPUT_MESSAGES: answer_of(message)}))
