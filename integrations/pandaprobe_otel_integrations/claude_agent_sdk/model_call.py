"""One model call, as the CLI's messages report it: in pieces with the same message id."""

from __future__ import annotations

from collections.abc import Mapping
from time import time_ns
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import Object, integer, items, obj, string
from pandaprobe_otel_integrations.anthropic.messages import Messages, block_parts

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
        self.span.set_attribute(ours.ERROR_TYPE, kind)
        self.span.set_status(Status(StatusCode.ERROR, text if self._recorder.with_content else kind))

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
