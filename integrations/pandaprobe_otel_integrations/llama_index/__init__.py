"""OpenTelemetry spans for LlamaIndex, from handlers of its dispatcher."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import BoundArguments, isasyncgen, isgenerator
from time import time_ns
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import Context, get_current, get_value
from opentelemetry.trace import Span

from pandaprobe_otel.capture.tool_answers import Form
from pandaprobe_otel.capture.wrapping import ContextScope
from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel.mapping.outcomes import outcome_of
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import Content, encoded, string
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._openai_protocol.usage import PARAMETERS
from pandaprobe_otel_integrations._patching import OriginalCall, Undo, Undoable, patch
from pandaprobe_otel_integrations._rivals import OPENLLMETRY, Rival, known_rivals
from pandaprobe_otel_integrations._runs import RUN_KEY, Run, RunRecorder, asked, json_or_text
from pandaprobe_otel_integrations._span_scope import read_inside
from pandaprobe_otel_integrations._spans import LLM_SPAN_KEY, ModelClaim, present
from pandaprobe_otel_integrations._spans import agent as agent_attributes
from pandaprobe_otel_integrations.llama_index.messages import (
    STEP,
    STEPS,
    TEAM,
    Call,
    Kind,
    answer_of,
    event_in,
    kind_of,
    request_content,
    request_of,
)

__all__ = ["LlamaIndexInstrumentor"]


# -- function tools that a recording answers. A tool that takes the workflow's context has to run ----------------------

TOOLS: Final = "llama_index.core.tools.function_tool"
_FORM: Final = Form(kept=json_or_text)


def hook_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook `llama_index.core.tools.function_tool`."""
    for method, function in (("call", "_fn"), ("acall", "_async_fn")):
        wrapper = asked(function, _arguments, name=_name, form=_form, unless=_takes_context)
        yield patch(module.FunctionTool, method, wrapper)


def _form(_: Any, __: dict[str, Any]) -> Form:
    return _FORM


def _name(tool: Any) -> str:
    return str(tool.metadata.get_name())


def _arguments(original: OriginalCall) -> Mapping[str, Any]:
    return {**({"args": list(original.args)} if original.args else {}), **original.kwargs}


def _takes_context(tool: Any) -> bool:
    """Return whether the tool changes the run through its context, as a hand-off does."""
    return bool(getattr(tool, "requires_context", False))


_CANCELLED: Final = "WorkflowCancelledByUser"
"""Exceptions raised where a workflow continues after the app has cancelled it."""
_ONCE: Final = frozenset({"LLM", "TOOL"})
"""Kinds for which one object's call is one span, even if its methods call each other: `achat`, `chat`."""
_STREAMING_RESPONSES: Final = frozenset({"StreamingResponse", "AsyncStreamingResponse"})


@dataclass(slots=True, eq=False, kw_only=True)
class CallRun(Run):
    """A call of a kind, or internals of the framework without one."""

    kind: Kind | None = None
    once: str = ""
    """For a model or a tool: the object and its kind. Calls of them inside this call are the same call."""
    tool_id: str | None = None
    """For the step that calls a tool: the model's id of the call."""
    turn: CallRun | None = None
    """For a team: the turn of the current agent."""


class _Reading(ContextScope):
    """A streamed answer that is being read. Calls in this time belong to its run, which ends with it."""

    def __init__(self, handler: RunHandler, run: CallRun) -> None:
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
        self._streams: dict[str, tuple[CallRun, weakref.ref[Any]]] = {}
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
        run = self._call(id_)
        if run is None:
            return
        if not guarded(self._is_read_later, run, result):
            self.end(run, result)

    def span_drop(self, id_: str, bound_args: BoundArguments, err: BaseException | None = None, **_: Any) -> None:
        """End a call that raised."""
        run = self._call(id_)
        if run is not None:
            self.break_off(run, err)

    def handle(self, event: Any, **_: Any) -> None:
        """Record an event about a call."""
        run = self._call(getattr(event, "span_id", None))
        if run is None:
            return
        if run.claim is not None:
            guarded(self._record_model_call, run, event, type(event).__name__)
        elif type(event).__name__ == "SpanCancelledEvent":
            for each in (run, run.turn):
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
        once = f"{kind.kind} {id(instance)}" if kind is not None and kind.kind in _ONCE else ""
        if once and self._is_inside(once, parent):
            self._start(CallRun(run_id=id_, parent=parent, context=base, once=once))
            return
        event = event_in(bound.arguments) if kind is None else None
        if event is not None and not _is_plumbing(method, parent):
            kind, instance = STEP, event
        if kind is None or self._claims_only():
            parent, base = self._turn(parent, event, base, recorder)
            run = self._start(CallRun(run_id=id_, parent=parent, context=base))
            if event is not None:  # a step runs in a separate task: its calls belong to the run
                run.agent = string(getattr(event, "current_agent_name", None)) or run.agent
                run.tool_id = string(getattr(event, "tool_id", None))
                run.enter_body()
        else:
            call = Call(instance, method, bound.arguments, parent.tool_id if parent is not None else None)
            name, attributes = kind.begin(call)
            attributes = {names.AGENT_NAME: parent.agent if parent is not None else None, **attributes}
            content = encoded(guarded(kind.asked, call) or {}) if recorder.with_content else {}
            span = recorder.start(name, attributes | content, context=base, is_model_call=kind.kind == "LLM")
            run = CallRun(run_id=id_, parent=parent, context=base, span=span, kind=kind, once=once)
            run.is_agent, run.answers = kind.kind == "AGENT", bool(content)
            self._start(run)
            run.agent = attributes[names.AGENT_NAME]
            if kind.kind != "LLM" and method != "run":
                run.enter_body()
        if kind is not None and (kind.kind == "LLM" or (kind.kind == "EMBEDDING" and run.span is None)):
            run.claim_model_call()

    def _turn(
        self, parent: CallRun | None, event: Any, base: Context, recorder: Recorder
    ) -> tuple[CallRun | None, Context]:
        """Return the parent of an agent's step: in a team, the current agent, whose span may start here."""
        if parent is None or parent.kind is not TEAM:
            return parent, base
        agent = string(getattr(event, "current_agent_name", None))
        if agent is not None and (parent.turn is None or parent.turn.agent != agent):
            self._end_turn(parent)
            span = recorder.start(agent, agent_attributes(agent), context=parent.context)
            turn = CallRun(run_id=object(), parent=parent, context=parent.context, span=span, is_agent=True)
            parent.turn = self._start(turn)
            parent.turn.agent = agent
        return (parent, base) if parent.turn is None else (parent.turn, parent.turn.context)

    def _end_turn(self, run: CallRun, error: BaseException | None = None) -> None:
        if run.turn is not None:
            turn, run.turn = run.turn, None
            if error is not None:
                guarded(self._record_error, turn, error)
            self.end(turn, None)

    def _is_inside(self, once: str, parent: CallRun | None) -> bool:
        """Return whether a call of the same object contains this one.

        The other call is its parent, or a stream that is being read.
        """
        if parent is not None and parent.once == once:
            return True
        claim = get_value(LLM_SPAN_KEY)  # of the stream that this task has requested, until it answers
        return isinstance(claim, ModelClaim) and any(
            run.claim is claim and claim.is_open and run.once == once and getattr(stream(), "ag_running", False)
            for run, stream in list(self._streams.values())
        )

    def _call(self, run_id: str | None) -> CallRun | None:
        found = self.runs.get(run_id)
        return found if isinstance(found, CallRun) else None

    def _parent(self, parent_id: str | None) -> CallRun | None:
        around = get_current().get(RUN_KEY)
        return self._call(parent_id) or (self._call(around.run_id) if isinstance(around, Run) else None)

    def _start(self, run: CallRun) -> CallRun:
        run.agent = run.parent.agent if run.parent is not None else None
        _set_stopped(run.parent, None)
        self._open(run)
        return run

    # -- model calls --------------------------------------------------------------------------------------------------

    def _record_model_call(self, run: CallRun, event: Any, kind: str) -> None:
        if kind.endswith("InProgressEvent"):
            self._answers(run)
        elif kind in ("LLMChatStartEvent", "LLMCompletionStartEvent"):
            self._record_request(run, event)
        elif kind in ("LLMChatEndEvent", "LLMCompletionEndEvent", "ExceptionEvent"):
            if kind == "ExceptionEvent":
                self._record_error(run, event.exception)
            else:
                self._record(run, *answer_of(event.response))
            if run.run_id in self._streams:
                self.end(run, None)

    def _answers(self, run: Run) -> None:
        if run.claim is not None:
            run.claim.close()
        if run.span is not None and not run.answers:
            run.answers = True
            run.span.set_attributes({names.STREAM: True, ours.COMPLETION_START_TIME: time_ns()})

    def _record_request(self, run: Run, event: Any) -> None:
        request = request_of(event)
        attributes = PARAMETERS.read(request)
        if run.span is not None and (model := attributes.get(names.REQUEST_MODEL)):
            run.span.update_name(f"chat {model}")
        self._record(run, attributes, lambda: request_content(event, request))

    def _record(self, run: Run, attributes: Mapping[str, Any], content: Callable[[], Content]) -> None:
        """Write a part of a model call, which is the agent's too."""
        if run.span is not None:
            found = present(attributes) | (encoded(content()) if self._with_content else {})
            run.span.set_attributes(found)
            self._record_agents(run, found)

    # -- ending -------------------------------------------------------------------------------------------------------

    def _is_read_later(self, run: CallRun, result: Any) -> bool:
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

    def break_off(self, run: CallRun, error: BaseException | None) -> None:
        """End the run with this exception."""
        guarded(self._record_error, run, error)
        self._end_turn(run, error)
        self.end(run, None)

    def end(self, run: CallRun, result: Any) -> None:
        """End the run and everything below it. Without another outcome, it was successful."""
        self._streams.pop(run.run_id, None)
        if self.runs.take(run.run_id) is None:
            return
        self._end_turn(run)
        if run.span is not None:
            if result is not None and run.kind is not None:
                guarded(self._record_result, run.kind, run.span, result)
            elif run.is_agent and run.stopped is not None:
                # An app that leaves a run, possibly to resume it later, cancels it. The dispatcher hides the
                # cancellation.
                run.span.set_attribute(ours.OUTCOME, run.stopped)
        self._end(run, lambda below: below.run_id not in self._streams)

    def _record_result(self, kind: Kind, span: Span, result: Any) -> None:
        self._write(span, lambda: kind.answered(result))
        if kind.kind == "TOOL" and getattr(result, "is_error", False):
            self._fail(span, "tool_error", getattr(result, "content", result))

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


class LlamaIndexInstrumentor(Integration):
    """Agents, workflows, query and chat engines, retrievers, embeddings, tools and model calls, streamed or not.

    One model call is one LLM span; the model's client makes no second one. The spans of a streamed answer end when the
    app has read it, or at the next call if the app drops it. See `Integration` for the options of `instrument()`.
    """

    library = "llama_index"
    hooked_modules = ("llama_index_instrumentation", TOOLS)
    rivals = known_rivals("llama_index", Rival(vendor=OPENLLMETRY, module="opentelemetry.instrumentation.llamaindex"))

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == TOOLS:
            yield from hook_tools(module)
            return
        handler: Any = RunHandler(self._recorder_if_on, claims_only=self._leaves_it_to_others)
        dispatcher = module.root_dispatcher
        dispatcher.add_span_handler(handler)
        dispatcher.add_event_handler(handler)

        def undo() -> None:
            """Remove the handler from the dispatcher, which has no API for this."""
            for name in ("span_handlers", "event_handlers"):
                setattr(dispatcher, name, [each for each in getattr(dispatcher, name) if each is not handler])

        yield Undo(undo)
