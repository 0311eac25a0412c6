"""The span of a run: started below its parent's, and ended together with the open spans below it.

Parents are found by LangChain's own ids, because callbacks may run in threads and tasks other than the run's. The
current context counts only if it belongs to the parent run itself: it may then contain spans that the app opened in
that run's body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from opentelemetry.context import Context, get_current, set_value
from opentelemetry.trace import Span, SpanKind, get_current_span, set_span_in_context

from pandaprobe_otel.capture.trace_context import TraceValues, trace_values, with_values
from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel.mapping.outcomes import outcome_of
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import Content, encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._llm_span import without_llm_span
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._runs import OPEN_RUNS, RUN_KEY, OpenRuns, Run
from pandaprobe_otel_integrations._shape import string
from pandaprobe_otel_integrations._span_writing import record_raised

from . import kinds
from .messages import interrupts, plain


class RunSpans:
    """The open runs and their spans.

    `recorder` returns the tracer when it is needed, and None while nothing is recorded. `claims_only` returns True
    while another vendor records the runs: then this only keeps the model clients below from recording the same calls.
    `values` are session, user, tags and metadata of new traces.
    """

    root_names: ClassVar[Mapping[str, str]] = {}
    """Trace names by the class of the trace's first run, for runs that the app has not named."""

    def __init__(
        self,
        recorder: Callable[[], Recorder | None],
        *,
        claims_only: Callable[[], bool] = lambda: False,
        values: TraceValues | None = None,
        runs: OpenRuns = OPEN_RUNS,
    ) -> None:
        super().__init__()
        self._recorder = recorder
        self._claims_only = claims_only
        self._values = values
        self._runs = runs

    def _begin(
        self,
        name: str,
        run_id: Any,
        parent: Run | None,
        tags: Sequence[str] | None,
        metadata: Mapping[str, Any],
        attributes: Mapping[str, Any],
        *,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Run | None:
        """Start a run's span and keep the run; None if it is recorded already or nothing records."""
        recorder = self._recorder()
        if recorder is None or run_id in self._runs:
            return None
        base = self._base(parent)
        own = kinds.place_in_graph(metadata)
        if parent is None:
            attributes = {**attributes, names.CONVERSATION_ID: string(metadata.get("thread_id"))}
            if not get_current_span(base).get_span_context().is_valid:
                attributes = {**attributes, ours.TRACE_NAME: self.root_names.get(name)}
            base = self._root_context(base, tags, metadata)
        elif parent.agent is not None:
            attributes = {ours.AGENT_NAME: parent.agent, **attributes}
        if own:
            attributes = {**attributes, ours.SPAN_METADATA: to_json(own)}
        present = {key: value for key, value in attributes.items() if value is not None}
        span = recorder.tracer.start_span(name, base, kind=kind, attributes=present)
        agent = parent.agent if parent is not None else None
        run = Run(run_id=run_id, name=name, parent=parent, context=base, span=span, agent=agent)
        run.context = set_value(RUN_KEY, run, set_span_in_context(span, without_llm_span(base)))
        self._keep(run)
        return run

    def _base(self, parent: Run | None) -> Context:
        current = get_current()
        return current if parent is None or current.get(RUN_KEY) is parent else parent.context

    def _root_context(self, base: Context, tags: Sequence[str] | None, metadata: Mapping[str, Any]) -> Context:
        given = kinds.metadata_of_user(metadata)
        from_config = trace_values(session=None, user=None, tags=kinds.tags_of_user(tags), metadata=plain(given))
        for values in (self._values, from_config):
            if values is not None:
                base = with_values(values, base)
        return base

    def _keep(self, run: Run) -> None:
        given_up = self._runs.add(run)
        if given_up is not None:
            self._abandon(given_up)

    def _fails(self, error: BaseException, run_id: Any) -> None:
        run = self._runs.take(run_id)
        if run is None:
            return
        guarded(run.leave_body)
        guarded(self._record, run.span, error)
        if run.parent is not None and outcome_of(error) == ours.INTERRUPTED:
            run.parent.stopped = ours.INTERRUPTED
        self._end(run, lambda child: child.is_torn_down)

    def _record(self, span: Span | None, error: BaseException) -> None:
        if span is None:
            return
        record_raised(span, error, with_content=self._with_content(span))
        if outcome_of(error) == ours.INTERRUPTED and (asked := interrupts(error)):
            self._add_content(span, ours.OUTPUT, {"__interrupt__": asked})

    def _abandon(self, run: Run) -> None:
        guarded(run.release_model_call)
        guarded(run.leave_body)
        self._set(run.span, {ours.OUTCOME: ours.CANCELLED})
        if run.span is not None:
            guarded(run.span.end)

    def _end(self, run: Run, is_over: Callable[[Run], bool] = lambda child: child.is_left_behind) -> None:
        """End a removed run. The open runs below it end first."""
        for child in self._runs.take_below(run, is_over):
            self._abandon(child)
        if run.span is not None:
            guarded(run.span.end)

    def _with_content(self, span: Span | None) -> bool:
        recorder = self._recorder()
        return span is not None and recorder is not None and recorder.with_content and span.is_recording()

    def _add_content(self, span: Span | None, name: str, value: Any) -> None:
        if span is not None and self._with_content(span):
            content: Content = {name: plain(value)}
            self._set(span, encoded(content))

    @staticmethod
    def _set(span: Span | None, attributes: Mapping[str, Any]) -> None:
        if span is not None:
            span.set_attributes({key: value for key, value in attributes.items() if value is not None})
