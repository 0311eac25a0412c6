"""The conversation of an agent and its model so far, which is the input of the next model call."""

from __future__ import annotations

from typing import Final

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import with_short_texts
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._parts import Part

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
