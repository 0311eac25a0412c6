"""The spans of one agent, the main one or a sub-agent, with its model calls and tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import time_ns
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import Span, set_span_in_context

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._json import Content, Object, encoded, integer, items, obj, objects, string, to_json
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._other_members import RESPONSE, rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._spans import agent as agent_attributes
from pandaprobe_otel_integrations._spans import fail, tool
from pandaprobe_otel_integrations.anthropic.messages import block_parts, input_messages
from pandaprobe_otel_integrations.claude_agent_sdk.model_call import History, Ledger, ModelCall

_OF_AGENTS: Final = frozenset(
    {"agentId", "usage", "totalTokens", "totalDurationMs", "totalToolUseCount", "resolvedModel", "harnessNoteCount"}
)
"""Members of a sub-agent's result that are already on its span."""
_SYNTHETIC: Final = "<synthetic>"
"""The model name in messages that the CLI writes itself, such as errors."""


MAX_NOTES: Final = 100
"""Largest number of notes of one kind on one span."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """An open tool call. Its code runs in `context`."""

    name: str
    arguments: Object
    span: Span
    context: Context
    notes: list[Any] = field(default_factory=list[Any])
    """Decisions of hooks and of the app about the call."""


class Agent:
    """One AGENT span. Its model calls wait in the ledger for their tokens in the result."""

    def __init__(
        self,
        recorder: Recorder,
        ledger: Ledger,
        name: str,
        base: Context,
        *,
        parent_tool: str | None = None,
        instructions: Sequence[Part] = (),
        settings: Content | None = None,
    ) -> None:
        self.name = name
        self.parent_tool = parent_tool
        self.tools: dict[str, Tool] = {}
        self.model = ""
        self.about: dict[str, Any] = {}
        """Facts about the run, for the metadata of its span."""
        self._beside: dict[str, list[Any]] = {}
        self._recorder = recorder
        self._ledger = ledger
        self._history = History()
        self._asked: list[Part] = []
        self._answer: Part | None = None
        self._call: ModelCall | None = None
        self._instructions: Mapping[str, str] = {}
        if recorder.with_content and instructions:
            self._instructions = encoded({names.SYSTEM_INSTRUCTIONS: list(instructions)})
        told = {**self._instructions, **(settings or {})}
        self.span: Span = recorder.start(name, agent_attributes(name), lambda: told, context=base)
        self.context: Context = set_span_in_context(self.span, base)
        self._ready_ns = time_ns()

    def ask(self, content: Any) -> None:
        """Record the input of the agent: a text, or blocks of Anthropic's protocol."""
        if not self._recorder.with_content:
            return
        for message in input_messages([{"role": "user", "content": content}]):
            self._history.add(message)
            self._asked.append(message)
        self.span.set_attributes(encoded({names.INPUT_MESSAGES: self._asked}))

    def note(self, name: str, value: Any) -> None:
        """Add a fact about the run to the data that accompanies its answer."""
        noted = self._beside.setdefault(name, [])
        if self._recorder.with_content and value and len(noted) <= MAX_NOTES:
            noted.append(value if len(noted) < MAX_NOTES else "[and more, not recorded]")

    def note_of(self, tool: Tool, value: Any) -> None:
        """Add a fact about a tool call to the data that accompanies its result."""
        if self._recorder.with_content and value and len(tool.notes) < MAX_NOTES:
            tool.notes.append(value)
            tool.span.set_attributes(encoded({RESPONSE: {"response": {"decisions": tool.notes}}}))

    # -- model calls --------------------------------------------------------------------------------------------------

    def requests(self) -> None:
        """Start a model call that is sent now; reported only with partial messages."""
        self._ready_ns = time_ns()

    def says(self, told: Object) -> None:
        """Record an `assistant` message: further blocks of the current call, or the first of the next one."""
        message = obj(told.get("message"))
        call = self._call_of(message)
        blocks = objects(message.get("content"))
        call.add(blocks)
        error = string(told.get("error"))
        if error is not None or (message.get("model") == _SYNTHETIC and told.get("is_api_error_message")):
            text = " ".join(str(block["text"]) for block in blocks if block.get("type") == "text")
            call.failed(string(told.get("api_error_type")) or error or "error", text)
        for block in blocks:
            if block.get("type") == "tool_use":
                self._begin_tool(block)

    def streams(self, event: Object) -> None:
        """Record a `stream_event`: the API's own event, reported only with partial messages."""
        kind = event.get("type")
        if kind == "message_start":
            self._call_of(obj(event.get("message")))
        elif self._call is None:
            return
        elif kind == "content_block_start":
            self._call.answers()
        elif kind == "message_delta":
            self._call.stopped(string(obj(event.get("delta")).get("stop_reason")), obj(event.get("usage")))

    def concludes(self, result: Object) -> None:
        """Record the end and tokens of a sub-agent's last call, and its answer if no message has reported the call."""
        usage = obj(result.get("usage"))
        if not usage:
            return
        call = self._call
        if call is None:
            call = self._call_of({"model": string(result.get("resolvedModel")) or self.model, "usage": usage})
            # Before the answer, there may be notes that the CLI adds for the agent above.
            call.add(items(result.get("content"))[integer(result.get("harnessNoteCount")) or 0 :])
        call.stopped("end_turn", usage)

    def _call_of(self, message: Object) -> ModelCall:
        call = self._call
        if call is not None and call.message_id == string(message.get("id")):
            return call
        self._finish_call()
        if message.get("model") == _SYNTHETIC:
            message = {**message, "model": self.model}
        self.model = string(message.get("model")) or self.model
        self._call = ModelCall(
            self._recorder,
            message,
            self.context,
            started_ns=self._ready_ns,
            before=self._history.snapshot(),
            agent=self.name,
            of_sub_agent=self.parent_tool is not None,
            instructions=self._instructions,
        )
        return self._call

    def _finish_call(self) -> None:
        call, self._call = self._call, None
        if call is None:
            return
        self._ready_ns = call.ended_ns
        answer = call.answer()
        if answer is not None:
            self._history.add(answer)
            self._answer = answer
        self._ledger.add(call)

    # -- tools --------------------------------------------------------------------------------------------------------

    def _begin_tool(self, block: Object) -> None:
        tool_id, name = string(block.get("id")), string(block.get("name")) or "tool"
        if tool_id is None or tool_id in self.tools:
            return
        arguments = obj(block.get("input"))
        span = self._recorder.start(
            f"execute_tool {name}",
            {**tool(name, tool_id), names.AGENT_NAME: self.name},
            lambda: {names.TOOL_CALL_ARGUMENTS: arguments},
            context=self.context,
        )
        context = set_span_in_context(span, self.context)
        self.tools[tool_id] = Tool(name=name, arguments=arguments, span=span, context=context)

    def hears(self, content: Any, stopped: Mapping[str, str], beside: Object) -> None:
        """Record a `user` message that the CLI wrote: results of tools.

        `stopped` maps the ids of stopped calls to the one who stopped them. `beside` is the CLI's own form of a result;
        the model sees only the text.
        """
        results = [block for block in objects(content) if block.get("type") == "tool_result"]
        if not results:
            return
        self._finish_call()
        for block in results:
            tool_id = str(block.get("tool_use_id"))
            tool = self.tools.pop(tool_id, None)
            if tool is not None:
                self._end_tool(tool, block, stopped.get(tool_id), beside)
        self._ready_ns = time_ns()
        if self._recorder.with_content:
            self._history.add({"role": "tool", "parts": block_parts(results)})

    def _end_tool(self, tool: Tool, block: Object, stopped_by: str | None, beside: Object) -> None:
        (part,) = block_parts([block])
        response, span = part.get("response"), tool.span
        about: dict[str, Any] = {} if stopped_by is None else {"stopped_by": stopped_by}
        if self._recorder.with_content:
            span.set_attributes(encoded({names.TOOL_CALL_RESULT: response}))
            more = {**({"decisions": tool.notes} if tool.notes else {}), **_unsaid(beside, response)}
            about |= {"response": more} if more else {}
        if about:
            span.set_attribute(ours.SPAN_METADATA, to_json(about))
        if stopped_by is None and block.get("is_error"):
            text = response if isinstance(response, str) else to_json(response)
            fail(span, "tool_error", text if self._recorder.with_content else "tool_error")
        span.end()

    # -- the end ------------------------------------------------------------------------------------------------------

    def pause(self, result: str | None = None) -> None:
        """End the turn of the agent. Its answer is `result` or, if there is none, the model's last message."""
        self._finish_call()
        if result and self._recorder.with_content:
            self._answer = {"role": "assistant", "parts": block_parts(result)}
        if self._answer is not None:
            answer = {**self._answer, "finish_reason": "stop"}
            self.span.set_attributes(encoded({names.OUTPUT_MESSAGES: [answer]}))

    def fail(self, kind: str, text: str) -> None:
        """Record the failure of the agent and its open calls."""
        fail(self.span, kind, text if self._recorder.with_content else kind)

    def end(self, end_ns: int | None = None, *, cancelled: bool = False) -> None:
        """End the agent and its open spans. The open spans count as cancelled, because no message reports their end."""
        self.pause()
        beside = {name: noted[0] if len(noted) == 1 else noted for name, noted in self._beside.items() if noted}
        if beside:
            self.about["response"] = beside
        if self.about:
            self.span.set_attribute(ours.SPAN_METADATA, to_json(self.about))
        for each in self.tools.values():
            each.span.set_attribute(ours.OUTCOME, ours.CANCELLED)
            each.span.end(end_ns)
        self.tools.clear()
        if cancelled:
            self.span.set_attribute(ours.OUTCOME, ours.CANCELLED)
        self.span.end(end_ns)


def _unsaid(beside: Object, response: Any) -> dict[str, Any]:
    """Return the CLI's data about a result that its text does not contain."""
    said = response if isinstance(response, str) else to_json(response)
    return {name: value for name, value in rest(beside, _OF_AGENTS).items() if not _is_given(value, said)}


def _is_given(value: Any, said: str) -> bool:
    if isinstance(value, str):
        return value in said or to_json(value)[1:-1] in said
    if isinstance(value, Mapping):
        return all(_is_given(each, said) for each in obj(value).values())
    if isinstance(value, (list, tuple)):
        return all(_is_given(each, said) for each in items(value))
    return to_json(value) in said
