"""One model call, as the CLI's messages report it: in pieces with the same message id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from time import time_ns
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._json import (
    Object,
    encoded,
    integer,
    items,
    number,
    obj,
    string,
    to_json,
    with_short_texts,
)
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._spans import fail
from pandaprobe_otel_integrations.anthropic.messages import Messages, block_parts

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

    __slots__ = ("_about", "_before", "_blocks", "_recorder", "_stop_reason", "_usage", "chars", "ended_ns",
                 "is_settled", "message_id", "model", "of_sub_agent", "span")  # fmt: skip

    def __init__(
        self,
        recorder: Recorder,
        message: Object,
        context: Context,
        *,
        started_ns: int,
        before: tuple[str, ...],
        agent: str,
        of_sub_agent: bool,
        instructions: Mapping[str, str],
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
        self._usage: dict[str, Any] = dict(obj(message.get("usage")))
        self._stop_reason: str | None = None
        self._about: dict[str, Any] = {}
        attributes = {
            ours.OPERATION_NAME: "chat",
            names.PROVIDER: "anthropic",
            names.REQUEST_MODEL: self.model,
            names.AGENT_NAME: agent,
            **instructions,
        }
        self.span: Span = recorder.tracer.start_span(
            f"chat {self.model}", context, kind=SpanKind.CLIENT, attributes=attributes, start_time=started_ns
        )

    @property
    def usage(self) -> Mapping[str, Any]:
        """Tokens by Anthropic's names, with the output only once it is settled."""
        return self._usage

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
        self._usage |= {key: value for key, value in usage.items() if value is not None}
        self.settle(integer(usage.get("output_tokens")))

    def failed(self, kind: str, text: str) -> None:
        """Record that the service refused the call, and the CLI gave up."""
        self.is_settled = True
        self._usage = {}
        fail(self.span, kind, text if self._recorder.with_content else kind)

    def settle(self, output_tokens: int | None, cost: float | None = None, *, shared: bool = False) -> None:
        """Set the tokens of the answer: exact ones, this call's part of a sum (`shared`), or None if unknown."""
        self.is_settled = True
        self._usage.pop("output_tokens", None)
        if output_tokens is not None:
            self._usage["output_tokens"] = output_tokens
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
            "usage": self._usage or None,
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
            known = sum(_output(call) for call in of_model if call.is_settled)
            total = integer(totals[model].get("outputTokens"))
            _share_tokens([call for call in of_model if not call.is_settled], total and total - known, settled=0)
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


def _share_tokens(calls: Sequence[ModelCall], total: int | None, settled: int | None = None) -> None:
    """Divide `total` among the calls that are not settled, in proportion to the length of their texts."""
    waiting = [call for call in calls if not call.is_settled]
    if settled is None:
        settled = sum(_output(call) for call in calls if call.is_settled)
    rest = (total or 0) - settled
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


def _output(call: ModelCall) -> int:
    return integer(call.usage.get("output_tokens")) or 0


def _give_up(call: ModelCall) -> None:
    if not call.is_settled:
        call.settle(None)
    call.end()
