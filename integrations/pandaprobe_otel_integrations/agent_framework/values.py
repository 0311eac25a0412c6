"""Values in a workflow of Agent Framework as plain data: messages with parts, data classes by their fields."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import groupby
from typing import Any, Final

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import items

_LEAVES: Final = (str, int, float, bool, bytes)
_MAX_DEPTH: Final = 12
"""Depth below which values are shown as text."""
_ANSWERS: Final = frozenset({"AgentResponse", "AgentResponseUpdate"})
_OF_FRAMEWORK: Final = "agent_framework"


def plain(value: Any, depth: int = 0) -> Any:
    """Return the value in a JSON form."""
    if value is None or isinstance(value, _LEAVES):
        return value
    if depth > _MAX_DEPTH:
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, (list, tuple, set, frozenset)):
        found: list[Any] = items(tuple(value))  # pyright: ignore[reportUnknownArgumentType]
        return as_messages(found) or [plain(each, depth + 1) for each in found]
    told = as_messages([value])
    if told is not None:
        return told
    if is_dataclass(value) and not isinstance(value, type):
        return _fields(value, depth)
    return value


def handed_on(values: Sequence[Any]) -> Any:
    """Return the output of an executor or a run: one value unchanged, several messages as one conversation.

    An agent's answer is left out if the agent also passes on a conversation that ends with it.
    """
    told = [value for value in values if _kind(value) not in _ANSWERS]
    if not any(_kind(value) == "AgentExecutorResponse" for value in told):
        told = [*values]
    return as_messages(told) or (plain(told[0]) if len(told) == 1 else plain(told))


def as_messages(values: Sequence[Any]) -> dict[str, Any] | None:
    """Return all values as messages, if each is a message or an agent's answer. A streamed answer is one message."""
    found: list[Part] = []
    for kind, grouped in groupby(values, _kind):
        group = list(grouped)
        if kind == "Message":
            found += map(_message, group)
        elif kind in _ANSWERS:
            answers = group if kind == "AgentResponse" else [_joined(group)]
            found += [_message(each) for answer in answers for each in items(answer.messages)]
        else:
            return None
    return {"messages": found} if found else None


def _joined(pieces: list[Any]) -> Any:
    """Return the answers that these pieces belong to, joined as the framework does."""
    return sys.modules[_OF_FRAMEWORK].AgentResponse.from_updates(pieces)


def _fields(value: Any, depth: int) -> dict[str, Any]:
    given = {each.name: getattr(value, each.name, None) for each in fields(value)}
    if _kind(value) == "AgentExecutorResponse":
        answer = given.pop("agent_response", None)  # the end of the conversation
        said = items(given.pop("full_conversation", None)) or items(getattr(answer, "messages", None))
        return {"messages": [_message(each) for each in said], **given}
    return {name: plain(item, depth + 1) for name, item in given.items() if item is not None}


def _message(message: Any) -> Part:
    found: Part = {"role": str(message.role), "parts": _parts(message)}
    name = getattr(message, "author_name", None)
    return {**found, "name": str(name)} if name else found


def _parts(message: Any) -> list[Part]:
    """Return the parts of a message, without its costs, which are on the model call."""
    return [_part(each) for each in items(message.contents) if str(each.type) != "usage"]


def _part(content: Any) -> Part:
    kind = str(content.type)
    if kind == "text":
        return parts.text(str(content.text or ""))
    if kind == "text_reasoning":
        return parts.reasoning(str(content.text or ""))
    if kind == "function_call":
        return parts.tool_call(id=content.call_id, name=content.name, arguments=content.arguments)
    if kind == "function_result":
        return parts.tool_response(id=content.call_id, response=content.result)
    if kind in ("uri", "data") and content.uri:
        return parts.media(str(content.uri), str(content.media_type or "").partition("/")[0] or "file")
    return dict(content.to_dict(exclude_none=True))


def _kind(value: Any) -> str:
    """Return the name of the framework's class that the value's class is or derives from; empty if there is none."""
    return next((each.__name__ for each in type(value).__mro__ if each.__module__.startswith(_OF_FRAMEWORK)), "")
