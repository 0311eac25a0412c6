"""Queue of log records from the app's threads to the worker, bounded in number and in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from pandaprobe_otel.assembly.trace_buffer import log_size

MAX_BYTES: Final = 16 << 20
_PLACE: Final = 2048
"""Bytes per place in the queue. A record takes one empty place for each further `_PLACE` bytes."""
_PLACES: Final = MAX_BYTES // _PLACE
_MOST_REFUSED: Final = 1 << 16


class LogQueue:
    """Queue that any thread fills without a lock and only the worker empties.

    A lock could deadlock: a signal handler or a finalizer may log while its own thread holds the lock. Without a lock,
    several threads cannot add up bytes correctly. So the length of the queue counts them: each record is followed by
    empty places according to its size. Threads that check the bound at the same moment may each add one record too
    many.
    """

    def __init__(self) -> None:
        self._places: deque[Any] = deque()
        self._refused: deque[None] = deque(maxlen=_MOST_REFUSED)

    def __len__(self) -> int:
        return len(self._places)

    def put(self, record: Any) -> None:
        """Add a record; if there is no room, count it as refused."""
        size = log_size(record) // _PLACE
        if len(self._places) + size >= _PLACES:
            self._refused.append(None)
        else:
            self._places.extend((record, *(None,) * size))

    def take(self, places: int) -> Iterator[Any]:
        """Remove this many places from the front (see `len`), and yield their records."""
        for _ in range(places):
            if (record := self._places.popleft()) is not None:
                yield record

    def take_refused(self) -> int:
        """Return the number of records refused since the last call (at most 65 536)."""
        count = len(self._refused)
        for _ in range(count):
            self._refused.popleft()
        return count
