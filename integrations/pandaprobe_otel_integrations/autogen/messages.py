"""Messages of AutoGen in the form of the conventions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import items


def asked(task: Any) -> list[Part]:
    """What an agent or a team is given: a text, a message or several."""
    return [message("user", each) for each in (items(task) or [task]) if each is not None]


def answered(messages: Iterable[Any]) -> list[Part]:
    """The answer, which is the last of what was said."""
    said = [*messages]
    return [{**message("assistant", said[-1]), "finish_reason": "stop"}] if said else []


def message(role: str, said: Any) -> Part:
    """One message, with who has said it and what the app says of it."""
    if isinstance(said, str):
        return {"role": role, "parts": [parts.text(said)]}
    told = {"name": getattr(said, "source", None), "metadata": getattr(said, "metadata", None)}
    return {"role": role, "parts": _parts(said), **{name: value for name, value in told.items() if value}}


def _parts(said: Any) -> list[Part]:
    content = getattr(said, "content", None)
    if type(said).__name__ != "MultiModalMessage":
        return [parts.text(content if isinstance(content, str) else str(said.to_text()))]
    return [
        parts.text(each) if isinstance(each, str) else parts.media(each.data_uri, "image") for each in items(content)
    ]
