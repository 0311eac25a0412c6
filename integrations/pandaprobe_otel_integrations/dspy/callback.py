"""DSPy's callbacks as spans.

DSPy calls back before and after each call in the caller's own thread and task, whatever happens. So a step's context is
entered at its start and left at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.context import get_current, set_value
from opentelemetry.trace import SpanKind, set_span_in_context

from pandaprobe_otel.capture.trace_context import TraceValues, with_values
from pandaprobe_otel_integrations._content import Content, encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._llm_span import ModelClaim, with_claim, without_llm_span
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._runs import RUN_KEY, OpenRuns, Run
from pandaprobe_otel_integrations._span_writing import present, record_raised

from . import descriptions, model_calls


class StepCallback:
    """A stand-in for DSPy's `BaseCallback`, which needs only its methods.

    `recorder` returns the tracer, and None while nothing is recorded. `values` returns session, user, tags and metadata
    of new traces.
    """

    def __init__(
        self,
        recorder: Callable[[], Recorder | None],
        *,
        values: Callable[[], TraceValues | None] = lambda: None,
        runs: OpenRuns | None = None,
    ) -> None:
        self._recorder = recorder
        self._values = values
        self.runs = OpenRuns() if runs is None else runs

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Start a module."""
        guarded(self._begin, call_id, *descriptions.module(instance), lambda: descriptions.asked(instance, inputs))

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """End a module."""
        guarded(self._end, call_id, exception, lambda name: descriptions.answered(name, outputs))

    def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Start a tool."""
        guarded(self._begin, call_id, *descriptions.tool(instance), lambda: descriptions.arguments(inputs))

    def on_tool_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """End a tool."""
        guarded(self._end, call_id, exception, lambda name: descriptions.result(outputs))

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Start a model call."""
        guarded(self._call, call_id, instance, inputs)

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """End a model call, which has answered or failed."""
        guarded(self._end, call_id, exception, lambda name: {})

    def answered(self, lm: Any, call: Any, result: Any) -> None:
        """Record the model's answer, before DSPy parses it for its caller."""
        step = get_current().get(RUN_KEY)
        if isinstance(step, Run) and step.claim is not None and step.span is not None:
            step.span.set_attributes(present(model_calls.answer_attributes(result)))
            self._write(step, model_calls.answer_content(call, result))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_"):  # DSPy's other events: the work of its adapters, evaluations, interpreters
            return _ignore
        raise AttributeError(name)

    def _call(self, call_id: str, lm: Any, inputs: Mapping[str, Any]) -> None:
        name, attributes = model_calls.request(lm, inputs)
        content = lambda: model_calls.request_content(lm, inputs)  # noqa: E731 - read only where content is wanted
        self._begin(call_id, name, attributes, content, claim=ModelClaim())

    def _begin(
        self,
        call_id: str,
        name: str,
        attributes: Mapping[str, Any],
        content: Callable[[], Content],
        *,
        claim: ModelClaim | None = None,
    ) -> None:
        recorder = self._recorder()
        if recorder is None:
            return
        base = get_current()
        around = base.get(RUN_KEY)
        values = self._values()
        if values is not None and not isinstance(around, Run):
            base = with_values(values, base)
        kind = SpanKind.INTERNAL if claim is None else SpanKind.CLIENT
        span = recorder.tracer.start_span(name, base, kind=kind, attributes=present(attributes))
        parent = self.runs.get(around.run_id) if isinstance(around, Run) else None
        step = Run(run_id=call_id, parent=parent, context=base, span=span, name=name, claim=claim)
        inner = set_span_in_context(span, without_llm_span(base))
        step.context = set_value(RUN_KEY, step, inner if claim is None else with_claim(claim, inner))
        given_up = self.runs.add(step)
        if given_up is not None and given_up.span is not None:
            given_up.span.end()
        step.enter_body()
        self._write(step, content() if recorder.with_content else {})

    def _end(self, call_id: str, exception: BaseException | None, content: Callable[[str], Content]) -> None:
        step = self.runs.take(call_id)
        if step is None or step.span is None:
            return
        if step.claim is not None:
            step.claim.close()
        step.leave_body()
        recorder = self._recorder()
        with_content = recorder is not None and recorder.with_content
        if exception is not None:
            record_raised(step.span, exception, with_content=with_content)
        elif with_content:
            guarded(self._write, step, content(step.name))
        step.span.end()

    def _write(self, step: Run, content: Content) -> None:
        recorder = self._recorder()
        if recorder is not None and recorder.with_content and step.span is not None and step.span.is_recording():
            step.span.set_attributes(encoded(content))


def _ignore(**told: Any) -> None:
    """Ignore the event."""
