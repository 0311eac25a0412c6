"""The spans and events of LlamaIndex's dispatcher as OpenTelemetry spans."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from inspect import BoundArguments, isasyncgen, isgenerator
from time import time_ns
from typing import Any, Final

from opentelemetry.context import Context, get_current, get_value
from opentelemetry.trace import Span

from pandaprobe_otel.capture.wrapping import ContextScope
from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel.mapping.outcomes import outcome_of
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import encoded, obj, string
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._runs import RUN_KEY, Run, RunRecorder
from pandaprobe_otel_integrations._span_scope import read_inside
from pandaprobe_otel_integrations._spans import LLM_SPAN_KEY, ModelClaim, fail, present
from pandaprobe_otel_integrations._spans import agent as agent_attributes
from pandaprobe_otel_integrations.llama_index.messages import (
    STEPS,
    TeamRun,
    answer_attributes,
    answer_of,
    beginning,
    ending,
    event_in,
    is_team,
    kind_of,
    messages_of,
    name_of_ending,
    parameters_of,
    request_attributes,
    rest_of_answer,
    step_beginning,
    tool_definitions,
)

_CANCELLED: Final = "WorkflowCancelledByUser"
"""Exceptions raised where a workflow continues after the app has cancelled it."""
_ONCE: Final = frozenset({"LLM", "TOOL"})
"""Kinds for which one object's call is one span, even if its methods call each other: `achat`, `chat`."""
_STREAMING_RESPONSES: Final = frozenset({"StreamingResponse", "AsyncStreamingResponse"})


class _Reading(ContextScope):
    """A streamed answer that is being read. Calls in this time belong to its run, which ends with it."""

    def __init__(self, handler: RunHandler, run: Run) -> None:
        super().__init__(run.context)
        self._handler = handler
        self._run = run
        self._said: list[str] = []

    def produced(self, item: Any, /) -> None:
        """Record a piece."""
        guarded(lambda: self._said.append(str(item)))

    def returned(self, value: Any, /) -> None:
        """End the run: the answer is read completely."""
        self._handler.end(self._run, "".join(self._said))

    def raised(self, error: BaseException, /) -> None:
        """End the run: the answer broke off, or the app has closed it."""
        self._handler.break_off(self._run, error)


class RunHandler(RunRecorder):
    """A span handler and an event handler of the dispatcher, which needs only their methods."""

    def __init__(
        self, recorder: Callable[[], Recorder | None], *, claims_only: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__(recorder, claims_only=claims_only)
        self._streams: dict[str, tuple[Run, weakref.ref[Any]]] = {}
        self.open_spans: dict[str, Any] = {}
        """The dispatcher's own shutdown reads this; our spans are ended by their runs."""

    def __len__(self) -> int:
        return len(self.runs)

    # -- called by the dispatcher --------------------------------------------------------------------------------------

    def span_enter(
        self, id_: str, bound_args: BoundArguments, instance: Any = None, parent_id: str | None = None, **_: Any
    ) -> None:
        """Start a call."""
        guarded(self._end_abandoned)
        guarded(self._begin, id_, bound_args, instance, parent_id)

    def span_exit(self, id_: str, bound_args: BoundArguments, result: Any = None, **_: Any) -> None:
        """End a call that returned. A call that returned a stream ends when the app has read the stream."""
        run = self.runs.get(id_)
        if run is None:
            return
        if not guarded(self._is_read_later, run, result):
            self.end(run, result)

    def span_drop(self, id_: str, bound_args: BoundArguments, err: BaseException | None = None, **_: Any) -> None:
        """End a call that raised."""
        run = self.runs.get(id_)
        if run is not None:
            self.break_off(run, err)

    def handle(self, event: Any, **_: Any) -> None:
        """Record an event about a call."""
        run = self.runs.get(string(getattr(event, "span_id", None)))
        if run is None:
            return
        if run.claim is not None:
            guarded(self._record_model_call, run, event, type(event).__name__)
        elif type(event).__name__ == "SpanCancelledEvent":
            for each in (run, run.turn if isinstance(run, TeamRun) else None):
                if each is not None:
                    guarded(self._record_error, each, None)

    async def ahandle(self, event: Any, **_: Any) -> None:
        """Record an event about a call, for a dispatcher that awaits."""
        self.handle(event)

    def capture_propagation_context(self) -> dict[str, Any]:
        """Return nothing: other processes need no data from here."""
        return {}

    def restore_propagation_context(self, context: dict[str, Any]) -> None:
        """Ignore the data."""

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    # -- beginning ----------------------------------------------------------------------------------------------------

    def _begin(self, id_: str, bound: BoundArguments, instance: Any, parent_id: str | None) -> None:
        recorder = self._recorder()
        if recorder is None or id_ in self.runs:
            return
        method = id_.partition("-")[0].rpartition(".")[2]
        parent = self._parent(parent_id)
        base = self._base(parent)
        kind = kind_of(instance, method)
        name_of_once = f"{kind} {id(instance)}"
        is_inner = kind in _ONCE and self._is_inside(name_of_once, parent)
        if is_inner:
            kind = None
        arguments = bound.arguments
        event = event_in(arguments) if kind is None and not is_inner else None
        if self._claims_only() or (kind is None and (event is None or _is_plumbing(method, parent))):
            parent, base = self._turn(parent, event, base, recorder)
            run = self._start(Run(run_id=id_, parent=parent, context=base))
            run.name = name_of_once if is_inner else ""  # calls below this call are inside it too
            if event is not None:
                self._begin_step(run, method, event)
        else:
            if kind is None:
                name, attributes = step_beginning(method, event, parent, with_content=recorder.with_content)
            else:
                name, attributes = beginning(kind, instance, arguments, parent, with_content=recorder.with_content)
            span = recorder.start(name, attributes, context=base, is_model_call=kind == "LLM")
            of_kind = TeamRun if kind == "AGENT" and is_team(instance) else Run
            run = of_kind(run_id=id_, parent=parent, context=base, span=span, is_agent=kind == "AGENT")
            run.name = name_of_once if kind in _ONCE else name_of_ending(kind, arguments)
            run.answers = names.INPUT_MESSAGES in attributes or ours.INPUT in attributes
            self._start(run)
            run.agent = attributes.get(names.AGENT_NAME) or run.agent
            if kind != "LLM" and method != "run":
                run.enter_body()
        if kind == "LLM" or (kind == "EMBEDDING" and run.span is None):
            run.claim_model_call()

    def _turn(self, parent: Run | None, event: Any, base: Context, recorder: Recorder) -> tuple[Run | None, Context]:
        """Return the parent of an agent's step: in a team, the current agent, whose span may start here."""
        if not isinstance(parent, TeamRun):
            return parent, base
        agent = string(getattr(event, "current_agent_name", None))
        if agent is not None and not parent.has_turn_of(agent):
            self._end_turn(parent)
            span = recorder.start(agent, agent_attributes(agent), context=parent.context)
            turn = Run(run_id=object(), parent=parent, context=parent.context, span=span, is_agent=True)
            parent.turn = self._start(turn)
            parent.turn.agent = agent
        return (parent, base) if parent.turn is None else (parent.turn, parent.turn.context)

    def _end_turn(self, run: Run, error: BaseException | None = None) -> None:
        if isinstance(run, TeamRun) and run.turn is not None:
            turn, run.turn = run.turn, None
            if error is not None:
                guarded(self._record_error, turn, error)
            self.end(turn, None)

    def _is_inside(self, name: str, parent: Run | None) -> bool:
        """Return whether a call of the same object contains this one.

        The other call is its parent, or a stream that is being read.
        """
        if parent is not None and parent.name == name:
            return True
        claim = get_value(LLM_SPAN_KEY)  # of the stream that this task has requested, until it answers
        return isinstance(claim, ModelClaim) and any(
            run.claim is claim and claim.is_open and run.name == name and getattr(stream(), "ag_running", False)
            for run, stream in list(self._streams.values())
        )

    def _begin_step(self, run: Run, method: str, event: Any) -> None:
        """Start a step of a workflow, which runs in a separate task: its calls belong to the run."""
        run.agent = string(getattr(event, "current_agent_name", None)) or run.agent
        run.name = string(getattr(event, "tool_id", None)) or method
        run.enter_body()

    def _parent(self, parent_id: str | None) -> Run | None:
        found = self.runs.get(parent_id)
        if found is not None:
            return found
        around = get_current().get(RUN_KEY)
        return around if isinstance(around, Run) and around.run_id in self.runs else None

    def _start(self, run: Run) -> Run:
        run.agent = run.parent.agent if run.parent is not None else None
        _set_stopped(run.parent, None)
        return self._open(run)

    # -- model calls --------------------------------------------------------------------------------------------------

    def _record_model_call(self, run: Run, event: Any, kind: str) -> None:
        if kind.endswith("InProgressEvent"):
            self._answers(run)
        elif kind in ("LLMChatStartEvent", "LLMCompletionStartEvent"):
            self._record_request(run, event)
        elif kind in ("LLMChatEndEvent", "LLMCompletionEndEvent"):
            self._record_answer(run, event.response)
            if run.run_id in self._streams:
                self.end(run, None)
        elif kind == "ExceptionEvent":
            self._record_error(run, event.exception)
            if run.run_id in self._streams:
                self.end(run, None)

    def _answers(self, run: Run) -> None:
        if run.claim is not None:
            run.claim.close()
        if run.span is not None and not run.answers:
            run.answers = True
            run.span.set_attributes({names.STREAM: True, ours.COMPLETION_START_TIME: time_ns()})

    def _record_request(self, run: Run, event: Any) -> None:
        recorder = self._recorder()
        if run.span is None or recorder is None:
            return
        more = obj(event.additional_kwargs)
        attributes = present(request_attributes(obj(event.model_dict), more))
        run.span.set_attributes(attributes)
        if names.REQUEST_MODEL in attributes:
            run.span.update_name(f"chat {attributes[names.REQUEST_MODEL]}")
        if not recorder.with_content:
            return
        prompt = string(getattr(event, "prompt", None))
        asked: list[Any] = [{"role": "user", "parts": [{"type": "text", "content": prompt}]}] if prompt else []
        said = encoded({names.INPUT_MESSAGES: asked or messages_of(event.messages)})
        given = {names.TOOL_DEFINITIONS: tool_definitions(more), **parameters_of(obj(event.model_dict), more)}
        run.span.set_attributes(said | encoded(given))
        self._record_agents(run, said)

    def _record_answer(self, run: Run, response: Any) -> None:
        recorder = self._recorder()
        if run.span is None or recorder is None:
            return
        run.span.set_attributes(present(answer_attributes(response)))
        if not recorder.with_content:
            return
        said = encoded({names.OUTPUT_MESSAGES: answer_of(response)})
        run.span.set_attributes(said | encoded(rest_of_answer(response)))
        self._record_agents(run, said)

    # -- ending -------------------------------------------------------------------------------------------------------

    def _is_read_later(self, run: Run, result: Any) -> bool:
        """Return whether the result is a stream that the app reads later; the run then ends with the stream."""
        stream: Any = result
        if run.claim is None:
            if run.span is None or type(result).__name__ not in _STREAMING_RESPONSES:
                return False
            stream = result.response_gen
            run.leave_body()
            if isgenerator(stream) or isasyncgen(stream):
                stream = result.response_gen = read_inside(_Reading(self, run), stream)
        if not (isgenerator(stream) or isasyncgen(stream)):
            return False
        if run.claim is not None:
            run.claim.lasts_with(stream)
        self._streams[run.run_id] = (run, weakref.ref(stream))
        return True

    def break_off(self, run: Run, error: BaseException | None) -> None:
        """End the run with this exception."""
        guarded(self._record_error, run, error)
        self._end_turn(run, error)
        self.end(run, None)

    def end(self, run: Run, result: Any) -> None:
        """End the run and everything below it. Without another outcome, it was successful."""
        self._streams.pop(run.run_id, None)
        if self.runs.take(run.run_id) is None:
            return
        self._end_turn(run)
        for child in self.runs.take_below(run, lambda below: below.run_id not in self._streams):
            self._abandon(child)
        guarded(run.release_model_call)
        guarded(run.leave_body)
        if run.span is not None:
            if result is not None:
                guarded(self._record_result, run, run.span, result)
            elif run.is_agent and run.stopped is not None:
                # An app that leaves a run, possibly to resume it later, cancels it. The dispatcher hides the
                # cancellation.
                run.span.set_attribute(ours.OUTCOME, run.stopped)
            guarded(run.span.end)

    def _record_result(self, run: Run, span: Span, result: Any) -> None:
        if not self._with_content:
            return
        span.set_attributes(encoded(ending(run.name, result)))
        if run.name.startswith("TOOL") and getattr(result, "is_error", False):
            fail(span, "tool_error", str(getattr(result, "content", result)))

    def _record_error(self, run: Run, error: BaseException | None) -> None:
        if run.span is None:
            return
        outcome = outcome_of(error) if error is not None else ours.CANCELLED
        if type(error).__name__ == _CANCELLED:
            outcome = ours.CANCELLED
        if outcome is not None:
            _set_stopped(run.parent, outcome)
            run.span.set_attribute(ours.OUTCOME, outcome)
        elif error is not None:
            self._fail(run.span, type(error).__name__, error)

    def _end_abandoned(self) -> None:
        """End runs that the app dropped. No event reports this, and a finalizer must not take locks."""
        for run, stream in list(self._streams.values()):
            if stream() is None:
                if run.span is not None:
                    run.span.set_attribute(ours.OUTCOME, ours.PARTIAL)
                self.end(run, None)


def _set_stopped(run: Run | None, outcome: str | None) -> None:
    """Note on this run and the runs above it how work below them stopped; None if it continues."""
    while run is not None and run.stopped != outcome:
        run.stopped = outcome
        run = run.parent


def _is_plumbing(method: str, parent: Run | None) -> bool:
    """Return whether a step belongs to one of LlamaIndex's own agents: its work is a model call or a tool."""
    return method in STEPS and parent is not None and parent.is_agent
