"""Haystack's operations as spans. Haystack opens and closes each around the code of the operation."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry.context import get_current, set_value
from opentelemetry.trace import Span, SpanKind, set_span_in_context

from pandaprobe_otel.capture.trace_context import TraceValues, with_values
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._llm_span import ModelClaim, with_claim, without_llm_span
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._runs import RUN_KEY, Run
from pandaprobe_otel_integrations._shape import obj
from pandaprobe_otel_integrations._span_writing import fail, present, record_raised

from .descriptions import Description, described


class OperationSpan:
    """A stand-in for Haystack's `Span`. It is written at its end, when all data is known."""

    def __init__(self, run: Run | None, description: Description | None) -> None:
        self.run = run
        self.description = description
        self.told: dict[str, Any] = {}

    def set_tag(self, key: str, value: Any) -> None:
        """Set a fact about the operation."""
        self.told[key] = value

    def set_content_tag(self, key: str, value: Any) -> None:
        """Set content of the operation. Our own switch decides whether it is recorded."""
        self.told[key] = value

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set several facts."""
        self.told.update(tags)

    def raw_span(self) -> Any:
        """Return the OpenTelemetry span, or this object if there is none."""
        return self if self.run is None or self.run.span is None else self.run.span

    def get_correlation_data_for_logs(self) -> dict[str, Any]:
        """Return nothing: OpenTelemetry correlates log records."""
        return {}


class HaystackTracer:
    """A stand-in for Haystack's `Tracer`, which needs only its methods.

    `recorder` returns the tracer, and None while nothing is recorded. `claims_only` returns True while another vendor
    records the runs: then this only keeps the model clients below from recording the same calls.
    """

    def __init__(
        self,
        recorder: Callable[[], Recorder | None],
        *,
        claims_only: Callable[[], bool] = lambda: False,
        values: Callable[[], TraceValues | None] = lambda: None,
    ) -> None:
        self._recorder = recorder
        self._claims_only = claims_only
        self._values = values

    @contextmanager
    def trace(
        self, operation_name: str, tags: Mapping[str, Any] | None = None, parent_span: Any = None
    ) -> Generator[OperationSpan]:
        """Yield a span around the block, which belongs to it. Exceptions pass unchanged."""
        span = guarded(self._begin, operation_name, tags or {}, parent_span) or OperationSpan(None, None)
        if span.run is not None:
            span.run.enter_body()
        try:
            yield span
        except BaseException as error:
            self._end(span, error)
            raise
        self._end(span, None)

    def current_span(self) -> OperationSpan | None:
        """Return the innermost current operation."""
        run = get_current().get(RUN_KEY)
        return OperationSpan(run, None) if isinstance(run, Run) else None

    def _begin(self, operation: str, tags: Mapping[str, Any], parent_span: Any) -> OperationSpan:
        description = described(operation, tags)
        recorder = self._recorder()
        base = get_current()
        outer = getattr(parent_span, "run", None)
        if isinstance(outer, Run) and not isinstance(base.get(RUN_KEY), Run):
            base = outer.context  # a thread that Haystack has started without the caller's context
        if description is None or (recorder is None and not self._claims_only()):
            return OperationSpan(None, None)
        claim = ModelClaim() if description.is_model_call else None
        started = None if recorder is None else self._start(recorder, description, base)
        inner = base
        if started is not None:
            inner = set_span_in_context(started, without_llm_span(base))
        if claim is not None:
            inner = with_claim(claim, inner)
        run = Run(run_id=None, parent=None, context=base, span=started, name=description.name, claim=claim)
        run.context = set_value(RUN_KEY, run, inner)
        span = OperationSpan(run, description)
        span.set_tags(tags)
        return span

    def _start(self, recorder: Recorder, description: Description, base: Any) -> Span:
        values = self._values()
        if values is not None and not isinstance(base.get(RUN_KEY), Run):
            base = with_values(values, base)
        kind = SpanKind.CLIENT if description.is_model_call else SpanKind.INTERNAL
        return recorder.tracer.start_span(description.name, base, kind=kind, attributes=present(description.attributes))

    def _end(self, span: OperationSpan, error: BaseException | None) -> None:
        run = span.run
        if run is None:
            return
        if run.claim is not None:
            run.claim.close()
        guarded(run.leave_body)
        if run.span is not None:
            guarded(self._write, span, run.span, error)
            run.span.end()

    def _write(self, span: OperationSpan, written: Span, error: BaseException | None) -> None:
        recorder, description = self._recorder(), span.description
        with_content = recorder is not None and recorder.with_content
        if description is not None:
            written.set_attributes(present(description.facts(span.told)))
            if with_content:
                written.set_attributes(encoded(description.content(span.told)))
            model = span.told.get("model")
            if description.is_model_call and model:
                written.update_name(f"{description.name} {model}")
        if error is not None:
            record_raised(written, error, with_content=with_content)
        elif span.told.get("haystack.tool.error"):
            output = obj(span.told.get("haystack.agent.step.tool.output"))
            fail(written, "tool_error", str(output.get("error")) if with_content else "tool_error")
