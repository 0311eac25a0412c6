"""The wire format of OpenAI's chat completions, as a whole and as a stream of chunks.

Source: OpenAI's published API reference for `/chat/completions` (object, chunk object, `stream_options`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

Message = Mapping[str, Any]
"""A message of chat completions: `role`, `content`, `tool_calls`, `tool_call_id`."""

CREATED: Final = 1_760_000_000
"""`created` of every answer: constant, so that two runs give the same bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool call by the scripted model."""

    name: str
    arguments: Mapping[str, object] = field(default_factory=dict[str, object])

    @property
    def arguments_text(self) -> str:
        """The arguments as JSON text."""
        return json.dumps(dict(self.arguments))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A reply of the scripted model: a text, tool calls, or both."""

    text: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    is_cut: bool = False
    """True if a chat completion ends at its token limit, before the model would have ended it."""

    @property
    def finish_reason(self) -> str:
        """`length` if it is truncated, `tool_calls` if there are any, otherwise `stop`."""
        if self.is_cut:
            return "length"
        return "tool_calls" if self.tool_calls else "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one completion.

    Four characters of JSON count as a token, which is reproducible and realistic.
    """

    prompt_tokens: int
    completion_tokens: int

    @classmethod
    def of(cls, messages: Sequence[Mapping[str, Any]], reply: Reply) -> Usage:
        """Count the tokens of a request's messages and of the reply."""
        calls = [[call.name, dict(call.arguments)] for call in reply.tool_calls]
        return cls(prompt_tokens=_tokens(list(messages)), completion_tokens=_tokens([reply.text, calls]))

    def as_dict(self) -> dict[str, int]:
        """Return the `usage` object of an answer."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


class Refusal(Exception):
    """Exception that a script raises so that the endpoint answers with this HTTP status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def conversation(request: Mapping[str, Any]) -> Sequence[Message] | None:
    """Return the messages of a request; None without any."""
    messages: Any = request.get("messages")
    return cast("list[Message]", messages) if isinstance(messages, list) else None


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or the joined texts of its parts."""
    if not isinstance(content, list):
        return "" if content is None else str(content)
    parts = cast("list[Mapping[str, Any]]", content)
    return "".join(str(part.get("text") or "") for part in parts)


def words(text: str) -> list[str]:
    """Return the pieces in which a text is streamed."""
    return re.findall(r"\S+\s*", text)


def call_id(response_id: str, position: int, *, prefix: str = "call") -> str:
    """Return the id of a tool call: its answer's id without the protocol's prefix, and its position in the answer."""
    return f"{prefix}_{response_id}_{position}"


def completion(*, response_id: str, model: str, reply: Reply, usage: Usage) -> dict[str, Any]:
    """Return the body of a non-streamed answer."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.tool_calls:
        message["tool_calls"] = _wire_calls(response_id, reply)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}
    return {**_head(response_id, model, "chat.completion"), "choices": [choice], "usage": usage.as_dict()}


def chunks(
    *, response_id: str, model: str, reply: Reply, usage: Usage, include_usage: bool
) -> Iterator[dict[str, Any]]:
    """Yield the chunks of a streamed answer, one per word or call.

    The last chunk has the usage if it was requested (`stream_options.include_usage`).
    """
    head = _head(response_id, model, "chat.completion.chunk")
    if include_usage:
        head["usage"] = None  # as the service does: null in every chunk but the last

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**head, "choices": [choice]}

    yield chunk({"role": "assistant", "content": "" if reply.text is not None else None})
    for word in words(reply.text or ""):
        yield chunk({"content": word})
    for index, call in enumerate(_wire_calls(response_id, reply)):
        function = call["function"]
        opening = {**call, "index": index, "function": {"name": function["name"], "arguments": ""}}
        yield chunk({"tool_calls": [opening]})
        yield chunk({"tool_calls": [{"index": index, "function": {"arguments": function["arguments"]}}]})
    yield chunk({}, reply.finish_reason)
    if include_usage:
        yield {**head, "choices": [], "usage": usage.as_dict()}


def _head(response_id: str, model: str, kind: str) -> dict[str, Any]:
    return {
        "id": response_id,
        "object": kind,
        "created": CREATED,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
    }


def _wire_calls(response_id: str, reply: Reply) -> list[dict[str, Any]]:
    return [
        {
            "id": call_id(response_id.removeprefix("chatcmpl-"), position),
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments_text},
        }
        for position, call in enumerate(reply.tool_calls)
    ]


def _tokens(value: Any) -> int:
    return max(1, len(json.dumps(value, ensure_ascii=False)) // 4)
