"""OpenTelemetry spans for AutoGen: around the runs of its agents and teams, turns in teams, and tool calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import get_current, set_value
from opentelemetry.trace import INVALID_SPAN, get_current_span, set_span_in_context

from pandaprobe_otel.capture.wrapping import Scope
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import Content, items, obj, to_json
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._other_members import answer_data, told, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._patching import OriginalCall, Undoable, definer, patch
from pandaprobe_otel_integrations._rivals import Rival
from pandaprobe_otel_integrations._runs import ConversationIds, note
from pandaprobe_otel_integrations._span_scope import SpanScope
from pandaprobe_otel_integrations._spans import adopt, tool, without_llm_span
from pandaprobe_otel_integrations._spans import agent as agent_attributes

__all__ = ["AutoGenInstrumentor"]


# -- messages of AutoGen in the form of the conventions ----------------------------------------------------------------

_READ: Final = frozenset({"id", "source", "models_usage", "metadata", "created_at", "type", "content"})
"""Members that are recorded under other names, and times and ids; a message's other members stay beside it."""
_SEEN: Final = frozenset({"ToolCallRequestEvent", "ToolCallExecutionEvent", "ModelClientStreamingChunkEvent"})
"""Events about model calls and tools, which have their own spans."""


def _asked(task: Any) -> Content:
    """Return the input of an agent or a team: a text, a message or several."""
    return {names.INPUT_MESSAGES: [_message("user", each) for each in (items(task) or [task]) if each is not None]}


def _on_the_way(messages: Sequence[Any], task: Any) -> list[Part]:
    """Return the messages between task and answer that have no span: thoughts, code and its results, ..."""
    given = {getattr(each, "id", None) for each in items(task) or [task]}
    said = [*messages][:-1]
    if isinstance(task, str) and said and getattr(said[0], "content", None) == task:
        del said[0]
    return [
        {"event": type(each).__name__, **_message("assistant", each)}
        for each in said
        if type(each).__name__ not in _SEEN and getattr(each, "id", each) not in given
    ]


def _message(role: str, said: Any) -> Part:
    """Return one message, with its author, the app's data about it, and the other fields of its class."""
    if isinstance(said, str):
        return {"role": role, "parts": [parts.text(said)]}
    told_of = {"name": getattr(said, "source", None), "metadata": getattr(said, "metadata", None)}
    found = {"role": role, "parts": _parts(said), **{name: value for name, value in told_of.items() if value}}
    members = obj(said)
    found = with_rest(found, members, _READ)
    if getattr(said, "format_string", None):
        found["structured"] = told(members.get("content"))
    return found


def _parts(said: Any) -> list[Part]:
    content = getattr(said, "content", None)
    if type(said).__name__ == "MultiModalMessage":
        return [
            parts.text(each) if isinstance(each, str) else parts.media(each.data_uri, "image")
            for each in items(content)
        ]
    if isinstance(content, list):
        return [parts.text(to_json(told([dict(obj(each)) or each for each in items(content)])))]
    return [parts.text(content if isinstance(content, str) else str(said.to_text()))]


# -- runs of agents and teams, and the turns of a team's members -------------------------------------------------------

_RUN_KEY: Final = "pandaprobe-autogen-run"
"""Context key of the innermost run."""
_CUT: Final = frozenset({"length", "content_filter", "unknown"})
"""Finish reasons of a model that are also its agent's. After any other reason, the agent goes on until it is done."""
_STOP_REASON: Final = "autogen.stop_reason"
_DESCRIPTION: Final = "gen_ai.agent.description"
_MEMBERS_ANSWER: Final = "GroupChatAgentResponse"
"""The class of a team member's final message, published during its turn."""
_CONVERSATIONS: Final = ConversationIds()
"""An agent keeps its messages from run to run."""


class RunScope(SpanScope):
    """A run of an agent or a team, or a turn of a team's member, whose end has no result."""

    def __init__(
        self, recorder: Recorder, runs: Any, given: Any, attributes: Mapping[str, Any], *, is_team: bool = False
    ) -> None:
        name = str(getattr(runs, "name", None) or type(runs).__name__)
        attributes = {
            **agent_attributes(name),
            _DESCRIPTION: getattr(runs, "description", None),
            **attributes,
        }
        span = recorder.start(f"invoke_agent {name}", attributes, lambda: _asked(given))
        around = get_current()
        inside = set_value(_RUN_KEY, self, set_span_in_context(span, without_llm_span(around)))
        super().__init__(recorder, span, context=inside)
        self.reason = ""
        """Finish reason of the latest model call, or of the latest turn of a team; AutoGen's messages have none."""
        self._above = around.get(_RUN_KEY)
        self._given = given
        self._is_team = is_team

    def produced(self, item: Any, /) -> None:
        """Record the last event of a streamed run, which is its result."""
        if type(item).__name__ == "TaskResult":
            guarded(self._record, item)

    def answered(self, messages: Sequence[Any]) -> None:
        """Record the answer, which is the last message, and the messages before it."""
        reason = self.reason if self.reason in _CUT else "stop"
        if isinstance(self._above, RunScope) and self._above._is_team:
            self._above.reason = reason
        self.write(lambda: self._said(messages, reason))

    def _said(self, messages: Sequence[Any], reason: str) -> Content:
        between = [] if self._is_team else _on_the_way(messages, self._given)
        return {
            names.OUTPUT_MESSAGES: [{**_message("assistant", each), "finish_reason": reason} for each in messages[-1:]],
            **answer_data(messages=between),
        }

    def _record(self, value: Any) -> None:
        if value is not None:
            if value.stop_reason:
                self.span.set_attribute(_STOP_REASON, str(value.stop_reason))
            self.answered(value.messages or ())


def begin_run(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunScope:
    """Start the span of `BaseChatAgent.run` or `run_stream`."""
    return RunScope(recorder, args[0], kwargs.get("task"), {names.CONVERSATION_ID: _CONVERSATIONS.of(args[0])})


def begin_team(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunScope:
    """Start the span of `BaseGroupChat.run_stream`, which `run` reads too; AutoGen runs its members below it."""
    conversation = {names.CONVERSATION_ID: getattr(args[0], "_team_id", None)}
    return RunScope(recorder, args[0], kwargs.get("task"), conversation, is_team=True)


def begin_turn(recorder: Recorder, args: tuple[Any, ...], _: dict[str, Any]) -> RunScope | None:
    """Start the span of a member's turn, whose input is the messages since its last one; a team has its own run."""
    member = args[0]._agent
    if not hasattr(member, "on_messages_stream"):
        return None
    return RunScope(recorder, member, [*args[0]._message_buffer], {names.AGENT_ID: str(args[0].id)})


class ModelScope(Scope):
    """An agent's call of its model, whose last event is the model's result."""

    def __init__(self, *_: Any) -> None:
        self._run = get_current().get(_RUN_KEY)

    def produced(self, item: Any, /) -> None:
        """Keep the finish reason for the run."""
        reason = getattr(item, "finish_reason", None)
        if reason is not None and isinstance(self._run, RunScope):
            self._run.reason = str(reason)


# -- tool calls --------------------------------------------------------------------------------------------------------

_AGENTS: Final = "autogen_agentchat."


class ToolScope(SpanScope):
    """A tool call, which may stream pieces before its result. Events of agents among them are in their own spans."""

    def __init__(self, recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._tool, given, *more = *args, *(kwargs[name] for name in ("args",) if name in kwargs)
        name = str(self._tool.name)
        call_id = kwargs.get("call_id") or (more[1] if len(more) > 1 else None)
        attributes = {**tool(name, call_id), "gen_ai.tool.description": self._tool.description}
        arguments = {names.TOOL_CALL_ARGUMENTS: dict(obj(given))}
        super().__init__(recorder, recorder.start(f"execute_tool {name}", attributes, lambda: arguments))
        self._pieces: list[Any] = []
        self._last: Any = None

    def produced(self, item: Any, /) -> None:
        """Keep a piece; the last one is the result."""
        before, self._last = self._last, item
        if before is not None and not type(before).__module__.startswith(_AGENTS):
            note(self._pieces, before)

    def _record(self, value: Any) -> None:
        self.write(lambda: self._result(self._last if value is None else value))

    def _result(self, result: Any) -> Content:
        """Return the result with its structure, or in the text form that the model gets."""
        structure: Any = obj(result) or items(result) if isinstance(result, (dict, list)) else None
        shown = structure or self._tool.return_value_as_string(result)
        return {names.TOOL_CALL_RESULT: shown, **answer_data(stream=self._pieces)}


_BASE: Final = "autogen_agentchat.agents._base_chat_agent"
_ASSISTANTS: Final = "autogen_agentchat.agents._assistant_agent"
_MEMBERS: Final = "autogen_agentchat.teams._group_chat._chat_agent_container"
_TEAMS: Final = "autogen_agentchat.teams._group_chat._base_group_chat"
_OPENINFERENCE: Final = "openinference.instrumentation.autogen_agentchat"
"""Module of another vendor's instrumentor, and the scope of its spans."""
_TOOLS: Final = "autogen_core.tools._base"
_NO_SPAN: Final = nullcontext(INVALID_SPAN)


class AutoGenInstrumentor(Integration):
    """Runs of agents and teams with the turns of their members, and tool calls, streamed or not.

    They have inputs, answers, intermediate messages, finish reasons and the conversation (one for each agent or team).
    The client makes the span of a model call. AutoGen's own spans of runs and tools are left out, since they lack all
    this; its span of an agent's creation stays inside of a trace. See `Integration` for the options of `instrument()`.
    """

    library = "autogen"
    hooked_modules = (_BASE, _ASSISTANTS, _MEMBERS, _TEAMS, _TOOLS)
    rivals = (Rival(vendor="OpenInference", module=_OPENINFERENCE),)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == _BASE:
            yield adopt(_OPENINFERENCE, is_on=self._leaves_it_to_others)
            yield patch(module, "trace_create_agent_span", self._creating)
            yield patch(module, "trace_invoke_agent_span", self._without_span)
            for name in ("run", "run_stream"):
                yield self._surround(module.BaseChatAgent, name, begin_run)
        elif module.__name__ == _MEMBERS:
            yield patch(module, "trace_invoke_agent_span", self._without_span)
            yield self._surround(module.ChatAgentContainer, "handle_request", begin_turn)
            yield patch(definer(module.ChatAgentContainer, "publish_message"), "publish_message", _publishing)
        elif module.__name__ == _ASSISTANTS:
            yield self._surround(module.AssistantAgent, "_call_llm", ModelScope)
        elif module.__name__ == _TEAMS:
            yield self._surround(module.BaseGroupChat, "run_stream", begin_team)
        else:
            yield patch(module, "trace_tool_span", self._without_span)
            yield self._surround(module.BaseTool, "run_json", ToolScope)
            yield self._surround(module.BaseStreamTool, "run_json_stream", ToolScope)

    def _without_span(self, original: OriginalCall) -> Any:
        """Wrap the opening of AutoGen's own span of a run or a tool."""
        return _NO_SPAN if self._open else original()

    def _creating(self, original: OriginalCall) -> Any:
        """Wrap the opening of the span of an agent's creation, which would be a trace without a run outside of one."""
        if self._open and not (get_current_span().is_recording() and self._lets_through(None)):
            return _NO_SPAN
        return original.replacing(tracer=self._recorder.tracer) if self._open else original()


def _publishing(original: OriginalCall) -> Any:
    """Wrap the messages that agents publish; a member's answer is among them."""
    said, run = original.arg(0, "message"), get_current().get(_RUN_KEY)
    if type(said).__name__ == _MEMBERS_ANSWER and isinstance(run, RunScope):
        guarded(lambda: run.answered([*(said.response.inner_messages or ()), said.response.chat_message]))
    return original()
