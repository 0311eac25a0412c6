"""Whose turn it is when there are more traces than tokens, and who goes when there is no room.

Errors first. Then the name (of the root span) that was served least of late, so that a busy endpoint does not
starve a rare one; within a name the newest half minute, since an old trace is worth less; within that the smallest
hash of the trace id, so that independent processes prefer the same traces. Who goes is the mirror image: from the
name with the most waiting traces, the oldest half minute, the largest hash; errors last.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable
from typing import Final
from zlib import crc32

_BUCKET_S: Final = 30.0
_FORGET_PER_MINUTE: Final = 0.8
_ERROR_QUEUE: Final = "\0errors"

_Entry = tuple[float, int, int, str]
"""Order, order, ticket, key."""


class Turns:
    """Keys that wait for a token. Entries are never searched for: a stale one (`is_current` says no) is skipped."""

    def __init__(self, is_current: Callable[[str, int], bool]) -> None:
        self._is_current = is_current
        self._best: defaultdict[str, list[_Entry]] = defaultdict(list)
        self._worst: defaultdict[str, list[_Entry]] = defaultdict(list)
        self._waiting: defaultdict[str, int] = defaultdict(int)
        self._served: dict[str, float] = {}
        self._served_at = 0.0

    def add(self, key: str, ticket: int, *, name: str, is_error: bool, since: float) -> None:
        """A key waits, since the time `since`."""
        queue = _ERROR_QUEUE if is_error else name
        bucket, rank = since // _BUCKET_S, crc32(key.encode())
        heapq.heappush(self._best[queue], (-bucket, rank, ticket, key))
        heapq.heappush(self._worst[queue], (bucket, -rank, ticket, key))
        self._waiting[queue] += 1

    def remove(self, *, name: str, is_error: bool) -> None:
        """A key of this name waits no longer (its entry is stale from now on)."""
        queue = _ERROR_QUEUE if is_error else name
        self._waiting[queue] -= 1
        if self._waiting[queue] <= 0:
            del self._waiting[queue]
            self._best.pop(queue, None)
            self._worst.pop(queue, None)

    def serve(self, *, name: str, is_error: bool, now: float) -> None:
        """A key of this name got a token."""
        minutes = (now - self._served_at) / 60.0
        if minutes >= 1.0:
            kept = _FORGET_PER_MINUTE**minutes
            self._served = {each: count * kept for each, count in self._served.items() if count * kept > 0.01}
            self._served_at = now
        if not is_error:
            self._served[name] = self._served.get(name, 0.0) + 1.0

    def next(self) -> str | None:
        """The key whose turn it is."""
        if (key := self._top(self._best, _ERROR_QUEUE)) is not None:
            return key
        for name in sorted(self._waiting, key=lambda each: self._served.get(each, 0.0)):
            if (key := self._top(self._best, name)) is not None:
                return key
        return None

    def victim(self) -> str | None:
        """The key that goes first when there is no room."""
        names = sorted((each for each in self._waiting if each != _ERROR_QUEUE), key=lambda each: -self._waiting[each])
        for name in (*names, _ERROR_QUEUE):
            if (key := self._top(self._worst, name)) is not None:
                return key
        return None

    def _top(self, heaps: defaultdict[str, list[_Entry]], queue: str) -> str | None:
        heap = heaps.get(queue)
        while heap:
            _, _, ticket, key = heap[0]
            if self._is_current(key, ticket):
                return key
            heapq.heappop(heap)
        return None
