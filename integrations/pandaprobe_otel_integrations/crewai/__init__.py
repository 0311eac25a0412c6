"""OpenTelemetry spans for CrewAI, from the events of its bus: each step is one, below the step in which it starts."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from time import time_ns
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import get_current, set_value
from opentelemetry.trace import Span

from pandaprobe_otel.capture.wrapping import Scope
from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel.mapping.outcomes import outcome_of
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._adapter import Adapter
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import Content, items, obj, string
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._other_members import RESPONSE, answer_data
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._patching import OriginalCall, Undoable, patch
from pandaprobe_otel_integrations._rivals import OPENLLMETRY
from pandaprobe_otel_integrations._runs import RUN_KEY, Run, RunRecorder, asked, note, read_json, runs_around
from pandaprobe_otel_integrations._spans import ModelClaim, present
from pandaprobe_otel_integrations.crewai.descriptions import (
    KINDS,
    answer_attributes,
    answer_content,
    beside,
    conversation,
    tool_calls,
)

__all__ = ["CrewAIAdapter", "CrewAIInstrumentor"]


# -- an open step -----------------------------------------------------------------------------------------------------

_PHASES: Final = {"completed": "done", "finished": "done", "failed": "failed", "error": "failed"}
"""Ends of the types of events to the phase that they report, where the words differ."""

MAX_THOUGHT_CHARS: Final = 200_000
"""Largest size of a model's reasoning, which arrives in pieces and is kept until the call ends."""


@dataclass(slots=True, eq=False, kw_only=True)
class Step(Run):
    """An open step. It is current in the context of all code that runs inside it."""

    kind: str
    source: Any = None
    """The emitter of the event: the crew, the task, the model, ... The same object emits the end."""
    call_id: str | None = None
    """CrewAI's id of a model call."""
    called: list[Part] = field(default_factory=list[Part])
    """For an agent: its model's latest tool calls that have not started."""
    thoughts: list[str] = field(default_factory=list[str])
    thought_chars: int = 0
    beside: dict[str, Any] = field(default_factory=dict[str, Any])
    """Facts from events between start and end."""

    def think(self, piece: str) -> None:
        """Keep a piece of the model's reasoning."""
        if self.thought_chars < MAX_THOUGHT_CHARS:
            self.thoughts.append(piece)
            self.thought_chars += len(piece)

    def note(self, name: str, told: Any) -> None:
        """Keep an event inside the step under this name. Several events with one name become a list."""
        if name in self.beside:
            before: Any = self.beside[name]
            told = note(items(before) or [before], told)
        self.beside[name] = told


def current_step() -> Step | None:
    """Return the step that the running code belongs to."""
    found = get_current().get(RUN_KEY)
    return found if isinstance(found, Step) else None


def open_step(kind: str, event: Any, source: Any) -> Step | None:
    """Return the step of this kind that the event of `source` ends: the innermost one around the running code.

    CrewAI's own `started_event_id` is not used. It names the innermost scope of any kind, and is wrong if CrewAI has
    reported a model call as failed twice (1.15).
    """
    call_id = getattr(event, "call_id", None) if kind == "llm_call" else None
    found = (step for step in steps_around(current_step()) if step.source is source and step.call_id == call_id)
    return next((step for step in found if step.kind == kind), None)


def steps_around(step: Run | None) -> Iterator[Step]:
    """Yield a step and the steps around it, the innermost first."""
    return (run for run in runs_around(step) if isinstance(run, Step))


def around_of_kind(kind: str, step: Run | None) -> Step | None:
    """Return the step of this kind that this step is part of."""
    return next((each for each in steps_around(step) if each.kind == kind), None)


_SCOPE = "scope"


class EventListener(RunRecorder):
    """A listener that gets each event in the thread and context that emits it, at that time.

    Events therefore arrive in order, and need no flush: the bus's own handlers run later, in other threads.
    """

    def __init__(self, recorder: Callable[[], Recorder | None], owner: CrewAIInstrumentor) -> None:
        super().__init__(recorder, values=lambda: owner.values)
        self._owner = owner

    def emitted(self, source: Any, event: Any) -> None:
        """Handle an event."""
        kind, _, phase = event.type.removeprefix("lite_").rpartition("_")
        phase = _PHASES.get(phase, phase)
        if kind in KINDS and phase in ("started", "done", "failed", "paused") and not _is_in_a_tool(kind):
            if phase != "started":
                self._ends(kind, phase, source, event)
            elif kind not in ("flow", "method_execution") or not _is_internal(source):
                self._begins(kind, source, event)
        elif event.type in ("llm_stream_chunk", "llm_thinking_chunk"):
            self._streams(source, event)
        elif event.type == "conversation_message_added":
            self._says(source, event)
        else:
            self._happens(event)

    # -- scopes -------------------------------------------------------------------------------------------------------

    def enter_scope(self) -> Step | None:
        """Open a scope for a method that runs a crew, a flow or an agent. None while nothing is recorded."""
        if self._recorder() is None:
            return None
        current = get_current()
        scope = Step(run_id=object(), parent=current_step(), context=current, kind=_SCOPE)
        scope.context = set_value(RUN_KEY, scope, current)
        self._keep(scope)
        scope.enter_body()
        return scope

    def leave_scope(self, scope: Step | None, raised: BaseException | None = None) -> None:
        """Close the scope, and end its steps that no event has ended.

        After a cancellation, code in another thread goes on and ends its own steps.
        """
        if scope is None:
            return
        scope.leave_body()
        self.runs.take(scope.run_id)
        cancelled = isinstance(raised, CancelledError)
        for step in self.runs.take_below(scope, lambda run: not cancelled or run.is_torn_down):
            if raised is not None and step.span is not None:
                if (outcome := outcome_of(raised)) is None:
                    self._fail(step.span, type(raised).__name__, raised)
                elif outcome:
                    step.span.set_attribute(ours.OUTCOME, outcome)
            self._abandon(step, None)

    # -- beginnings ---------------------------------------------------------------------------------------------------

    def _begins(self, kind: str, source: Any, event: Any) -> None:
        recorder = self._recorder()
        if recorder is None:
            if kind == "llm_call" and self._owner.is_anothers(source):
                self._enter(Step(run_id=event.event_id, parent=current_step(), context=get_current(), kind=kind), event)
            return
        if kind == "llm_call" and _is_litellms(source):
            return
        parent = current_step()
        base = self._root(get_current())
        name, attributes = KINDS[kind].begin(source, event)
        agent = around_of_kind("agent_execution", parent)
        if agent is not None and names.AGENT_NAME not in attributes:
            attributes[names.AGENT_NAME] = agent.name
        if kind == "tool_usage" and agent is not None:
            attributes[names.TOOL_CALL_ID] = _call_id(agent, event)
        given = lambda: KINDS[kind].asked(source, event)  # noqa: E731
        span = recorder.start(name, attributes, given, context=base, is_model_call=kind == "llm_call")
        step = Step(run_id=event.event_id, parent=parent, context=base, kind=kind, source=source, span=span, name=name)
        self._enter(step, event)
        if kind == "mcp_tool_execution":
            self._happens(event)

    def _enter(self, step: Step, event: Any) -> None:
        if step.kind == "llm_call":
            step.call_id = event.call_id
            step.claim = ModelClaim()
        self._open(step).enter_body()

    # -- in between ---------------------------------------------------------------------------------------------------

    def _streams(self, source: Any, event: Any) -> None:
        step = open_step("llm_call", event, source)
        if step is None or step.span is None:
            return
        if not step.answers:
            step.answers = True
            elapsed_s = (time_ns() - step.started_ns) / 1e9
            step.span.set_attributes({names.TIME_TO_FIRST_CHUNK: elapsed_s, names.STREAM: True})
        if event.type == "llm_thinking_chunk":
            step.think(str(event.chunk))

    def _says(self, source: Any, event: Any) -> None:
        """Record a message of the user or the assistant in a conversational flow."""
        turn = around_of_kind("conversation_turn", current_step())
        side = {"user": names.INPUT_MESSAGES, "assistant": names.OUTPUT_MESSAGES}.get(event.role)
        if turn is not None and turn.span is not None and side is not None:
            said = {"role": event.role, "content": event.content}
            self._write(turn.span, lambda: {side: conversation([said])})

    def _happens(self, event: Any) -> None:
        """Record an event of the step that the running code belongs to."""
        found = beside(event)
        step = next((each for each in steps_around(current_step()) if each.span is not None), None)
        if found is not None and step is not None:
            step.note(*found)
            noted = step.beside
            self._write(step.span, lambda: answer_data(**noted))

    # -- ends ---------------------------------------------------------------------------------------------------------

    def _ends(self, kind: str, ending: str, source: Any, event: Any) -> None:
        step = open_step(kind, event, source) or self._elsewhere(kind, event)
        if step is None or self.runs.take(step.run_id) is None:
            return
        if step.span is not None:
            guarded(self._record, step, step.span, ending, event)
        failed = ending == "failed"
        self._end(step, lambda run: run.is_torn_down if failed else run.is_left_behind)

    def _elsewhere(self, kind: str, event: Any) -> Step | None:
        """Return the step that CrewAI names for the event, if the event is emitted outside of that step."""
        found = self.runs.get(string(event.started_event_id))
        return found if isinstance(found, Step) and found.kind == kind else None

    def _record(self, step: Step, span: Span, ending: str, event: Any) -> None:
        if ending == "failed":
            self._fail(span, _error_kind(event), event.error)
        elif ending == "paused":
            span.set_attribute(ours.OUTCOME, ours.INTERRUPTED)
            self._write(span, lambda: {ours.OUTPUT: {"waits_for_feedback": event.message}})
        elif step.kind == "llm_call":
            self._record_answer(step, span, event)
        else:
            self._write(span, lambda: _with_rest(KINDS[step.kind].answered(event), step.beside))
            # A tool reports its failure itself; that of another service's agent is reported as a completion.
            failure = event.error if step.kind == "a2a_delegation" else getattr(event, "failure", None)
            if failure is not None:
                self._fail(span, event.type, getattr(failure, "message", failure))

    def _record_answer(self, step: Step, span: Span, event: Any) -> None:
        span.set_attributes(present(answer_attributes(event)))
        self._write(span, lambda: answer_content(event, "".join(step.thoughts)))
        agent = around_of_kind("agent_execution", step)
        if agent is not None:
            agent.called = tool_calls(event.response)


class MethodScope(Scope):
    """A call of a method that runs a crew, a flow or an agent."""

    def __init__(self, listener: EventListener) -> None:
        self._listener = listener
        self._scope: Step | None = None

    def resume(self) -> None:
        """Open a scope for the steps in the call."""
        self._scope = guarded(self._listener.enter_scope)

    def returned(self, value: Any, /) -> None:
        """Close the scope."""
        guarded(self._listener.leave_scope, self._scope)

    def raised(self, error: BaseException, /) -> None:
        """Close the scope after an exception."""
        guarded(self._listener.leave_scope, self._scope, error)


def _with_rest(content: Content, beside: Mapping[str, Any]) -> Content:
    return {**content, **answer_data(**{**beside, **obj(obj(content.get(RESPONSE)).get("response"))})}


def _is_in_a_tool(kind: str) -> bool:
    """Return whether CrewAI reports an MCP tool inside of the tool call that it is."""
    inside = (step.kind for step in steps_around(current_step()) if step.kind != _SCOPE)
    return kind == "mcp_tool_execution" and next(inside, None) == "tool_usage"


def _is_internal(flow: Any) -> bool:
    """Return whether the flow is CrewAI's own, such as its executor of agents, and not a step of the app."""
    module = str(type(flow).__module__)
    return module.startswith("crewai.") and not module.startswith("crewai.flow")


def _call_id(agent: Step, event: Any) -> str | None:
    """Return the model's id of the call that starts. CrewAI does not report it, so it is found by name and input."""
    arguments: Mapping[str, Any] = obj(event.tool_args)
    for call in agent.called:
        if call["name"] == event.tool_name and obj(call["arguments"]) == arguments:
            agent.called = [each for each in agent.called if each is not call]
            return string(call["id"])
    return None


def _error_kind(event: Any) -> str:
    """Return the name of the exception in the event, or of the current exception if the event quotes it."""
    if isinstance(event.error, BaseException):
        return type(event.error).__name__
    raised = sys.exc_info()[1]
    if raised is not None and str(raised) in str(event.error):
        return type(raised).__name__
    return str(event.type)


# -- tools that a recording answers, whether the agent calls them through the model's API or in text -------------------

TOOLS: Final = "crewai.tools.base_tool"
STRUCTURED_TOOLS: Final = "crewai.tools.structured_tool"


def hook_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook `crewai.tools.base_tool`."""
    for owner, method, function in (
        (module.BaseTool, "run", "_run"),
        (module.BaseTool, "arun", "_arun"),
        (module.Tool, "run", "func"),
        (module.Tool, "arun", "_arun"),
    ):
        yield patch(owner, method, asked(function, _named))


def hook_structured_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook `crewai.tools.structured_tool`."""
    for method in ("invoke", "ainvoke"):
        yield patch(module.CrewStructuredTool, method, asked("func", _given))


def _named(original: OriginalCall) -> Mapping[str, Any]:
    return {**({"args": list(original.args)} if original.args else {}), **original.kwargs}


def _given(original: OriginalCall) -> Mapping[str, Any]:
    return read_json(original.arg(0, "input"))


_RUNS: Final = {
    "crewai.crew": ("Crew", ("kickoff", "akickoff")),
    "crewai.agent.core": ("Agent", ("kickoff", "kickoff_async")),
    "crewai.lite_agent": ("LiteAgent", ("kickoff", "kickoff_async")),
    "crewai.flow.runtime": ("Flow", ("kickoff_async", "resume_async")),
    "crewai.llm": ("LLM", ("call", "acall")),
}
"""Module to a class and some of its methods: the steps that start in them may end without an event.

Methods that only call one of these are not listed.
"""
_LITELLM: Final = "crewai.llm"
"""The module of the class with which CrewAI calls litellm."""
_BUS: Final = "crewai.events.event_bus"


class CrewAIInstrumentor(Integration):
    """Crews, flows, agents, tasks, model calls and tools, sync, async and streamed.

    Crews, tasks, flows and their methods are CHAIN spans, agents AGENT spans. One model call is one LLM span; the
    model's client makes no second one. The id of a flow's state, or the session of a conversational flow, is the
    conversation. CrewAI's own telemetry is neither read nor changed. See `Integration` for the options of
    `instrument()`.
    """

    library = "crewai"
    hooked_modules = (_BUS, *_RUNS, TOOLS, STRUCTURED_TOOLS)
    _listener: EventListener

    def _instrument(self, **kwargs: Any) -> None:
        self._listener = EventListener(self._recorder_if_alone, self)
        super()._instrument(**kwargs)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        # Not by `__name__`, which CrewAI overwrites in one of them.
        name = next(name for name in self.hooked_modules if sys.modules.get(name) is module)
        if name == _BUS:
            yield patch(module.CrewAIEventsBus, "emit", self._emitting)
            return
        if name not in _RUNS:
            yield from (hook_tools if name == TOOLS else hook_structured_tools)(module)
            return
        owner, methods = _RUNS[name]
        for method in methods:
            yield self._surround(getattr(module, owner), method, self._method_scope)

    def _method_scope(self, _: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> MethodScope:
        del args, kwargs
        return MethodScope(self._listener)

    def _emitting(self, original: OriginalCall) -> Any:
        result = original()  # which gives the event its position among the others
        guarded(_forward, self._listener, *original.args, **original.kwargs)
        return result

    def is_anothers(self, llm: Any) -> bool:
        """Return whether another vendor, which records the runs, also makes the spans of this model's calls.

        OpenInference does if it listens to the bus, and OpenLLMetry does for models that CrewAI calls through litellm.
        Otherwise, the instrumentation of the model's client makes them.
        """
        rival = self._watch.active() if self._open else None
        if rival is None:
            return False
        if rival.vendor == OPENLLMETRY:
            return _calls_litellm(llm)
        return bool(getattr(getattr(rival.instance, "_event_listener", None), "_create_llm_spans", False))


def _calls_litellm(llm: Any) -> bool:
    return any(base.__module__ == _LITELLM for base in type(llm).__mro__)


def _is_litellms(llm: Any) -> bool:
    """Return whether the litellm integration makes this model's spans.

    For a model that CrewAI calls through litellm, CrewAI's events lack answers with tool calls.
    """
    if not _calls_litellm(llm):
        return False
    from pandaprobe_otel_integrations.litellm import LiteLLMInstrumentor

    return bool(LiteLLMInstrumentor().is_instrumented_by_opentelemetry)


def _forward(listener: EventListener, source: Any, event: Any) -> None:
    listener.emitted(source, event)


class CrewAIAdapter(Adapter):
    """The official SDK's adapter; see `Adapter`."""

    instrumentor = CrewAIInstrumentor
