"""The span of one run of a workflow, above the agents and teams of its steps."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._shape import string
from pandaprobe_otel_integrations._span_writing import fail, present

from .runs import whose
from .scopes import STATUS_OUTCOMES, AgnoScope, plain

_FAILED: Final = "WorkflowError"
"""Agno's status for a failed workflow, if it raises nothing."""


def begin_workflow(recorder: Recorder, workflow: Any, kwargs: dict[str, Any]) -> WorkflowScope:
    """Start the span, as a child of the current one: a workflow that is a step of another is below it."""
    record = kwargs.get("workflow_run_response")
    name = string(workflow.name) or string(workflow.id) or type(workflow).__name__
    attributes = {ours.KIND: "CHAIN", **whose(kwargs.get("run_context"))}
    span = recorder.tracer.start_span(name, attributes=present(attributes))
    asked = getattr(record, "input", None)
    if recorder.with_content and asked is not None:
        guarded(lambda: span.set_attributes(encoded({ours.INPUT: plain(asked)})))
    return WorkflowScope(recorder, span, record)


class WorkflowScope(AgnoScope):
    """A run. `record` is Agno's own record of it, which Agno fills in during the run."""

    def __init__(self, recorder: Recorder, span: Any, record: Any) -> None:
        super().__init__(recorder, span)
        self._record = record

    def returned(self, value: Any, /) -> None:
        """Record that the run is over or waits for a person. If it failed or was cancelled, the record says so."""
        guarded(self._record_end)
        guarded(self.span.end)

    def _record_end(self) -> None:
        content = getattr(self._record, "content", None)
        status = str(getattr(getattr(self._record, "status", None), "value", ""))
        if status == "ERROR":
            told = string(content) or _FAILED
            fail(self.span, _FAILED, told if self.recorder.with_content else _FAILED)
        elif status in STATUS_OUTCOMES:
            self.span.set_attribute(ours.OUTCOME, STATUS_OUTCOMES[status])
        if self.recorder.with_content and content is not None:
            self.span.set_attributes(encoded({ours.OUTPUT: plain(content)}))
