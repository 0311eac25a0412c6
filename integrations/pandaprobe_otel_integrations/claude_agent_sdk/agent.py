"""The spans of one agent, the main one or a sub-agent, with its model calls and tools."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import time_ns
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, set_span_in_context

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._json import (
    Content,
    Object,
    encoded,
    integer,
    items,
    number,
    obj,
    objects,
    string,
    to_json,
    with_short_texts,
)
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._other_members import answer_data, rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._runs import note
from pandaprobe_otel_integrations._spans import agent as agent_attributes
from pandaprobe_otel_integrations._spans import fail, tool
from pandaprobe_otel_integrations.anthropic.messages import Messages, block_parts, input_messages

# -- the conversation of an agent and its model so far, which is the input of the next model call ----------------------

MAX_CHARS: Final = 1 << 16
"""Largest history in characters of JSON text: every model call of a run repeats the earlier messages."""
MAX_TEXT_CHARS: Final = 1 << 13
"""Largest text in a message that is too long itself."""
_LONG_MESSAGE_CHARS: Final = MAX_CHARS >> 2


class History:
    """Messages in the conventions' form.

    Over `MAX_CHARS`, the oldest are dropped, except for the first. A marker gives their number.
    """

    __slots__ = ("_chars", "_gone", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._gone = 0
        self._chars = 0

    def add(self, message: Part) -> None:
        """Append one message."""
        piece = to_json(message)
        if len(piece) > _LONG_MESSAGE_CHARS:
            piece = to_json(with_short_texts(message, MAX_TEXT_CHARS))
        self._pieces.append(piece)
        self._chars += len(piece)
        while self._chars > MAX_CHARS and len(self._pieces) > 2:
            self._chars -= len(self._pieces.pop(1))
            self._gone += 1

    def snapshot(self) -> tuple[str, ...]:
        """Return the messages so far, each as JSON text. Snapshots share their texts."""
        if not self._gone:
            return tuple(self._pieces)
        mark = {"role": "system", "parts": [parts.text(f"[{self._gone} messages left out here]")]}
        return (self._pieces[0], to_json(mark), *self._pieces[1:])


_MESSAGES = Messages()


class ModelCall:
    """The LLM span of one message id.

    The pieces contain the usage at the start of the answer: its input count is right, its output count is not. `settle`
    sets the real output count.
    """

    def __init__(
        self,
        recorder: Recorder,
        message: Object,
        context: Context,
        *,
        started_ns: int,
        before: tuple[str, ...],
        of_sub_agent: bool,
        attributes: Mapping[str, str],
    ) -> None:
        self.message_id = string(message.get("id"))
        self.model = string(message.get("model")) or ""
        self.of_sub_agent = of_sub_agent
        self.chars = 0
        self.ended_ns = time_ns()
        self.is_settled = False
        self._recorder = recorder
        self._before = before
        self._blocks: list[Any] = []
        self.usage: dict[str, Any] = dict(obj(message.get("usage")))
        """Tokens by Anthropic's names, with the output only once it is settled."""
        self._stop_reason: str | None = None
        self._about: dict[str, Any] = {}
        attributes = {
            ours.OPERATION_NAME: "chat",
            names.PROVIDER: "anthropic",
            names.REQUEST_MODEL: self.model,
            **attributes,
        }
        self.span: Span = recorder.tracer.start_span(
            f"chat {self.model}", context, kind=SpanKind.CLIENT, attributes=attributes, start_time=started_ns
        )

    def add(self, content: Any) -> None:
        """Add further blocks of the answer."""
        blocks = items(content)
        self.ended_ns = time_ns()
        self.chars += len(to_json(blocks))
        if self._recorder.with_content:
            self._blocks.extend(blocks)
        elif any(obj(block).get("type") == "tool_use" for block in blocks):
            self._stop_reason = "tool_use"

    def answers(self) -> None:
        """Record the first piece of the answer; reported only with partial messages."""
        self.span.set_attribute(ours.COMPLETION_START_TIME, time_ns())
        self.span.set_attribute(names.STREAM, True)

    def stopped(self, reason: str | None, usage: Object) -> None:
        """Record the end of the stream, which is reported only with partial messages."""
        self.ended_ns = time_ns()
        self._stop_reason = reason
        self.usage |= {key: value for key, value in usage.items() if value is not None}
        self.settle(integer(usage.get("output_tokens")))

    def failed(self, kind: str, text: str) -> None:
        """Record that the service refused the call, and the CLI gave up."""
        self.is_settled = True
        self.usage = {}
        fail(self.span, kind, text if self._recorder.with_content else kind)

    def settle(self, output_tokens: int | None, cost: float | None = None, *, shared: bool = False) -> None:
        """Set the tokens of the answer: exact ones, this call's part of a sum (`shared`), or None if unknown."""
        self.is_settled = True
        self.usage.pop("output_tokens", None)
        if output_tokens is not None:
            self.usage["output_tokens"] = output_tokens
        if cost is not None:
            self.span.set_attribute(ours.COST, to_json({"total": cost}))
        if shared:
            self._about["output_tokens"] = "shared out by length"

    def answer(self) -> Part | None:
        """Return the answer's message, for the agent's output and for the next call."""
        found = block_parts(self._blocks)
        return {"role": "assistant", "parts": found} if found else None

    def end(self) -> None:
        """End the span at the time of the last piece. Without an answer, the call counts as cancelled, like its run."""
        is_answered = bool(self._stop_reason or self.chars)
        if not is_answered:
            self.span.set_attribute(ours.OUTCOME, ours.CANCELLED)
        body: Object = {
            "id": self.message_id,
            "model": self.model,
            "content": self._blocks,
            "stop_reason": self._stop_reason or (self._guessed_reason() if is_answered else None),
            "usage": self.usage or None,
        }
        answer = _MESSAGES.answer(body, with_content=self._recorder.with_content)
        attributes = {name: value for name, value in answer.attributes.items() if value is not None}
        if self._before:
            attributes[names.INPUT_MESSAGES] = f"[{','.join(self._before)}]"
        about = {**self._about, **obj(answer.content.get(ours.SPAN_METADATA))}
        self.span.set_attributes({**attributes, **encoded({**answer.content, ours.SPAN_METADATA: about})})
        self.span.end(self.ended_ns)

    def _guessed_reason(self) -> str:
        return "tool_use" if any(obj(block).get("type") == "tool_use" for block in self._blocks) else "end_turn"


# -- estimates of tokens and cost for model calls without exact counts, from the sums in the CLI's result --------------

MAX_OPEN: Final = 500
"""Number of calls that may wait for a result. For older calls, the output is unknown."""
_PRICE_RATIOS: Final = {
    "input_tokens": 1.0,
    "output_tokens": 5.0,
    "cache_creation_input_tokens": 1.25,
    "cache_read_input_tokens": 0.1,
}
"""Prices of tokens relative to an input token, the same for every model on Anthropic's price list of 2026."""
_COUNTS: Final = {
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "cacheCreationInputTokens": "cache_creation_input_tokens",
    "cacheReadInputTokens": "cache_read_input_tokens",
}


class Ledger:
    """The calls since the last result."""

    def __init__(self) -> None:
        self._calls: list[ModelCall] = []
        self._told: dict[str, Object] = {}

    def add(self, call: ModelCall) -> None:
        """Add a finished call that lacks its cost and perhaps its tokens."""
        self._calls.append(call)
        if len(self._calls) > MAX_OPEN:
            _give_up(self._calls.pop(0))

    def close(self, result: Object | None = None) -> None:
        """End all calls, with the data of a result if there is one."""
        calls, self._calls = self._calls, []
        totals = self._since_last(obj(result))
        usage = obj(obj(result).get("usage"))
        main = [call for call in calls if not call.of_sub_agent]
        _share_tokens(main, integer(usage.get("output_tokens")))
        for model, of_model in _by_model(calls, totals).items():
            _share_tokens(of_model, integer(totals[model].get("outputTokens")))
            _share_cost(of_model, totals[model])
        for call in calls:
            _give_up(call)

    def _since_last(self, result: Object) -> Mapping[str, Object]:
        told = {model: obj(each) for model, each in obj(result.get("modelUsage")).items()}
        before, self._told = self._told, told or self._told
        newest = result.get("model_usage_since_last_result")
        if newest is not None:
            return {model: obj(each) for model, each in obj(newest).items()}
        return {model: _difference(each, before.get(model, {})) for model, each in told.items()}


def _difference(now: Object, before: Object) -> Object:
    return {
        key: value - (number(before.get(key)) or 0) if number(value) is not None else value
        for key, value in now.items()
    }


def _share_tokens(calls: Sequence[ModelCall], total: int | None) -> None:
    """Divide what the settled calls leave of `total` among the others, in proportion to the length of their texts."""
    waiting = [call for call in calls if not call.is_settled]
    rest = (total or 0) - sum(integer(call.usage.get("output_tokens")) or 0 for call in calls if call.is_settled)
    if rest < len(waiting) or not waiting:
        return
    chars = sum(call.chars for call in waiting) or 1
    for call in waiting[:-1]:
        part = min(max(1, rest * call.chars // chars), rest)
        call.settle(part, shared=True)
        rest, chars = rest - part, max(1, chars - call.chars)
    waiting[-1].settle(rest, shared=len(waiting) > 1)


def _share_cost(calls: Sequence[ModelCall], total: Object) -> None:
    cost = number(total.get("costUSD"))
    weight = _weight({told: total.get(key) for key, told in _COUNTS.items()})
    if not cost or not weight:
        return
    for call in calls:
        if call.is_settled:
            call.settle(integer(call.usage.get("output_tokens")), cost * _weight(call.usage) / weight)


def _by_model(calls: Sequence[ModelCall], totals: Mapping[str, Object]) -> Mapping[str, list[ModelCall]]:
    found: dict[str, list[ModelCall]] = defaultdict(list)
    for call in calls:
        for model, total in totals.items():
            if call.model in (model, total.get("canonicalModel")) or (call.model and model.startswith(call.model)):
                found[model].append(call)
                break
    return found


def _weight(usage: Mapping[str, Any]) -> float:
    return sum((integer(usage.get(key)) or 0) * ratio for key, ratio in _PRICE_RATIOS.items())


def _give_up(call: ModelCall) -> None:
    if not call.is_settled:
        call.settle(None)
    call.end()


_OF_AGENTS: Final = frozenset(
    {"agentId", "usage", "totalTokens", "totalDurationMs", "totalToolUseCount", "resolvedModel", "harnessNoteCount"}
)
"""Members of a sub-agent's result that are already on its span."""
_SYNTHETIC: Final = "<synthetic>"
"""The model name in messages that the CLI writes itself, such as errors."""


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
        if self._recorder.with_content and value:
            note(self._beside.setdefault(name, []), value)

    def note_of(self, tool: Tool, value: Any) -> None:
        """Add a fact about a tool call to the data that accompanies its result."""
        if self._recorder.with_content and value:
            tool.span.set_attributes(encoded(answer_data(decisions=note(tool.notes, value))))

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
            of_sub_agent=self.parent_tool is not None,
            attributes={names.AGENT_NAME: self.name, **self._instructions},
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
