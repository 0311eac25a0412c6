"""OpenTelemetry spans for the Claude Agent SDK, from the messages between the SDK and the `claude` CLI (`stream-json`).

A run starts with a prompt and ends with its result, or later: when an agent in the background has finished, the CLI
informs the main agent, which answers once more. The CLI sends `idle` when no more answers are due. If a CLI does not
report its state, a run ends with its result.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from time import time_ns
from types import ModuleType
from typing import Any, Final
from weakref import WeakKeyDictionary

from opentelemetry.context import Context, attach, get_current

from pandaprobe_otel.capture.trace_context import TraceValues, with_values
from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._adapter import Adapter
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import (
    Content,
    Object,
    encoded,
    from_json,
    number,
    obj,
    objects,
    string,
    strings,
    to_json,
)
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._other_members import parameters, rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._patching import OriginalCall, Undoable, patch
from pandaprobe_otel_integrations._spans import present
from pandaprobe_otel_integrations.claude_agent_sdk.agent import Agent, Ledger, Tool

__all__ = ["ClaudeAgentSDKAdapter", "ClaudeAgentSDKInstrumentor"]


# -- system prompts, which the CLI does not report ---------------------------------------------------------------------

_SETTINGS: Final = (
    "max_turns",
    "max_budget_usd",
    "task_budget",
    "max_thinking_tokens",
    "thinking",
    "effort",
    "output_format",
    "fallback_model",
    "betas",
    "allowed_tools",
    "disallowed_tools",
    "skills",
)
"""Options that affect the answer; all others determine where and how the program runs."""
_TOLD: Final = frozenset({"prompt"})


Instructions = Mapping[str | None, list[Part]]
"""The instructions that the app has given to its agents: the main one, under None, and sub-agents by their names."""


def instructions_of(query: Any) -> tuple[Instructions, Content]:
    """Return the instructions of a new connection, and the main agent's other settings that affect its answers.

    Its transport has the options, unless the app brought its own transport.
    """
    options: Any = getattr(query.transport, "_options", None)
    agents = {name: obj(definition) for name, definition in obj(getattr(query, "_agents", None)).items()}
    found: dict[str | None, list[Part]] = {name: _parts(agent.get("prompt")) for name, agent in agents.items()}
    found[None] = _parts(getattr(options, "system_prompt", None))
    return found, _settings(options, agents)


def _settings(options: Any, agents: Mapping[str, Object]) -> Content:
    told = {name: getattr(options, name, None) for name in _SETTINGS}
    described = {name: rest(definition, _TOLD) for name, definition in agents.items()}
    return parameters({**told, "agents": described}, frozenset())


def _parts(prompt: Any) -> list[Part]:
    """Return the texts of a system prompt: a text, the program's own prompt with an addition, or a file."""
    told = obj(prompt)
    preset, path = string(told.get("preset")), string(told.get("path"))
    texts = [
        string(prompt),
        f"[the program's own: {preset}]" if preset is not None else None,
        string(told.get("append")),
        string(told.get("prompt")),
        f"[the file {path}]" if path is not None else None,
    ]
    return [parts.text(text) for text in texts if text is not None]


RUN_NAME: Final = "ClaudeAgentSDK"
"""Name of a run. The official SDK uses this name too, so that traces of both libraries can be compared."""
_ENDED: Final = frozenset({"completed", "failed", "killed", "stopped"})
"""Statuses of a task that is over."""
_STOPPED: Final = frozenset({"user-rejected", "permission-rule"})
"""Reasons for which a tool did not run, or did not finish, without being a failure."""


class Conversation:
    """One connection to the CLI. It is called from one event loop, and never waits.

    `values` returns session, user, tags and metadata of new traces.
    """

    def __init__(
        self,
        recorder: Recorder,
        values: Callable[[], TraceValues | None] = lambda: None,
        given: tuple[Instructions, Content] | None = None,
    ) -> None:
        self._recorder = recorder
        self._instructions, self._settings = given or ({}, {})
        self._values = values
        self._connected = get_current()
        self._ledger = Ledger()
        self._main: Agent | None = None
        self._sub_agents: dict[str, Agent] = {}
        self._tasks: dict[str, str] = {}
        """Id of a task to the id of the tool call that started it."""
        self._waiting: list[tuple[Any, Context]] = []
        """Prompts that were sent during a run."""
        self._answered_ns: int | None = None
        """Time of the run's result; None until then."""
        self._requests: dict[str, str] = {}
        """Id of a request for the app's decision to the id of its tool call, or ""."""
        self._tells_state = False
        self._session: str | None = None

    # -- messages that the SDK writes --------------------------------------------------------------------------------

    def wrote(self, message: Object) -> None:
        """Record a message to the CLI, in the context of its sender."""
        if message.get("type") == "user":
            content = obj(message.get("message")).get("content")
            if self._main is not None and self._answered_ns is None:
                self._waiting.append((content, get_current()))
                return
            self._finish()
            self._begin(get_current()).ask(content)

    @property
    def is_replaying(self) -> bool:
        """Return whether the CLI waits for the app's decision."""
        return bool(self._requests)

    def responded(self, message: Object) -> None:
        """Record an answer to the CLI: a hook's output, or whether and with what input a tool may run."""
        response = obj(message.get("response"))
        tool_id = self._requests.pop(str(response.get("request_id")), None)
        if tool_id is None or self._main is None:
            return
        decision = rest(obj(response.get("response")), frozenset())
        tool = self._tool(tool_id)
        if tool is None:
            self._main.note("decisions", decision)
        elif decision != {"behavior": "allow"} and decision.get("updatedInput") != tool.arguments:
            self._main.note_of(tool, decision)

    # -- messages that the SDK reads ---------------------------------------------------------------------------------

    def read(self, message: Object) -> None:
        """Record a message from the CLI."""
        self._session = string(message.get("session_id")) or self._session
        kind = message.get("type")
        if kind == "assistant":
            self._agent_of(message).says(message)
        elif kind == "stream_event":
            self._agent_of(message).streams(obj(message.get("event")))
        elif kind == "user":
            self._read(message)
        elif kind == "system":
            self._read_user(message)
        elif kind == "result":
            self._answered(message)

    def context_of(self, request: Object) -> Context | None:
        """Return the context for code of the app that the CLI calls: hooks, permissions and tools."""
        asked = obj(request.get("request"))
        if asked.get("subtype") in _DECISIONS and len(self._requests) < _MAX_REQUESTS:
            self._requests[str(request.get("request_id"))] = string(asked.get("tool_use_id")) or ""
        meta = obj(obj(obj(asked.get("message")).get("params")).get("_meta"))
        tool_id = asked.get("tool_use_id") or meta.get("claudecode/toolUseId")
        tool = self._tool(str(tool_id))
        if tool is not None:
            return tool.context
        return self._main.context if self._main is not None else None

    def close(self, error: BaseException | None = None) -> None:
        """End the connection and all open spans; with `error`, the CLI has failed."""
        if self._main is not None and self._answered_ns is None and isinstance(error, Exception):
            self._main.fail(type(error).__name__, str(error))
            self._answered_ns = time_ns()
        self._finish()
        for agent in self._sub_agents.values():
            agent.end(cancelled=True)
        self._sub_agents.clear()
        self._ledger.close()

    # -- runs ---------------------------------------------------------------------------------------------------------

    def _begin(self, base: Context) -> Agent:
        values = self._values()
        if values is not None:
            base = with_values(values, base)
        told = self._instructions.get(None, ())
        self._main = Agent(self._recorder, self._ledger, RUN_NAME, base, instructions=told, settings=self._settings)
        self._answered_ns = None
        return self._main

    def _running(self) -> Agent:
        """Return the run of a message of the main agent. The CLI may start a run itself, or continue one."""
        if self._main is not None:
            self._answered_ns = None
            return self._main
        waiting, self._waiting = self._waiting, []
        begun = self._begin(waiting[0][1] if waiting else self._connected)
        for content, _ in waiting:
            begun.ask(content)
        return begun

    def _answered(self, result: Object) -> None:
        if self._main is None and not self._waiting:
            return
        main = self._running()
        self._answered_ns = time_ns()
        told = {
            "num_turns": result.get("num_turns"),
            "session_cost_usd": number(result.get("total_cost_usd")),
            "terminal_reason": string(result.get("terminal_reason")),
        }
        main.about |= present(told)
        main.pause(string(result.get("result")) or _structured(result))
        for name, value in rest(result, _READ).items():
            main.note(name, value)
        if result.get("result") and _structured(result) != result["result"]:
            main.note("structured_output", result.get("structured_output"))
        stopped = str(result.get("terminal_reason") or "")
        if stopped.startswith("aborted"):
            main.span.set_attribute(ours.OUTCOME, ours.CANCELLED)
        elif result.get("is_error"):
            reason = "; ".join(strings(result.get("errors")) or []) or string(result.get("result"))
            kind = string(result.get("api_error_type")) or str(result.get("subtype") or "error")
            main.fail(stopped if kind == "success" and stopped else kind, reason or kind)
        self._ledger.close(result)
        if not self._tells_state or self._waiting:
            self._finish()

    def _finish(self) -> None:
        """End the run; sub-agents in the background continue."""
        main, self._main = self._main, None
        if main is None:
            return
        if self._session:
            main.span.set_attribute(names.CONVERSATION_ID, self._session)
        main.end(self._answered_ns, cancelled=self._answered_ns is None)

    # -- agents and tools ---------------------------------------------------------------------------------------------

    def _agent_of(self, message: Object) -> Agent:
        tool_id = string(message.get("parent_tool_use_id"))
        if tool_id is None:
            return self._running()
        return self._sub_agent(tool_id, string(message.get("subagent_type"))) or self._running()

    def _sub_agent(self, tool_id: str, name: str | None) -> Agent | None:
        found = self._sub_agents.get(tool_id)
        if found is not None:
            return found
        tool = self._tool(tool_id)
        if tool is None:
            return None
        name = name or string(tool.arguments.get("subagent_type")) or "general-purpose"
        told = self._instructions.get(name, ())
        begun = Agent(self._recorder, self._ledger, name, tool.context, parent_tool=tool_id, instructions=told)
        begun.ask(string(tool.arguments.get("prompt")) or "")
        self._sub_agents[tool_id] = begun
        return begun

    def _end_sub_agent(self, tool_id: str, result: str | None, status: str) -> None:
        agent = self._sub_agents.pop(tool_id, None)
        self._tasks = {task: tool for task, tool in self._tasks.items() if tool != tool_id}
        if agent is None:
            return
        if status == "failed":
            agent.fail("agent_failed", result or status)
        agent.pause(result)
        agent.end(cancelled=status in ("killed", "stopped"))

    def _read(self, message: Object) -> None:
        content = obj(message.get("message")).get("content")
        agent = self._agent_of(message) if message.get("parent_tool_use_id") else self._main
        if agent is None:
            return
        result = obj(message.get("tool_use_result"))
        is_agents = any(str(block.get("tool_use_id")) in self._sub_agents for block in objects(content))
        agent.hears(content, dict(_stopped(message)), {} if is_agents else result)
        if result.get("isAsync"):
            return
        for block in objects(content):
            if block.get("type") == "tool_result":
                tool_id = str(block.get("tool_use_id"))
                if tool_id in self._sub_agents:
                    self._sub_agents[tool_id].concludes(result)
                self._end_sub_agent(tool_id, None, "failed" if block.get("is_error") else "")

    def _read_user(self, message: Object) -> None:
        kind, tool_id = message.get("subtype"), string(message.get("tool_use_id"))
        if kind == "init" and self._main is not None and self._answered_ns is None:
            self._initialized(self._main, message)
        elif kind == "compact_boundary" and self._main is not None:
            self._main.note("compacted", obj(message.get("compact_metadata")) or True)
        elif kind == "status" and message.get("status") == "requesting" and self._main is not None:
            self._main.requests()
        elif kind == "session_state_changed":
            self._tells_state = True
            if message.get("state") == "idle" and self._answered_ns is not None:
                self._finish()
        elif kind == "task_started" and tool_id is not None and message.get("task_type") == "local_agent":
            self._tasks[str(message.get("task_id"))] = tool_id
            self._sub_agent(tool_id, string(message.get("subagent_type")))
        elif kind in ("task_notification", "task_updated"):
            status = str(obj(message.get("patch")).get("status") or message.get("status"))
            if status in _ENDED:
                tool_id = self._tasks.get(str(message.get("task_id"))) or tool_id or ""
                if self._tool(tool_id) is None:  # otherwise, its result, which has more data, is still to come
                    self._end_sub_agent(tool_id, string(message.get("summary")), status)

    def _initialized(self, main: Agent, message: Object) -> None:
        main.model = string(message.get("model")) or ""
        tools = [{"type": "function", "name": name} for name in strings(message.get("tools")) or []]
        servers = [string(each.get("name")) for each in objects(message.get("mcp_servers"))]
        told = {
            "mcp_servers": [name for name in servers if name] or None,
            "permission_mode": string(message.get("permissionMode")),
            "claude_code_version": string(message.get("claude_code_version")),
        }
        main.about |= present(told)
        if self._recorder.with_content:
            main.span.set_attributes(encoded({names.TOOL_DEFINITIONS: tools}))

    def _tool(self, tool_id: str) -> Tool | None:
        agents = (*self._sub_agents.values(), self._main)
        return next((agent.tools[tool_id] for agent in agents if agent is not None and tool_id in agent.tools), None)


_DECISIONS: Final = frozenset({"can_use_tool", "hook_callback"})
_MAX_REQUESTS: Final = 1000
_READ: Final = frozenset(
    {
        "type",
        "subtype",
        "session_id",
        "uuid",
        "result",
        "structured_output",
        "num_turns",
        "total_cost_usd",
        "terminal_reason",
        "usage",
        "modelUsage",
        "model_usage_since_last_result",
        "errors",
        "api_error_type",
        "is_error",
        "duration_ms",
        "duration_api_ms",
        "ttft_ms",
        "fast_mode_state",
        "stop_reason",
    }
)
"""Members of a result that are recorded elsewhere, and durations."""


def _stopped(message: Object) -> Iterator[tuple[str, str]]:
    """Yield ids of the tools that a person, a hook or a rule has stopped, with the one who did it."""
    for told in objects(message.get("tool_result_meta")):
        decision, kind = obj(told.get("permission_decision")), told.get("non_execution_kind")
        if decision.get("decision") == "reject" or kind in _STOPPED:
            yield str(told.get("id")), string(decision.get("source")) or str(kind)


def _structured(result: Object) -> str | None:
    found = result.get("structured_output")
    return to_json(found) if found is not None else None


# -- observation of any transport between the SDK and the CLI, without changing the messages ---------------------------


class ObservedMessages:
    """The messages that a transport reads. The conversation gets each before the SDK."""

    def __init__(self, messages: AsyncIterator[Any], conversation: Conversation) -> None:
        self._messages = messages
        self._conversation = conversation

    def __aiter__(self) -> ObservedMessages:
        return self

    async def __anext__(self) -> Any:
        try:
            message = await self._messages.__anext__()
        except BaseException as error:  # the end, a failure, or a loop that cancels its tasks: no more messages come
            guarded(self._conversation.close, None if isinstance(error, StopAsyncIteration) else error)
            raise
        guarded(self._conversation.read, obj(message))
        return message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._messages, name)  # methods such as `aclose`


def tap(transport: Any, conversation: Conversation) -> None:
    """Observe this transport from now on, in both directions."""
    read: Callable[[], AsyncIterator[Any]] = transport.read_messages
    write: Callable[[str], Awaitable[None]] = transport.write

    def read_messages() -> ObservedMessages:
        return ObservedMessages(read().__aiter__(), conversation)

    def observed_write(data: str) -> Awaitable[None]:
        guarded(_wrote, conversation, data)
        return write(data)

    transport.read_messages = read_messages
    transport.write = observed_write


def _wrote(conversation: Conversation, data: str) -> None:
    is_answer = conversation.is_replaying and '"control_response"' in data
    if not is_answer and '"user"' not in data:  # the rest are control messages, some of them long
        return
    message = obj(from_json(data))
    if message.get("type") == "control_response":
        conversation.responded(message)
    else:
        conversation.wrote(message)


class ClaudeAgentSDKInstrumentor(Integration):
    """Runs of Claude agents with their model calls, tools and sub-agents, of `query()` and of `ClaudeSDKClient`.

    A run, from a prompt to its result, is an AGENT span: a root, or below the app's own span. Claude's session id is
    the conversation. Code of the app that the CLI calls (tools, hooks, permissions) runs inside the span of its tool
    call. With `include_partial_messages`, the tokens of each model call are exact. Without it, the CLI reports only
    those of the whole run, and they are divided by text length.

    See `Integration` for the options of `instrument()`.
    """

    library = "claude_agent_sdk"
    hooked_modules = ("claude_agent_sdk._internal.query",)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        conversations: WeakKeyDictionary[Any, Conversation] = WeakKeyDictionary()

        def made(original: OriginalCall) -> None:
            original()
            if self._lets_through(original.owner):
                guarded(listen, original.owner)

        def listen(query: Any) -> None:
            conversation = Conversation(self._recorder, lambda: self.values, guarded(instructions_of, query))
            tap(query.transport, conversation)
            conversations[query] = conversation

        def asked(original: OriginalCall) -> Any:
            conversation = conversations.get(original.owner)
            context: Context | None = None
            if conversation is not None and original.args:
                context = guarded(conversation.context_of, obj(original.args[0]))
            return original() if context is None else _inside(context, original)

        def closing(original: OriginalCall) -> Any:
            return _closing(original, conversations.pop(original.owner, None))

        yield patch(module.Query, "__init__", made)
        yield patch(module.Query, "_handle_control_request", asked)
        yield patch(module.Query, "close", closing)


async def _inside(context: Context, handle: OriginalCall) -> None:
    """The SDK answers each request in a separate task, which gets this context."""
    attach(context)
    await handle()


async def _closing(close: OriginalCall, conversation: Conversation | None) -> None:
    try:
        await close()
    finally:
        if conversation is not None:
            guarded(conversation.close)


class ClaudeAgentSDKAdapter(Adapter):
    """The official SDK's adapter. A run, from a prompt to its result, is a trace. See `Adapter`."""

    instrumentor = ClaudeAgentSDKInstrumentor
