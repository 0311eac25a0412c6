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
from pandaprobe_otel.protocols.protocol import ParsedRequest

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
    """Tokens of one answer."""

    prompt_tokens: int
    completion_tokens: int


def _tokens(value: Any) -> int:
    """Return the tokens of a value: four characters of JSON count as one, which is reproducible and realistic."""
    return max(1, len(json.dumps(value, ensure_ascii=False)) // 4)


Script = Callable[[Sequence[Message]], Reply]
"""Returns the reply to the messages of a request, which have the form of chat completions in any protocol.

It raises LookupError for an unknown conversation.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedAnswer:
    """The answer of a script to a request, and what it was made of."""

    messages: Sequence[Message]
    reply: Reply
    usage: Usage
    answer: ModelAnswer


def answer_of(script: Script, parsed: ParsedRequest, body: Mapping[str, Any], *, number: int) -> ScriptedAnswer:
    """Return the answer of a script to a request. Its id contains the number.

    Raises ValueError if the request's protocol finds no conversation in it, and the script's own exceptions.
    """
    protocol = parsed.wire
    assert protocol is not None
    messages = None if parsed.model is None else protocol.read_messages(body)
    if messages is None:
        raise ValueError(f"The body must be {protocol.expects}.")
    reply = script(messages)
    name = f"{protocol.call_prefix}scripted{number}"
    calls = [
        RequestedTool(id=f"{name}_{position}", name=call.name, arguments=json.dumps(dict(call.arguments)))
        for position, call in enumerate(reply.tool_calls)
    ]
    written = [reply.text, [[call.name, dict(call.arguments)] for call in reply.tool_calls]]
    usage = Usage(prompt_tokens=_tokens(list(messages)), completion_tokens=_tokens(written))
    tokens = Tokens(prompt=usage.prompt_tokens, completion=usage.completion_tokens)
    wants_usage = not parsed.is_stream or mapping(body.get("stream_options")).get("include_usage")
    answer = ModelAnswer(
        response_id=f"{protocol.response_prefix}scripted{number}",
        model=str(parsed.model),
        choices=(Choice(text=reply.text, calls=tuple(calls), finish_reason=reply.finish_reason),),
        tokens=tokens if protocol is not CHAT or wants_usage else None,
        created=_CREATED,
    )
    return ScriptedAnswer(messages=messages, reply=reply, usage=usage, answer=answer)
