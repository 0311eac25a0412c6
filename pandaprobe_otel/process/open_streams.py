"""Streams of model calls that are being read, so that a live view can show their text so far.

They are held weakly: a stream that the app forgets is gone from here as well. Registering is one entry of a dict.
"""

from __future__ import annotations

import weakref
from typing import Protocol


class OpenStream(Protocol):
    """A stream that is being read."""

    def span_ids(self) -> tuple[int, int]:
        """Return the ids of its trace and span."""
        ...

    def text_so_far(self) -> str | None:
        """Return the text of the answer so far; None if it is not known or not recorded."""
        ...


_open: dict[int, weakref.ref[OpenStream]] = {}


def register(stream: OpenStream) -> None:
    """Add a stream until it is removed or forgotten."""
    key = id(stream)
    _open[key] = weakref.ref(stream, lambda _: _open.pop(key, None))


def remove(stream: OpenStream) -> None:
    """Remove a stream that has ended."""
    _open.pop(id(stream), None)


def open_streams() -> list[OpenStream]:
    """Return the streams that are being read now."""
    # The copy is atomic; the app's threads go on.
    return [stream for held in _open.copy().values() if (stream := held()) is not None]


def any_open() -> bool:
    """Return whether any stream is being read."""
    return bool(_open)
