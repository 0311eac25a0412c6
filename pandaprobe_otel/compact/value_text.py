"""Values as text, cut in the middle to a number of tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from pandaprobe_otel.compact.tokens import affordable, pieces, tokens_in
from pandaprobe_otel.protocols.encoding import dump

_RUN: Final = re.compile(r"[A-Za-z0-9+/=_-]{80,}")
_LONGEST: Final = 17
"""Maximum number of characters per token. Text beyond that is not read."""
_MARK: Final = 8
"""Tokens of the mark of a cut."""
_HEAD: Final = 0.65
"""Share of a cut text that is from the beginning. The rest is from the end."""


def text_of(value: Any) -> str:
    """Return a whole value: text unchanged, other values as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else dump(value)


def readable(value: Any) -> str:
    """Return a value for a reader: the messages of a conversation without their JSON form."""
    messages = messages_in(value)
    if messages is None:
        return text_of(value)
    return " ⏎ ".join(said(message) for message in messages)


def last_of(value: Any, role: str) -> str:
    """Return the last message of this role; without a conversation, the value."""
    messages = messages_in(value) or ()
    fitting = [message for message in messages if message.get("role") == role]
    if fitting:
        return said(fitting[-1])
    return said(messages[-1]) if messages else text_of(value)


def messages_in(value: Any) -> Sequence[Mapping[str, Any]] | None:
    """Return the messages of a conversation; None for anything else."""
    if not isinstance(value, Mapping):
        return None
    found: Any = cast("Mapping[str, Any]", value).get("messages")
    if not isinstance(found, list) or not found:
        return None
    messages = cast("Sequence[Any]", found)
    return messages if all(isinstance(one, Mapping) for one in messages) else None


def said(message: Mapping[str, Any]) -> str:
    """Return a message as `role: text`, with the tools that it requests."""
    rest = {name: value for name, value in message.items() if name not in ("role", "content") and value}
    content = text_of(message.get("content"))
    more = f" {dump(rest)}" if rest else ""
    return f"{text_of(message.get('role'))}: {content}{more}"


def one_line(text: str) -> str:
    """Return a text on one line, in which long runs of letters and digits (images, hashes) are only named."""
    return _RUN.sub(lambda run: f"⟨{len(run[0])} characters⟩", text).replace("\n", "⏎")


def clipped(text: str, tokens: int) -> str:
    """Return a text within a number of tokens: its beginning, the number of omitted characters, and its end."""
    if tokens <= 0:
        return f"…+{len(text)}…" if text else ""
    most = tokens * _LONGEST
    if len(text) <= most and tokens_in(text) <= tokens:
        return text
    room = affordable(max(tokens - _MARK, 0))
    begin = _fitting(text[:most], room * _HEAD)
    end = _fitting_end(text[max(begin, len(text) - most) :], room * (1 - _HEAD))
    return f"{text[:begin]}…+{len(text) - begin - end}…{text[len(text) - end :]}"


def fitting(text: str, tokens: int) -> int:
    """Return the length of the longest beginning of a text that stays within a number of tokens."""
    return _fitting(text[: tokens * _LONGEST], affordable(tokens))


def _fitting(text: str, room: float) -> int:
    at = 0
    for end, cost in pieces(text):
        room -= cost
        if room < 0:
            break
        at = end
    return at


def _fitting_end(text: str, room: float) -> int:
    found = list(pieces(text))
    at = len(text)
    for (end, cost), (begin, _) in zip(reversed(found), reversed([(0, 0.0), *found[:-1]]), strict=True):
        room -= cost
        if room < 0 or end != at:
            break
        at = begin
    return len(text) - at
