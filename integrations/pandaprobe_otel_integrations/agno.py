"""OpenTelemetry spans for Agno: around the runs of its agents, teams and workflows, and around tool calls."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import isasyncgen, isgenerator
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import get_current

from pandaprobe_otel.capture.executors import ContextExecutor
from pandaprobe_otel.capture.trace_context import attributes_in
from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import items, obj, string, to_json
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._patching import Undoable, replace
from pandaprobe_otel_integrations._span_scope import SpanScope, read_inside
from pandaprobe_otel_integrations._spans import agent as agent_attributes
from pandaprobe_otel_integrations._spans import fail, tool

__all__ = ["AgnoInstrumentor"]


# -- shared code for the spans of runs and of tools --------------------------------------------------------------------

_CANCELLED: Final = "RunCancelledException"
STATUS_OUTCOMES: Final = {"CANCELLED": ours.CANCELLED, "PAUSED": ours.INTERRUPTED}
"""Outcomes by the status in the record of a run that stopped before its end."""
_STEERING: Final = "AgentRunException"
"""Base of the exceptions with which a tool tells the agent to try again or to stop."""
_JSON: Final[frozenset[type]] = frozenset({str, int, float, bool, list, tuple, type(None)})


class AgnoScope(SpanScope):
    """The span of a run or a tool call. Exceptions with which Agno controls a run are not failures."""

    def _record_status(self, record: Any, kind: str, text: str | None) -> None:
        """Record the failure, or the stop before the end, that Agno's record of a run shows."""
        status = str(getattr(getattr(record, "status", None), "value", ""))
        if status == "ERROR":
            self._fail(kind, text)
        elif status in STATUS_OUTCOMES:
            self.span.set_attribute(ours.OUTCOME, STATUS_OUTCOMES[status])

    def _fail(self, kind: str, text: str | None) -> None:
        fail(self.span, kind, text if text and self.recorder.with_content else kind)

    def _record_error(self, error: BaseException) -> None:
        bases = {base.__name__ for base in type(error).__mro__}
        if _CANCELLED in bases:
            self.span.set_attribute(ours.OUTCOME, ours.CANCELLED)
        elif _STEERING not in bases:
            super()._record_error(error)


def text_of(value: Any) -> str:
    """Return content that is a text or the app's own object as text."""
    told = plain(value)
    return told if isinstance(told, str) else to_json(told)


def plain(value: Any) -> Any:
    """Return a result unchanged if JSON has a form for it, an object by its fields, anything else as text."""
    return value if type(value) in _JSON else obj(value) or str(value)


# -- the span of one run of an agent or a team -------------------------------------------------------------------------

_FAILED: Final = "RunError"
"""Agno's event for a failed run; it does not name the exception's class."""

_OUTCOMES: Final = {"RunCancelled": ours.CANCELLED, "RunPaused": ours.INTERRUPTED}
"""Events of a run that stopped before its end."""


_WORKED_WITH: Final = ("session_state", "dependencies", "knowledge_filters")
_FILES: Final = (("images", "image"), ("videos", "video"), ("audios", "audio"), ("files", "document"))


def begin_run(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunScope:
    """Start the span, as a child of the current one: a member's run is below the tool call that asks the member."""
    agent = args[0]  # Agno passes the agent, workflow or tool call first, and all other arguments by name
    run, response = kwargs.get("run_context"), kwargs.get("run_response")
    name = string(agent.name) or string(agent.id) or type(agent).__name__
    attributes = {
        **agent_attributes(name),
        names.AGENT_ID: string(agent.id),
        ours.SPAN_METADATA: to_json(about) if (about := _about(run, with_content=False)) else None,
        **whose(run),
    }
    given = getattr(response, "input", None)
    asked = getattr(given, "input_content", None)
    task = None if asked is None else lambda: {names.INPUT_MESSAGES: _task(asked, given)}
    span = recorder.start(name, attributes, task)
    # The context of an agent in a workflow is the workflow's, and has the workflow's id.
    run_id = string(getattr(response, "run_id", None)) or string(getattr(run, "run_id", None))
    return RunScope(recorder, span, response, run_id, run)


def whose(run: Any) -> dict[str, str | None]:
    """Return session and user of a run from its `RunContext`; only the session if the app has set the user itself."""
    told = {names.CONVERSATION_ID: string(getattr(run, "session_id", None))}
    if ours.USER_ID not in (attributes_in(get_current()) or {}):
        told[ours.USER_ID] = string(getattr(run, "user_id", None))
    return told


class RunScope(AgnoScope):
    """A run.

    `response` is Agno's own record of the run, if Agno has started one; otherwise, events describe the run. `run` is
    its context, whose state Agno loads and tools change during the run.
    """

    def __init__(self, recorder: Recorder, span: Any, response: Any, run_id: str | None, run: Any) -> None:
        super().__init__(recorder, span)
        self._response = response
        self._run = run
        self._run_id = run_id
        self._said: list[str] = []
        self._is_over = False

    def produced(self, item: Any, /) -> None:
        """Record an item of the stream: an event of this run, or its final record. Events of members are ignored."""
        guarded(self._read, item)

    def returned(self, value: Any, /) -> None:
        """Record the end of the run. If it failed, Agno's record says so."""
        if not self._is_over:
            self._is_over = True
            super().returned(value if value is not None else self._response)

    def raised(self, error: BaseException, /) -> None:
        """End the run as failed or dropped, unless it has ended already.

        A workflow stops reading after the run's final record, which ends the run.
        """
        if not self._is_over:
            self._is_over = True
            super().raised(error)

    def _read(self, item: Any) -> None:
        if getattr(item, "run_id", None) != self._run_id:
            return
        kind, content = str(getattr(item, "event", "")).removeprefix("Team"), getattr(item, "content", None)
        if not kind:
            self.returned(item)
        elif self._response is not None:
            return
        elif kind == _FAILED:
            self._fail(_FAILED, text_of(content))
        elif kind in _OUTCOMES:
            self.span.set_attribute(ours.OUTCOME, _OUTCOMES[kind])
        elif kind == "RunContent" and content is not None:
            self._said.append(text_of(content))

    def _record(self, value: Any) -> None:
        content = getattr(value, "content", None)
        said = text_of(content) if content is not None else "".join(self._said)
        self._record_status(value, _FAILED, said)
        self.write(
            lambda: {
                names.OUTPUT_MESSAGES: parts.said(said),
                ours.SPAN_METADATA: _about(self._run, with_content=True),
            }
        )


def _about(run: Any, *, with_content: bool) -> dict[str, Any]:
    """Return the description of a run, and its values, even those that the model does not get."""
    found = dict(obj(getattr(run, "metadata", None)))
    for name in _WORKED_WITH if with_content else ():
        value = getattr(run, name, None)
        if name == "session_state":  # Agno puts the ids of the run into it
            value = {key: one for key, one in obj(value).items() if not key.startswith("current_")}
        if value:
            found.setdefault(name, value)
    return found


def _task(content: Any, given: Any) -> list[dict[str, Any]]:
    """Return the task: a text, an object of the app, or messages, with the files passed beside it."""
    asked = [_message(each) for each in (items(content) or [content])]
    for name, kind in _FILES:
        files = [_file(each, kind) for each in items(getattr(given, name, None))]
        asked[-1]["parts"] += [file for file in files if file is not None]
    return asked


def _file(file: Any, kind: str) -> dict[str, Any] | None:
    if url := string(getattr(file, "url", None)):
        return parts.media(url, kind)
    content = getattr(file, "content", None)
    mime_type = string(getattr(file, "mime_type", None))
    if isinstance(content, bytes):
        return parts.blob(content, kind, mime_type)
    path = getattr(file, "filepath", None)
    return None if path is None else {"type": "file", "modality": kind, "file_id": str(path)}


def _message(given: Any) -> dict[str, Any]:
    fields = obj(given)
    role = string(fields.get("role"))
    if role is None:
        return {"role": "user", "parts": [parts.text(text_of(given))]}
    return {"role": role, "parts": [parts.text(text_of(fields.get("content")))]}


# -- the span of one tool call -----------------------------------------------------------------------------------------


def begin_tool(recorder: Recorder, args: tuple[Any, ...], _: dict[str, Any]) -> ToolScope:
    """Start the span of a `FunctionCall`."""
    call = args[0]
    name = str(call.function.name)
    attributes = tool(name, string(call.call_id))
    given = lambda: {names.TOOL_CALL_ARGUMENTS: obj(call.arguments)}  # noqa: E731
    return ToolScope(recorder, recorder.start(f"execute_tool {name}", attributes, given), call)


class ToolScope(AgnoScope):
    """A tool call. If the tool yields, as a member with streamed events does, the call lasts until it is read."""

    def __init__(self, recorder: Recorder, span: Any, call: Any) -> None:
        super().__init__(recorder, span)
        self._call = call
        self._said: list[str] = []
        self._is_stream = False

    def returned(self, value: Any, /) -> None:
        """Record Agno's record of the call, or the end of the yielded items."""
        if self._is_stream:
            guarded(self._record, "".join(self._said))
        elif guarded(self._read_inside, value):
            return
        else:
            guarded(self._record_outcome, value)
        guarded(self.span.end)

    def produced(self, item: Any, /) -> None:
        """Record a yielded item: a part of the result, or an event of a member's run."""
        guarded(self._read, item)

    def _read_inside(self, outcome: Any) -> bool:
        """Put the tool's generator inside the span. Return False if there is none."""
        if not (isgenerator(outcome.result) or isasyncgen(outcome.result)):
            return False
        inside = read_inside(self, outcome.result)
        if self._call.result is outcome.result:
            self._call.result = inside
        outcome.result = inside
        self._is_stream = True
        return True

    def _read(self, item: Any) -> None:
        event = string(getattr(item, "event", None))
        if event is None:
            self._said.append(str(item))
        elif event.removeprefix("Team") == "RunContent" and item.content is not None:
            self._said.append(text_of(item.content))

    def _record_outcome(self, outcome: Any) -> None:
        if outcome.status == "success":
            self._record(outcome.result)
        else:
            self._fail("ToolError", string(outcome.error))  # Agno keeps only the text of the exception

    def _record(self, value: Any) -> None:
        self.write(lambda: {names.TOOL_CALL_RESULT: plain(value)})


# -- the span of one run of a workflow, above the agents and teams of its steps ----------------------------------------

_WORKFLOWS_FAILED: Final = "WorkflowError"
"""Agno's status for a failed workflow, if it raises nothing."""


def begin_workflow(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> WorkflowScope:
    """Start the span, as a child of the current one: a workflow that is a step of another is below it."""
    workflow, record = args[0], kwargs.get("workflow_run_response")
    name = string(workflow.name) or string(workflow.id) or type(workflow).__name__
    attributes = {ours.KIND: "CHAIN", **whose(kwargs.get("run_context"))}
    asked = getattr(record, "input", None)
    given = None if asked is None else lambda: {ours.INPUT: plain(asked)}
    return WorkflowScope(recorder, recorder.start(name, attributes, given), record)


class WorkflowScope(AgnoScope):
    """A run. `record` is Agno's own record of it, which Agno fills in during the run."""

    def __init__(self, recorder: Recorder, span: Any, record: Any) -> None:
        super().__init__(recorder, span)
        self._run = record

    def _record(self, value: Any) -> None:
        """Record that the run is over or waits for a person. If it failed or was cancelled, Agno's record says so."""
        content = getattr(self._run, "content", None)
        self._record_status(self._run, _WORKFLOWS_FAILED, string(content))
        if content is not None:
            self.write(lambda: {ours.OUTPUT: plain(content)})


_TOOLS: Final = "agno.tools.function"
_WORKFLOWS: Final = "agno.workflow.workflow"
_OWNERS: Final = {"agno.agent.agent": "Agent", "agno.team.team": "Team"}
_HOW: Final = [(how, end) for how in ("_", "_a", "_continue_", "_acontinue_") for end in ("", "_stream")]
"""The ways to run: sync or async, from the start or continued, as a whole or streamed, also in the background."""


class AgnoInstrumentor(Integration):
    """Runs of agents, teams with their members and workflows, model calls and tools, sync, async and streamed.

    The client (openai, anthropic, google_genai, ...) makes the span of a model call; a client without an integration
    makes none. A run that Agno calls failed is an error, even if Agno raises nothing; a run that waits for a person is
    not. Agno's session and user are those of the trace, unless the app sets others. Before Agno 3.1.4, members that a
    team in task mode runs in threads are separate traces, because Agno loses the context.

    See `Integration` for the options of `instrument()`.
    """

    library = "agno"
    hooked_modules = ("agno.agent._run", "agno.team._run", _TOOLS, _WORKFLOWS, *_OWNERS)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == _TOOLS:
            for name in ("execute", "aexecute"):
                yield self._surround(module.FunctionCall, name, begin_tool)
        elif module.__name__ == _WORKFLOWS:
            for how, end in _HOW:
                yield self._surround(module.Workflow, f"{how}execute{end}", begin_workflow)
        elif module.__name__ in _OWNERS:
            yield _carry_context(getattr(module, _OWNERS[module.__name__]))
        else:
            for how, end in _HOW:
                yield self._surround(module, f"{how}run{end}", begin_run)


def _carry_context(owner: Any) -> Undoable:
    """Carry the run's context into the threads in which Agno writes memories and learns while the run waits."""
    name = "background_executor"
    made: property = owner.__dict__[name]
    return replace(owner, name, property(lambda agent: ContextExecutor(made.__get__(agent))))
