"""The SDK's traces and spans as OpenTelemetry spans, each below the parent that the SDK names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry.context import get_current, get_value, set_value
from opentelemetry.trace import Span

from pandaprobe_otel.capture.trace_context import TraceValues, trace_values
from pandaprobe_otel.capture.wrapping import ContextScope
from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import encoded, obj, string
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._parts import decoded_arguments
from pandaprobe_otel_integrations._runs import OpenRuns, Run, RunRecorder
from pandaprobe_otel_integrations._spans import agent, fail, present, record_ended, tool
from pandaprobe_otel_integrations.openai_agents.model_calls import ModelRequest, model_attributes

# -- the conversation of a run: that of its `Session`, unless the app has set one for the trace ------------------------

_CONVERSATION: Final = "pandaprobe-openai-agents-conversation"
"""Context key of the conversation of the run that is about to start."""


def begin_run(_: Recorder, __: tuple[Any, ...], kwargs: dict[str, Any]) -> ContextScope | None:
    """Keep the id of the service's own conversation, or of a session of any class; None if it has no id yet."""
    session = string(getattr(kwargs.get("session"), "session_id", None))
    found = string(kwargs.get("conversation_id")) or session
    return None if found is None else ContextScope(set_value(_CONVERSATION, found))


_MODEL_CALLS: Final = frozenset({"generation", "response"})
_STEPS: Final = frozenset({"task", "turn"})
"""The SDK's own loop, which gets no span; its usage is that of the model calls below."""
_BODIES: Final = frozenset({"function", "guardrail", "custom"})
"""Spans around code of the app that start and end in one task: spans of this code belong below them."""


class RunProcessor(RunRecorder):
    """A trace processor (the SDK's `TracingProcessor`, which needs only its methods).

    `values` returns session, user, tags and metadata of new traces.
    """

    def __init__(
        self,
        recorder: Callable[[], Recorder | None],
        *,
        claims_only: Callable[[], bool] = lambda: False,
        values: Callable[[], TraceValues | None] = lambda: None,
        runs: OpenRuns | None = None,
    ) -> None:
        super().__init__(recorder, claims_only=claims_only, values=values, runs=runs)
        self._requests: dict[str, ModelRequest] = {}
        self._closed = False

    def close(self) -> None:
        """Record only the ends of open spans from now on."""
        self._closed = True

    @property
    def is_idle(self) -> bool:
        """Return whether no span is open."""
        return len(self.runs) == 0

    def on_trace_start(self, trace: Any) -> None:
        """Start a run, or the app's block around several runs."""
        guarded(self._trace_begins, trace)

    def on_trace_end(self, trace: Any) -> None:
        """End the run or block, with all open spans below it."""
        run = self.runs.take(trace.trace_id)
        if run is not None:
            guarded(self._record_raised, run)
            guarded(_mark_waiting, run)
            self._end(run, lambda _: True)

    def on_span_start(self, span: Any) -> None:
        """Start a step."""
        guarded(self._span_begins, span)

    def on_span_end(self, span: Any) -> None:
        """End a step; its data is complete only now."""
        run = self.runs.take(span.span_id)
        request = self._requests.pop(span.span_id, None)
        if run is None:
            return
        guarded(run.release_model_call)
        guarded(run.leave_body)
        if run.span is not None:
            guarded(self._record, run, run.span, span, request)
            guarded(_mark_waiting, run)
            guarded(run.span.end)

    def shutdown(self, timeout: float | None = None) -> None:
        """Do nothing: nothing is kept here."""

    def force_flush(self) -> None:
        """Do nothing: nothing is kept here."""

    # -- beginning ----------------------------------------------------------------------------------------------------

    def _trace_begins(self, trace: Any) -> None:
        recorder = self._active_recorder()
        if recorder is None or self._claims_only() or trace.trace_id in self.runs:
            return
        metadata = obj(getattr(trace, "metadata", None))
        base = self._root(get_current(), trace_values(session=None, user=None, tags=None, metadata=metadata))
        attributes = {
            **agent(None),
            names.CONVERSATION_ID: string(getattr(trace, "group_id", None)) or get_value(_CONVERSATION),
        }
        span = recorder.start(trace.name, attributes, context=base)
        self._open(Run(run_id=trace.trace_id, parent=None, context=base, span=span, name=trace.name, is_agent=True))

    def _span_begins(self, span: Any) -> None:
        recorder = self._active_recorder()
        if recorder is None or span.span_id in self.runs:
            return
        data = span.span_data
        kind = str(data.type)
        parent = self.runs.get(span.parent_id) or self.runs.get(span.trace_id)
        base = self._base(parent)
        if self._claims_only():
            if kind in _MODEL_CALLS:
                self._open(Run(run_id=span.span_id, parent=None, context=base)).claim_model_call()
            return
        if kind in _STEPS:
            agent = parent.agent if parent is not None else None
            self._open(Run(run_id=span.span_id, parent=parent, context=base, is_agent=True, agent=agent))
            return
        if kind == "agent" or kind in _MODEL_CALLS:
            _set_stopped(parent, None)
        name, attributes = _beginning(kind, data)
        owner = name if kind == "agent" else parent.agent if parent is not None else None
        attributes = {names.AGENT_NAME: owner, **attributes}
        started = recorder.start(name, attributes, context=base, is_model_call=kind in _MODEL_CALLS)
        run = Run(run_id=span.span_id, parent=parent, context=base, span=started, name=name, agent=owner)
        run.is_agent = kind == "agent"
        self._open(run)
        if kind in _MODEL_CALLS:
            run.claim_model_call()
            request = ModelRequest.that_begins()
            if request is not None:
                request.recorded_by(started)
                self._requests[span.span_id] = request
        elif kind in _BODIES:
            run.enter_body()

    def _active_recorder(self) -> Recorder | None:
        return None if self._closed else self._recorder()

    # -- ending -------------------------------------------------------------------------------------------------------

    def _record(self, run: Run, span: Span, told: Any, request: ModelRequest | None) -> None:
        with_content = self._with_content
        data, kind = told.span_data, str(told.span_data.type)
        if kind in _MODEL_CALLS:
            attributes = present(model_attributes(kind, data, request, with_content=with_content))
            model = attributes.get(names.REQUEST_MODEL)
            if model:
                span.update_name(f"chat {model}")
            span.set_attributes(attributes)
            self._record_agents(run, attributes)
        else:
            span.set_attributes(present(_ending(kind, data, with_content)))
        error = obj(told.error)
        if error:
            message = str(error.get("message") or "error")
            # The text that the model gets about a tool's failure has more detail than the error, which may be redacted.
            answered = string(data.output) if kind == "function" else None
            detail = (answered or string(obj(error.get("data")).get("error"))) if with_content else None
            fail(span, message, detail or message)
        elif not self._record_raised(run) and kind == "function" and data.input is not None and data.output is None:
            # It waits for an approval, unless a model call follows: then the tool has returned None.
            run.stopped = ours.INTERRUPTED

    def _record_raised(self, run: Run) -> bool:
        """Record the exception that passes through the block about to end, and return whether there is one.

        Cancellation is not a failure, and neither is a stream that the app leaves.
        """
        raised = sys.exc_info()[1]
        if run.span is None or raised is None or raised is run.handling:
            return False
        record_ended(run.span, raised, with_content=self._with_content)
        return True

    def _abandon(self, run: Run, outcome: str | None = ours.CANCELLED) -> None:
        self._requests.pop(run.run_id, None)
        super()._abandon(run, outcome)


def _set_stopped(run: Run | None, outcome: str | None) -> None:
    """Note the outcome on this run, and on the runs above it up to the first one with a span."""
    while run is not None:
        run.stopped = outcome
        run = run.parent if run.span is None else None


def _mark_waiting(run: Run) -> None:
    """Mark a run that ends while it waits, and the runs around it."""
    if run.stopped is not None and run.span is not None:
        run.span.set_attribute(ours.OUTCOME, run.stopped)
        _set_stopped(run.parent, run.stopped)


def _beginning(kind: str, data: Any) -> tuple[str, dict[str, Any]]:
    """Return the name of the span, and its initial attributes."""
    name = string(getattr(data, "name", None)) or kind
    if kind in _MODEL_CALLS:
        model = string(getattr(data, "model", None))
        attributes = {ours.OPERATION_NAME: "chat", names.PROVIDER: "openai", names.REQUEST_MODEL: model}
        return (f"chat {model}" if model else "chat"), attributes
    if kind == "agent":
        return name, agent(name)
    if kind == "function":
        return f"execute_tool {name}", tool(name)
    if kind == "mcp_tools":
        return f"list tools of {data.server or 'MCP server'}", {ours.KIND: "OTHER"}
    if kind == "handoff":
        return "handoff", {ours.KIND: "OTHER"}
    return name, {ours.KIND: "OTHER"}


def _ending(kind: str, data: Any, with_content: bool) -> Mapping[str, Any]:
    """Return the final attributes of a span that is not a model call."""
    if kind == "guardrail":
        return encoded({ours.OUTPUT: {"triggered": data.triggered}})
    if kind == "handoff":
        return encoded({ours.INPUT: {"agent": data.from_agent}, ours.OUTPUT: {"agent": data.to_agent}})
    if not with_content:
        return {}
    if kind == "function":
        arguments, result = decoded_arguments(data.input), data.output
        return encoded({names.TOOL_CALL_ARGUMENTS: arguments, names.TOOL_CALL_RESULT: result})
    if kind == "mcp_tools":
        return encoded({ours.OUTPUT: data.result})
    return encoded({ours.INPUT: data.data}) if kind == "custom" else {}
