"""Streams of model calls that the app is reading, so that a live view can show their text so far.

They are held weakly: a stream that the app drops disappears here too. Registering a stream adds one entry to a dict.
"""

from __future__ import annotations

import weakref
from typing import Protocol


class OpenStream(Protocol):
    """Stream that the app is reading."""

    def span_ids(self) -> tuple[int, int]:
        """Return the ids of its trace and span."""
        ...

    def text_so_far(self) -> str | None:
        """Return the text of the answer so far; None if it is not known or not recorded."""
        ...


_open: dict[int, weakref.ref[OpenStream]] = {}


def register(stream: OpenStream) -> None:
    """Add a stream until it is removed or dropped."""
    key = id(stream)
    _open[key] = weakref.ref(stream, lambda _: _open.pop(key, None))


def remove(stream: OpenStream) -> None:
    """Remove a stream that has ended."""
    _open.pop(id(stream), None)


def open_streams() -> list[OpenStream]:
    """Return the streams that the app is reading now."""
    # The copy is atomic, because the app's threads go on.
    return [stream for held in _open.copy().values() if (stream := held()) is not None]


def any_open() -> bool:
    """Return whether the app is reading any stream."""
    return bool(_open)
