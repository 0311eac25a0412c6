"""Additions to the spans that AutoGen makes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final
from weakref import WeakKeyDictionary

from opentelemetry.context import Context, attach, get_current, get_value, set_value
from opentelemetry.trace import INVALID_SPAN, Span, get_current_span, get_tracer, set_span_in_context

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import Content, encoded, items, obj, to_json
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._other_members import RESPONSE, told, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._patching import OriginalCall, Undoable, definer, patch
from pandaprobe_otel_integrations._rivals import Rival
from pandaprobe_otel_integrations._runs import ConversationIds
from pandaprobe_otel_integrations._spans import adopt, record_raised
from pandaprobe_otel_integrations._spans import agent as agent_attributes

__all__ = ["AutoGenInstrumentor"]


# -- finish reasons of agents' answers, from the agent's last model call, since AutoGen's messages have none -----------

_TEAM_KEY: Final = "pandaprobe-autogen-team"
_CUT: Final = frozenset({"length", "content_filter", "unknown"})
"""Finish reasons of a model that are also its agent's. After any other reason, the agent goes on until it is done."""
_DONE: Final = "stop"


class TeamEnding:
    """A team's finish reason: that of the last answer by one of its members."""

    def __init__(self) -> None:
        self.reason = _DONE


class Endings:
    """The finish reasons, by the span of the agent whose model gave them."""

    def __init__(self) -> None:
        self._reasons: WeakKeyDictionary[Span, str] = WeakKeyDictionary()

    def calling(self, original: OriginalCall) -> AsyncGenerator[Any, None]:
        """Wrap the function with which an agent calls its model; its last event is the model's result."""
        return self._watched(original())

    async def _watched(self, events: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        try:
            async for event in events:
                reason = getattr(event, "finish_reason", None)
                if reason is not None:
                    self._reasons[get_current_span()] = str(reason)
                yield event
        finally:
            await events.aclose()

    def of(self, span: Span) -> str:
        """Return the finish reason of the agent with this span."""
        reason = self._reasons.pop(span, _DONE)
        return reason if reason in _CUT else _DONE

    def of_member(self, span: Span) -> str:
        """Return the finish reason of the team member with this span, and keep it for the team."""
        reason = self.of(span)
        team = get_value(_TEAM_KEY)
        if isinstance(team, TeamEnding):
            team.reason = reason
        return reason


def of_team(ending: TeamEnding, context: Context) -> Context:
    """Return a context in which a team's members keep their finish reasons for the team."""
    return set_value(_TEAM_KEY, ending, context)


# -- AutoGen's functions that open its spans. Each is a context manager that AutoGen's code enters ---------------------

_SCOPE: Final = "autogen-core"
"""Name of AutoGen's own tracer."""
_NO_SPAN: Final = nullcontext(INVALID_SPAN)

SpanBlock = AbstractContextManager[Span]


class OpenEnded:
    """A tracer whose spans do not end with their block: other code ends them."""

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> SpanBlock:
        """Start a span as OpenTelemetry's tracer does."""
        block: SpanBlock = self._tracer.start_as_current_span(*args, **{**kwargs, "end_on_exit": False})
        return block


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeSpans:
    """The patches of AutoGen's own spans.

    `provider` is None for OpenTelemetry's global provider. `is_open` returns whether to change anything; `is_ours` also
    returns False if another vendor records the same.
    """

    provider: Any
    with_content: bool
    is_open: Callable[[], bool]
    is_ours: Callable[[], bool]

    @property
    def tracer(self) -> Any:
        """The tracer for AutoGen's spans."""
        return get_tracer(_SCOPE, tracer_provider=self.provider)

    def making(self, original: OriginalCall) -> Any:
        """Drop the span of an agent's creation if it would be a separate trace, billed although it contains no run."""
        if self.is_open() and not get_current_span().is_recording():
            return _NO_SPAN
        return self.agent(original)

    def agent(self, original: OriginalCall) -> Any:
        """Return the span of an agent, unless another vendor has a span of the same work."""
        if not self.is_open():
            return original()
        if not self.is_ours():
            return _NO_SPAN
        return self.watched(original.function(*original.args, **{"tracer": self.tracer, **original.kwargs}))

    @contextmanager
    def watched(self, block: SpanBlock) -> Generator[Span]:
        """Yield the block, and record on its span what AutoGen does not record itself: cancellation.

        AutoGen records exceptions with their texts. Without content, they pass by its block, with their types only.
        """
        passed: Exception | None = None
        with block as span:
            try:
                yield span
            except Exception as error:
                if self.with_content:
                    raise
                guarded(record_raised, span, error, with_content=False)
                passed = error
            except BaseException as error:
                guarded(record_raised, span, error, with_content=self.with_content)
                raise
        try:
            if passed is not None:
                raise passed
        finally:
            passed = None  # its traceback has this frame: together they would wait for the garbage collector


# -- streams that keep a span current while they work, but not between their events ------------------------------------


async def steps(
    events: AsyncGenerator[Any, None], inside: Context | None = None, begin: Callable[[], object] | None = None
) -> AsyncGenerator[Any, None]:
    """Yield each event, made in the stream's own context and delivered in the reader's.

    Otherwise, a span that the stream has opened would be current in the reader between two events, and stay current if
    the reader stops. `inside` is the context at the start, by default the reader's. `begin` is called once, right
    before the first event is requested.
    """
    try:
        if begin is not None:
            begin()
        while True:
            outside = get_current()
            attach(outside if inside is None else inside)
            try:
                event = await anext(events)
            except StopAsyncIteration:
                return
            finally:
                inside = get_current()
                attach(outside)
            yield event
    finally:
        outside = get_current()
        try:
            await events.aclose()
        finally:
            attach(outside)


# -- messages of AutoGen in the form of the conventions ----------------------------------------------------------------

_READ: Final = frozenset({"id", "source", "models_usage", "metadata", "created_at", "type", "content"})
"""Members that are recorded under other names, and times and ids; a message's other members stay beside it."""
_SEEN: Final = frozenset({"ToolCallRequestEvent", "ToolCallExecutionEvent", "ModelClientStreamingChunkEvent"})
"""Events about model calls and tools, which have their own spans."""


def asked(task: Any) -> list[Part]:
    """Return the input of an agent or a team: a text, a message or several."""
    return [message("user", each) for each in (items(task) or [task]) if each is not None]


def answered(messages: Iterable[Any], reason: str = "stop") -> list[Part]:
    """Return the answer, which is the last message."""
    said = [*messages]
    return [{**message("assistant", said[-1]), "finish_reason": reason}] if said else []


def on_the_way(messages: Iterable[Any], task: Any = None) -> list[Part]:
    """Return the messages between task and answer that have no span: thoughts, code and its results, ..."""
    given = {getattr(each, "id", None) for each in items(task) or [task]}
    said = [*messages][:-1]
    if isinstance(task, str) and said and getattr(said[0], "content", None) == task:
        del said[0]
    return [
        {"event": type(each).__name__, **message("assistant", each)}
        for each in said
        if type(each).__name__ not in _SEEN and getattr(each, "id", each) not in given
    ]


def message(role: str, said: Any) -> Part:
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
        return [_text_or_picture(each) for each in items(content)]
    if isinstance(content, list):
        return [parts.text(to_json(told(list(map(_plain, items(content))))))]
    return [parts.text(content if isinstance(content, str) else str(said.to_text()))]


def _text_or_picture(each: Any) -> Part:
    return parts.text(each) if isinstance(each, str) else parts.media(each.data_uri, "image")


def _plain(value: Any) -> Any:
    return dict(obj(value)) or value


# -- tool calls: AutoGen's span of a call ends before the answer is known, so this module ends it ----------------------

_AGENTS: Final = "autogen_agentchat."
_MAX_PIECES: Final = 100


class ToolCall:
    """One call, from before its span is opened until after its answer."""

    def __init__(self, tool: Any, arguments: Any) -> None:
        self._tool = tool
        self._arguments = arguments
        self._pieces: list[Any] = []
        self.span: Span = INVALID_SPAN

    def opened(self, span: Span, *, with_content: bool) -> None:
        """Keep the span that AutoGen has opened."""
        self.span = span
        if with_content:
            span.set_attributes(encoded({names.TOOL_CALL_ARGUMENTS: dict(obj(self._arguments))}))

    def told(self, piece: Any) -> None:
        """Record an intermediate event of the tool. Events of agents that are used as tools are in their own spans."""
        if type(piece).__module__.startswith(_AGENTS):
            return
        if len(self._pieces) < _MAX_PIECES:
            self._pieces.append(piece)
        else:
            self._pieces[-1] = "[and more, not recorded]"

    def answered(self, result: Any) -> None:
        """Record the tool's result. A value that is not JSON is recorded in the text form that the model gets."""
        structure: Any = obj(result) or items(result) if isinstance(result, (dict, list)) else None
        told: Any = structure or self._tool.return_value_as_string(result)
        before = {RESPONSE: {"response": {"stream": self._pieces[:-1]}}} if len(self._pieces) > 1 else {}
        self.span.set_attributes(encoded({names.TOOL_CALL_RESULT: told, **before}))


_CALL: Final[ContextVar[ToolCall | None]] = ContextVar("pandaprobe_autogen_tool_call", default=None)
"""The call whose span is opened next."""


class ToolCalls:
    """The patches of tools."""

    def __init__(self, native: NativeSpans) -> None:
        self._native = native

    def span(self, original: OriginalCall) -> Any:
        """Wrap the opening of a tool's span."""
        call = _CALL.get()
        if call is None or not self._native.is_ours():
            return self._native.agent(original)
        _CALL.set(None)  # not for the span of a tool that this tool calls
        return self._recorded(call, original.replacing(tracer=OpenEnded(self._native.tracer)))

    def run(self, original: OriginalCall) -> Any:
        """Wrap a call that is awaited."""
        if not self._native.is_ours():
            return original()
        return self._run(original, ToolCall(original.owner, original.arg(0, "args")))

    def run_stream(self, original: OriginalCall) -> AsyncGenerator[Any, None]:
        """Wrap a call that streams its events; the last one is its answer."""
        events: AsyncGenerator[Any, None] = original()
        if not self._native.is_ours():
            return events
        return self._stream(events, ToolCall(original.owner, original.arg(0, "args")))

    @contextmanager
    def _recorded(self, call: ToolCall, block: SpanBlock) -> Generator[Span]:
        with self._native.watched(block) as span:
            guarded(call.opened, span, with_content=self._native.with_content)
            yield span

    async def _run(self, original: OriginalCall, call: ToolCall) -> Any:
        before = _CALL.get()
        _CALL.set(call)
        try:
            result = await original()
            self._answered(call, result)
            return result
        finally:
            _CALL.set(before)
            guarded(call.span.end)

    async def _stream(self, events: AsyncGenerator[Any, None], call: ToolCall) -> AsyncGenerator[Any, None]:
        last: Any = None
        inner = steps(events)
        _CALL.set(call)  # for the tool's span, which is opened before the first event
        try:
            async for event in inner:
                last = event
                call.told(event)
                yield event
            self._answered(call, last)
        finally:
            try:
                await inner.aclose()
            finally:
                guarded(call.span.end)

    def _answered(self, call: ToolCall, result: Any) -> None:
        if self._native.with_content and call.span.is_recording():
            guarded(call.answered, result)


# -- runs of agents: their inputs and answers, and the conversation, since an agent keeps its messages -----------------

_MEMBERS_ANSWER: Final = "GroupChatAgentResponse"
"""The class of a team member's final message, published inside its span."""


class AgentRun:
    """One run, from before its span is opened until after its answer. `agent` is None for a member of a team."""

    def __init__(self, agent: Any, given: Any) -> None:
        self.agent = agent
        self.given = given
        self.span: Span = INVALID_SPAN

    def answered(self, result: Any, reason: str) -> None:
        """Record the result of the run."""
        self.span.set_attributes(encoded(_answer_and_messages(result.messages, reason, self.given)))


def _answer_and_messages(messages: Sequence[Any], reason: str, task: Any = None) -> Content:
    """Return the answer, and the messages before it."""
    between = on_the_way(messages, task)
    more = {RESPONSE: {"response": {"messages": between}}} if between else {}
    return {names.OUTPUT_MESSAGES: answered(messages, reason), **more}


_RUN: Final[ContextVar[AgentRun | None]] = ContextVar("pandaprobe_autogen_run", default=None)
"""The run whose span is opened next."""


class AgentRuns:
    """The patches of runs."""

    def __init__(self, native: NativeSpans, endings: Endings) -> None:
        self._native = native
        self._endings = endings
        self._conversations = ConversationIds()

    def span(self, original: OriginalCall) -> Any:
        """Wrap the opening of a run's span."""
        run = _RUN.get()
        _RUN.set(None)
        if run is None or not self._native.is_ours():
            return self._native.agent(original)
        # AutoGen leaves the span's block before the awaited result is known.
        tracer = self._native.tracer if run.agent is None else OpenEnded(self._native.tracer)
        return self._recorded(run, self._native.watched(original.replacing(tracer=tracer)))

    def run(self, original: OriginalCall) -> Any:
        """Wrap a run that is awaited."""
        if not self._native.is_open():
            return original()
        return self._run(original, AgentRun(original.owner, original.kwargs.get("task")))

    def run_stream(self, original: OriginalCall) -> AsyncGenerator[Any, None]:
        """Wrap a run that streams its events."""
        events: AsyncGenerator[Any, None] = original()
        return (
            self._stream(events, AgentRun(original.owner, original.kwargs.get("task")))
            if self._native.is_open()
            else events
        )

    def member(self, original: OriginalCall) -> Any:
        """Wrap the turn of a team's member. Its input is the messages since its last turn."""
        if not self._native.is_open():
            return original()
        given = [*getattr(original.owner, "_message_buffer", ())]
        return self._turn(original, AgentRun(None, given))

    def publishing(self, original: OriginalCall) -> Any:
        """Wrap the messages that agents publish; a member's answer is among them."""
        said: Any = original.arg(0, "message")
        if type(said).__name__ == _MEMBERS_ANSWER and self._native.with_content and self._native.is_ours():
            guarded(self._member_answered, said.response)
        return original()

    def _member_answered(self, response: Any) -> None:
        span = get_current_span()
        reason = self._endings.of_member(span)
        messages = [*(response.inner_messages or ()), response.chat_message]
        span.set_attributes(encoded(_answer_and_messages(messages, reason)))

    async def _turn(self, original: OriginalCall, run: AgentRun) -> Any:
        _RUN.set(run)
        try:
            return await original()
        finally:
            _RUN.set(None)

    async def _run(self, original: OriginalCall, run: AgentRun) -> Any:
        _RUN.set(run)  # for the run's span, which is opened first
        try:
            result = await original()
            self._answered(run, result)
            return result
        finally:
            guarded(run.span.end)

    async def _stream(self, events: AsyncGenerator[Any, None], run: AgentRun) -> AsyncGenerator[Any, None]:
        inner = steps(events, begin=lambda: _RUN.set(run))
        try:
            async for event in inner:
                if type(event).__name__ == "TaskResult":
                    self._answered(run, event)
                yield event
        finally:
            try:
                await inner.aclose()
            finally:
                guarded(run.span.end)

    def _answered(self, run: AgentRun, result: Any) -> None:
        if self._native.with_content and run.span.is_recording():
            guarded(run.answered, result, self._endings.of(run.span))

    @contextmanager
    def _recorded(self, run: AgentRun, block: SpanBlock) -> Generator[Span]:
        with block as span:
            run.span = span
            guarded(self._record, run, span)
            yield span

    def _record(self, run: AgentRun, span: Any) -> None:
        if not span.is_recording():
            return
        if self._native.with_content:
            span.set_attributes(encoded({names.INPUT_MESSAGES: asked(run.given)}))
        if run.agent is not None and names.CONVERSATION_ID not in span.attributes:
            span.set_attribute(names.CONVERSATION_ID, self._conversations.of(run.agent))


# -- runs of teams. AutoGen makes no span for them, so each agent's turn would be a separate trace ---------------------

_STOP_REASON: Final = "autogen.stop_reason"


class TeamRuns:
    """A span for each run; the team starts the runtime of its agents below it."""

    def __init__(self, recorder: Recorder, is_ours: Callable[[], bool]) -> None:
        self._recorder = recorder
        self._is_ours = is_ours

    def run_stream(self, original: OriginalCall) -> AsyncGenerator[Any, None]:
        """Wrap a run as a stream, which AutoGen's `run` reads too."""
        events: AsyncGenerator[Any, None] = original()
        return self._observed(events, original.owner, original.kwargs.get("task")) if self._is_ours() else events

    async def _observed(self, events: AsyncGenerator[Any, None], team: Any, task: Any) -> AsyncGenerator[Any, None]:
        span = guarded(self._begin, team, task)
        if span is None:
            async for event in events:
                yield event
            return
        ending = TeamEnding()
        inner = steps(events, of_team(ending, set_span_in_context(span)))
        try:
            async for event in inner:
                guarded(self._record, span, event, ending)
                yield event
        except BaseException as error:
            guarded(record_raised, span, error, with_content=self._recorder.with_content)
            raise
        finally:
            try:
                await inner.aclose()
            finally:
                guarded(span.end)

    def _begin(self, team: Any, task: Any) -> Span:
        name = str(getattr(team, "name", None) or type(team).__name__)
        attributes = {**agent_attributes(name), names.CONVERSATION_ID: getattr(team, "_team_id", None)}
        return self._recorder.start(f"invoke_agent {name}", attributes, lambda: {names.INPUT_MESSAGES: asked(task)})

    def _record(self, span: Span, event: Any, ending: TeamEnding) -> None:
        if type(event).__name__ != "TaskResult":
            return
        if event.stop_reason:
            span.set_attribute(_STOP_REASON, str(event.stop_reason))
        self._recorder.write(span, lambda: {names.OUTPUT_MESSAGES: answered(event.messages or (), ending.reason)})


_AUTOGEN_AGENTS: Final = "autogen_agentchat.agents._base_chat_agent"
_ASSISTANTS: Final = "autogen_agentchat.agents._assistant_agent"
_MEMBERS: Final = "autogen_agentchat.teams._group_chat._chat_agent_container"
_TEAMS: Final = "autogen_agentchat.teams._group_chat._base_group_chat"
_OPENINFERENCE: Final = "openinference.instrumentation.autogen_agentchat"
"""Module of another vendor's instrumentor, and the scope of its spans."""
_TOOLS: Final = "autogen_core.tools._base"


class AutoGenInstrumentor(Integration):
    """Runs of agents and tools (in AutoGen's own spans), and runs of teams (in ours).

    This adds inputs and answers of agents and tools, intermediate messages, finish reasons, cancellation, and the
    conversation (one for each agent or team). The creation of an agent outside of a trace gets no span. Spans that the
    app makes between two events of a stream are not below the agent. The client makes the span of a model call.

    See `Integration` for the options of `instrument()`.
    """

    library = "autogen"
    makes_own_spans = True
    hooked_modules = (_AUTOGEN_AGENTS, _ASSISTANTS, _MEMBERS, _TEAMS, _TOOLS)
    rivals = (Rival(vendor="OpenInference", module=_OPENINFERENCE),)

    _endings = Endings()

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        native = NativeSpans(
            provider=self._tracer_provider,
            with_content=self._recorder.with_content,
            is_open=lambda: self._open,
            is_ours=lambda: self._lets_through(None),
        )
        if module.__name__ == _AUTOGEN_AGENTS:
            yield adopt(_OPENINFERENCE, is_on=lambda: self._open and not native.is_ours())
            yield patch(module, "trace_create_agent_span", native.making)
            runs = AgentRuns(native, self._endings)
            yield patch(module, "trace_invoke_agent_span", runs.span)
            yield patch(module.BaseChatAgent, "run", runs.run)
            yield patch(module.BaseChatAgent, "run_stream", runs.run_stream)
        elif module.__name__ == _MEMBERS:
            runs = AgentRuns(native, self._endings)
            yield patch(module, "trace_invoke_agent_span", runs.span)
            yield patch(module.ChatAgentContainer, "handle_request", runs.member)
            yield patch(definer(module.ChatAgentContainer, "publish_message"), "publish_message", runs.publishing)
        elif module.__name__ == _ASSISTANTS:
            yield patch(module.AssistantAgent, "_call_llm", self._endings.calling)
        elif module.__name__ == _TEAMS:
            yield patch(module.BaseGroupChat, "run_stream", TeamRuns(self._recorder, native.is_ours).run_stream)
        else:
            calls = ToolCalls(native)
            yield patch(module, "trace_tool_span", calls.span)
            yield patch(module.BaseTool, "run_json", calls.run)
            yield patch(module.BaseStreamTool, "run_json_stream", calls.run_stream)
