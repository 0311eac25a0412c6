"""A scripted model: a function from messages to replies, whose answers have the form of any protocol.

Used by the endpoint that plays a model, and by replays that go on after an injected fault.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pandaprobe_otel.protocols.chat import CHAT
from pandaprobe_otel.protocols.conversation import Choice, Message, ModelAnswer, RequestedTool, Tokens, mapping
from pandaprobe_otel.protocols.protocol import ParsedRequest, Protocol

_CREATED: Final = 1_760_000_000
"""Time of every answer: constant, so that two runs give the same bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool call by the scripted model."""

    name: str
    arguments: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A reply of the scripted model: a text, tool calls, or both."""

    text: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    is_cut: bool = False
    """True if the answer ends at its token limit, before the model would have ended it."""

    @property
    def finish_reason(self) -> str:
        """`length` if it is truncated, `tool_calls` if there are any, otherwise `stop`."""
        if self.is_cut:
            return "length"
        return "tool_calls" if self.tool_calls else "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one answer.

    Four characters of JSON count as a token, which is reproducible and realistic.
    """

    prompt_tokens: int
    completion_tokens: int

    @classmethod
    def of(cls, messages: Sequence[Mapping[str, Any]], reply: Reply) -> Usage:
        """Count the tokens of a request's messages and of the reply."""
        calls = [[call.name, dict(call.arguments)] for call in reply.tool_calls]
        return cls(prompt_tokens=_tokens(list(messages)), completion_tokens=_tokens([reply.text, calls]))


def _tokens(value: Any) -> int:
    return max(1, len(json.dumps(value, ensure_ascii=False)) // 4)


Script = Callable[[Sequence[Message]], Reply]
"""Returns the reply to the messages of a request, which have the form of chat completions in any protocol.

It raises LookupError for an unknown conversation.
"""


def messages_of(parsed: ParsedRequest, protocol: Protocol, body: Mapping[str, Any]) -> list[Message]:
    """Return the messages of a request. Raises ValueError if its protocol finds no conversation in it."""
    messages = None if parsed.model is None else protocol.read_messages(body)
    if messages is None:
        raise ValueError(f"The body must be {protocol.expects}.")
    return messages


def written(
    reply: Reply, parsed: ParsedRequest, protocol: Protocol, body: Mapping[str, Any], *, usage: Usage, number: int
) -> ModelAnswer:
    """Return a reply as the answer to a request. Its id contains the number."""
    name = f"{protocol.call_prefix}scripted{number}"
    calls = [
        RequestedTool(id=f"{name}_{position}", name=call.name, arguments=json.dumps(dict(call.arguments)))
        for position, call in enumerate(reply.tool_calls)
    ]
    wants_usage = not parsed.is_stream or mapping(body.get("stream_options")).get("include_usage")
    return ModelAnswer(
        response_id=f"{protocol.response_prefix}scripted{number}",
        model=str(parsed.model),
        choices=(Choice(text=reply.text, calls=tuple(calls), finish_reason=reply.finish_reason),),
        tokens=Tokens(prompt=usage.prompt_tokens, completion=usage.completion_tokens)
        if protocol is not CHAT or wants_usage
        else None,
        created=_CREATED,
    )
