"""Messages, tool calls and answers of models, independent of protocols.

A message has the form of OpenAI's chat completions (`role`, `content`, `tool_calls`, `tool_call_id`). PandaProbe's
traces have the same form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from pandaprobe_otel.mapping.messages import Conversation

Message = Mapping[str, Any]
"""A message: `role`, `content`, `tool_calls`, `tool_call_id`."""
_WORD: Final = re.compile(r"\s*\S+\s?|\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedTool:
    """A tool call that the model requests. `arguments` is the JSON text that the model wrote."""

    id: str
    name: str
    arguments: str

    @property
    def values(self) -> Any:
        """The arguments as JSON values, or the text itself if it is not JSON."""
        try:
            return json.loads(self.arguments)
        except ValueError:
            return self.arguments

    @property
    def as_function(self) -> dict[str, Any]:
        """The call in the form of chat completions."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of possibly several answers to a request. The finish reason is one of OpenTelemetry's."""

    text: str | None = None
    calls: tuple[RequestedTool, ...] = ()
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Token counts of one call. The prompt includes cached tokens, and the completion includes thoughts."""

    prompt: int = 0
    completion: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswer:
    """The answer of a model."""

    response_id: str
    model: str
    choices: tuple[Choice, ...]
    reasoning: str | None = None
    tokens: Tokens | None = None
    created: int = 0

    @property
    def first(self) -> Choice:
        """The only answer, or the first of several."""
        return self.choices[0] if self.choices else Choice()


def mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is an object, otherwise an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def pieces(text: str) -> list[str]:
    """Return the pieces in which a text is streamed, each of which ends after a word."""
    return _WORD.findall(text)


def json_pieces(value: Any) -> list[str]:
    """Return the pieces in which the arguments of a call are streamed as JSON text."""
    return pieces(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or the joined texts of its parts."""
    if not isinstance(content, list):
        return "" if content is None else str(content)
    return "".join(str(mapping(part).get("text") or "") for part in cast("Iterable[Any]", content))


def requested_tools(message: Message) -> Iterator[RequestedTool]:
    """Return the tool calls that an assistant message requests."""
    for call in map(mapping, message.get("tool_calls") or ()):
        function = mapping(call.get("function"))
        name = str(function.get("name") or "")
        arguments = function.get("arguments")
        yield RequestedTool(
            id=str(call.get("id") or name),
            name=name,
            arguments=arguments if isinstance(arguments, str) else json.dumps(arguments or {}),
        )


def read_messages(turns: Any, instructions: Any = None) -> list[Message]:
    """Return the messages of any protocol in the form of chat completions."""
    talk = Conversation()
    talk.add_all(turns, "user")
    if instructions:
        talk.add_system(instructions)
    return list(talk.messages)


def without(tool: Message, *names: str) -> dict[str, Any]:
    """Return the members of a tool's definition without some."""
    return {name: value for name, value in tool.items() if name not in names}
