"""Log records on their way from the app's threads to the worker, bounded in number and in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from pandaprobe_otel.assembly.trace_buffer import log_size

MAX_BYTES: Final = 16 << 20
_PLACE: Final = 2048
"""Bytes that a place in the queue stands for: a record takes as many places as it has of these."""
_PLACES: Final = MAX_BYTES // _PLACE
_MOST_REFUSED: Final = 1 << 16


class LogQueue:
    """Takes records from any thread without a lock; the worker alone takes them out.

    A lock would not do: a signal handler or a finalizer may log while its own thread holds it. A sum of bytes that
    several threads add to would go wrong without one. So bytes are counted by the length of the queue itself: behind
    a record stand as many empty places as its size takes. Threads that look at the same moment may each add one record
    beyond the bound.
    """

    def __init__(self) -> None:
        self._places: deque[Any] = deque()
        self._refused: deque[None] = deque(maxlen=_MOST_REFUSED)

    def __len__(self) -> int:
        return len(self._places)

    def put(self, record: Any) -> None:
        """Take a record; without room for it, it is counted as refused."""
        size = log_size(record) // _PLACE
        if len(self._places) + size >= _PLACES:
            self._refused.append(None)
        else:
            self._places.extend((record, *(None,) * size))

    def take(self, places: int) -> Iterator[Any]:
        """The records of the first places, a number that `len` gave."""
        for _ in range(places):
            if (record := self._places.popleft()) is not None:
                yield record

    def take_refused(self) -> int:
        """How many were refused since the last call (65 536 at the most)."""
        count = len(self._refused)
        for _ in range(count):
            self._refused.popleft()
        return count
