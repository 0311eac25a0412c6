"""Order of traces that wait for tokens, and order of eviction if there is no room.

Errors come first, up to four fifths of the sent traces, because they alone may exceed the limit. Then comes the name
(of the root span) that was served least in recent minutes, so that a busy endpoint does not block a rare one. Within a
name, the newest half minute comes first, because an old trace is worth less. Within that, slow traces come first, and
then the highest randomness of the trace id. So independent processes prefer the same traces, and `TailSampler` keeps
the same ones.
Eviction is the reverse: from the name with the most waiting traces, the oldest half minute and the lowest randomness
first; errors last, up to four fifths of the waiting traces.

If nothing is evicted, the oldest would wait as long as an overload lasts. So each fifth turn is theirs.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Final

from pandaprobe_otel.delivery.randomness import randomness_of_uuid

_BUCKET_S: Final = 30.0
_FORGET_PER_MINUTE: Final = 0.8
_RECENT: Final = 100
_MOST_ERRORS: Final = 80
"""Errors among the last hundred sent traces, above which other traces take their turn."""
_OLDEST_EACH: Final = 5

_Entry = tuple[float, float, int, str]
"""Sort keys (half minute, then worth; the first to go is the smallest), ticket, and key."""


class TokenQueue:
    """Keys that wait for a token. Entries are never searched: stale ones (see `is_current`) are skipped."""

    def __init__(self, is_current: Callable[[str, int], bool], *, keeps_all: bool = False) -> None:
        self._is_current = is_current
        self._by_age: deque[tuple[int, str]] | None = deque() if keeps_all else None
        """Tickets and keys in order of arrival. Those before the oldest waiting one are removed."""
        self._turn = 0
        self._errors = _Queues(is_current)
        self._others = _Queues(is_current)
        self._served: dict[str, float] = {}
        self._served_at = 0.0
        self._recent: deque[bool] = deque(maxlen=_RECENT)
        self._recent_errors = 0

    def __len__(self) -> int:
        return self._errors.count + self._others.count

    def add(self, key: str, ticket: int, *, name: str, is_error: bool, is_slow: bool, since: float) -> None:
        """Add a key, which is a trace id and has waited since the time `since`."""
        queues = self._errors if is_error else self._others
        worth = 2.0 if is_slow else randomness_of_uuid(key)
        queues.add(key, ticket, name, since // _BUCKET_S, worth)
        if self._by_age is not None:
            self._by_age.append((ticket, key))

    def remove(self, *, name: str, is_error: bool) -> None:
        """Remove a key of this name; its entry becomes stale."""
        (self._errors if is_error else self._others).remove(name)

    def serve(self, *, name: str, is_error: bool, now: float) -> None:
        """Count a key of this name that got a token."""
        minutes = (now - self._served_at) / 60.0
        if minutes >= 1.0:
            kept = _FORGET_PER_MINUTE**minutes
            self._served = {each: count * kept for each, count in self._served.items() if count * kept > 0.01}
            self._served_at = now
        self._served[name] = self._served.get(name, 0.0) + 1.0
        self._turn = (self._turn + 1) % _OLDEST_EACH
        if len(self._recent) == _RECENT:
            self._recent_errors -= self._recent[0]
        self._recent.append(is_error)
        self._recent_errors += is_error

    def next(self) -> str | None:
        """Return the next key; None if none waits."""
        if self._by_age is not None:
            oldest = self._oldest(self._by_age)
            if self._turn == 0:
                return oldest
        errors_have_it = self._recent_errors < _MOST_ERRORS or not self._others.count
        queues = self._errors if self._errors.count and errors_have_it else self._others
        return queues.first(self._served)

    def victim(self) -> str | None:
        """Return the key to evict first; None if none waits."""
        errors_have_most = self._errors.count > _MOST_ERRORS * len(self) / _RECENT
        return (self._errors if errors_have_most or not self._others.count else self._others).last()

    def _oldest(self, by_age: deque[tuple[int, str]]) -> str | None:
        while by_age:
            ticket, key = by_age[0]
            if self._is_current(key, ticket):
                return key
            by_age.popleft()
        return None


class _Queues:
    """Waiting keys by name. A name is here only while one of its keys waits."""

    def __init__(self, is_current: Callable[[str, int], bool]) -> None:
        self._is_current = is_current
        self._best: defaultdict[str, list[_Entry]] = defaultdict(list)
        self._worst: defaultdict[str, list[_Entry]] | None = None
        """Built at the first eviction, because it would only take memory before."""
        self._waiting: defaultdict[str, int] = defaultdict(int)
        self.count = 0

    def add(self, key: str, ticket: int, name: str, bucket: float, worth: float) -> None:
        heapq.heappush(self._best[name], (-bucket, -worth, ticket, key))
        if self._worst is not None:
            heapq.heappush(self._worst[name], (bucket, worth, ticket, key))
        self._waiting[name] += 1
        self.count += 1

    def remove(self, name: str) -> None:
        self.count -= 1
        self._waiting[name] -= 1
        if self._waiting[name] <= 0:
            del self._waiting[name]
            self._best.pop(name, None)
            if self._worst is not None:
                self._worst.pop(name, None)

    def first(self, served: dict[str, float]) -> str | None:
        if not self.count:
            return None
        name = next(iter(self._waiting))
        if len(self._waiting) > 1:
            name = min(self._waiting, key=lambda each: served.get(each, 0.0))
        return self._top(self._best[name])

    def last(self) -> str | None:
        name = max(self._waiting, key=self._waiting.__getitem__, default=None)
        if self._worst is None:
            self._worst = defaultdict(list)
            for each, heap in self._best.items():
                self._worst[each] = sorted((-bucket, -rank, ticket, key) for bucket, rank, ticket, key in heap)
        return None if name is None else self._top(self._worst[name])

    def _top(self, heap: list[_Entry]) -> str | None:
        while heap:
            _, _, ticket, key = heap[0]
            if self._is_current(key, ticket):
                return key
            heapq.heappop(heap)
        return None
