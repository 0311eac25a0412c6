"""Messages of AutoGen in the form of the conventions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._other_members import told, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import items, obj

_READ: Final = frozenset({"id", "source", "models_usage", "metadata", "created_at", "type", "content"})
"""Members that are recorded under other names, and times and ids; a message's other members stay beside it."""
_SEEN: Final = frozenset({"ToolCallRequestEvent", "ToolCallExecutionEvent", "ModelClientStreamingChunkEvent"})
"""Events about model calls and tools, which have their own spans."""


def asked(task: Any) -> list[Part]:
    """Return the input of an agent or a team: a text, a message or several."""
    return [message("user", each) for each in (items(task) or [task]) if each is not None]


def answered(messages: Iterable[Any], reason: str = "stop") -> list[Part]:
    """Return the answer, which is the last message."""
    said = [*messages]
    return [{**message("assistant", said[-1]), "finish_reason": reason}] if said else []


def on_the_way(messages: Iterable[Any], task: Any = None) -> list[Part]:
    """Return the messages between task and answer that have no span: thoughts, code and its results, ..."""
    given = {getattr(each, "id", None) for each in items(task) or [task]}
    said = [*messages][:-1]
    if isinstance(task, str) and said and getattr(said[0], "content", None) == task:
        del said[0]
    return [
        {"event": type(each).__name__, **message("assistant", each)}
        for each in said
        if type(each).__name__ not in _SEEN and getattr(each, "id", each) not in given
    ]


def message(role: str, said: Any) -> Part:
    """Return one message, with its author, the app's data about it, and the other fields of its class."""
    if isinstance(said, str):
        return {"role": role, "parts": [parts.text(said)]}
    told_of = {"name": getattr(said, "source", None), "metadata": getattr(said, "metadata", None)}
    found = {"role": role, "parts": _parts(said), **{name: value for name, value in told_of.items() if value}}
    members = obj(said)
    found = with_rest(found, members, _READ)
    if getattr(said, "format_string", None):
        found["structured"] = told(members.get("content"))
    return found


def _parts(said: Any) -> list[Part]:
    content = getattr(said, "content", None)
    if type(said).__name__ == "MultiModalMessage":
        return [_text_or_picture(each) for each in items(content)]
    if isinstance(content, list):
        return [parts.text(to_json(told(list(map(_plain, items(content))))))]
    return [parts.text(content if isinstance(content, str) else str(said.to_text()))]


def _text_or_picture(each: Any) -> Part:
    return parts.text(each) if isinstance(each, str) else parts.media(each.data_uri, "image")


def _plain(value: Any) -> Any:
    return dict(obj(value)) or value
