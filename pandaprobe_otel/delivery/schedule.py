"""Times at which lines are due, and the order of those that wait for a token.

Errors come first, up to four fifths of the sent traces, because they alone may exceed the limit. Then comes the name
(of the root span) that was served least in recent minutes, so that a busy endpoint does not block a rare one. Within a
name, the newest half minute comes first, because an old trace is worth less. Within that, slow traces come first, and
then the highest randomness of the trace id. So independent processes prefer the same traces, and `TailSampler` keeps
the same ones.
Eviction is the reverse: from the name with the most waiting traces, the oldest half minute and the lowest randomness
first; errors last, up to four fifths of the waiting traces.

If nothing is evicted, the oldest would wait as long as an overload lasts. So every fifth turn goes to the oldest trace.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict, deque
from typing import Final

from pandaprobe_otel.delivery.job import Job, Line
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.randomness import randomness_of_uuid

_BUCKET_S: Final = 30.0
_FORGET_PER_MINUTE: Final = 0.8
_RECENT: Final = 100
_MOST_ERRORS: Final = 80
"""Errors among the last hundred sent traces, above which other traces take their turn."""
_OLDEST_EACH: Final = 5

_Due = tuple[float, int, Line]
"""Time, ticket, and line."""
_Entry = tuple[float, float, int, Line]
"""Two sort keys, ticket, and line. An entry of either kind is skipped if its ticket differs from that of its line."""


class Schedule:
    """Lines whose first job is not under way. Not thread-safe: the outbox calls it.

    A line waits in a heap until it is due. If it begins with a create, it then waits for a token.
    """

    def __init__(self, *, keeps_all: bool = False) -> None:
        self._due_creates: list[_Due] = []
        self.due_others: list[_Due] = []
        """Lines that begin with another request. While it is empty, `next_other` returns None."""
        self._errors = TokenQueue()
        self._ordinary = TokenQueue()
        self.waiting_for_tokens = 0
        """Number of lines that wait for a token."""
        self._by_age: deque[tuple[int, Line]] | None = deque() if keeps_all else None
        """Tickets and lines in order of arrival. Entries before the oldest waiting line are removed."""
        self._turn = 0
        self._served: dict[str, float] = {}
        self._served_at = 0.0
        self._recent: deque[bool] = deque(maxlen=_RECENT)
        self._recent_errors = 0
        self._tickets = itertools.count(1)

    def add(self, line: Line, at: float, now: float = -math.inf) -> None:
        """Add or move a line whose first job is due at `at`."""
        if line.ticket:
            self.remove(line)
        line.ticket = next(self._tickets)
        if line.jobs[0].request.step is not Step.CREATE:
            heapq.heappush(self.due_others, (at, line.ticket, line))
        elif at <= now:
            self._let_wait(line)
        else:
            heapq.heappush(self._due_creates, (at, line.ticket, line))

    def remove(self, line: Line) -> None:
        """Remove a line whose first job is under way or gone; its entries become stale."""
        line.ticket = 0
        if line.queue is not None:
            line.queue.remove(line.jobs[0].request.name)
            line.queue = None
            self.waiting_for_tokens -= 1

    def hasten(self, now: float) -> None:
        """Make all lines due now, except those whose first job is in doubt: the server may still be storing it."""
        for _, ticket, line in (*self._due_creates, *self.due_others):
            if line.ticket == ticket and not line.jobs[0].in_doubt:
                self.add(line, now, now)

    def next_other(self, now: float) -> Job | None:
        """Return the append, finish or score that is due, or None."""
        return self.due_others[0][2].jobs[0] if _first(self.due_others) <= now else None

    def next_create(self, now: float) -> Job | None:
        """Return the create whose turn it is to take a token, or None."""
        while self._due_creates and _first(self._due_creates) <= now:
            self._let_wait(heapq.heappop(self._due_creates)[2])
        while self._by_age and self._by_age[0][0] != self._by_age[0][1].ticket:
            self._by_age.popleft()
        if not self.waiting_for_tokens:
            return None
        if self._by_age and self._turn == 0:
            return self._by_age[0][1].jobs[0]
        errors_have_it = self._recent_errors < _MOST_ERRORS or not self._ordinary.count
        queue = self._errors if self._errors.count and errors_have_it else self._ordinary
        return queue.first(self._served).jobs[0]

    def next_due(self) -> tuple[float, float]:
        """Return the times at which the next create, which then waits for a token, and the next other job are due."""
        return _first(self._due_creates), _first(self.due_others)

    def serve(self, request: Parcel, now: float) -> None:
        """Count a create that got a token."""
        minutes = (now - self._served_at) / 60.0
        if minutes >= 1.0:
            kept = _FORGET_PER_MINUTE**minutes
            self._served = {each: count * kept for each, count in self._served.items() if count * kept > 0.01}
            self._served_at = now
        self._served[request.name] = self._served.get(request.name, 0.0) + 1.0
        self._turn = (self._turn + 1) % _OLDEST_EACH
        if len(self._recent) == _RECENT:
            self._recent_errors -= self._recent[0]
        self._recent.append(request.is_error)
        self._recent_errors += request.is_error

    def victim(self) -> Line | None:
        """Return the line to evict first if there is no room; None if none waits for a token."""
        if not self.waiting_for_tokens:
            return None
        errors_have_most = self._errors.count > _MOST_ERRORS * self.waiting_for_tokens / _RECENT
        return (self._errors if errors_have_most or not self._ordinary.count else self._ordinary).last()

    def _let_wait(self, line: Line) -> None:
        """Let a line, which begins with a create, wait for a token."""
        job = line.jobs[0]
        request = job.request
        worth = 2.0 if request.is_slow else randomness_of_uuid(request.trace_id)
        line.queue = self._errors if request.is_error else self._ordinary
        line.queue.add(line, request.name, job.since // _BUCKET_S, worth)
        self.waiting_for_tokens += 1
        if self._by_age is not None:
            self._by_age.append((line.ticket, line))


def _first(heap: list[_Due]) -> float:
    while heap:
        at, ticket, line = heap[0]
        if line.ticket == ticket:
            return at
        heapq.heappop(heap)
    return math.inf


class TokenQueue:
    """Lines that wait for a token, by name. A name is here only while one of its lines waits."""

    def __init__(self) -> None:
        self._best: defaultdict[str, list[_Entry]] = defaultdict(list)
        self._worst: defaultdict[str, list[_Entry]] | None = None
        """Built at the first eviction, because it would only take memory before."""
        self._waiting: defaultdict[str, int] = defaultdict(int)
        self.count = 0

    def add(self, line: Line, name: str, bucket: float, worth: float) -> None:
        """Add a line."""
        heapq.heappush(self._best[name], (-bucket, -worth, line.ticket, line))
        if self._worst is not None:
            heapq.heappush(self._worst[name], (bucket, worth, line.ticket, line))
        self._waiting[name] += 1
        self.count += 1

    def remove(self, name: str) -> None:
        """Remove a line of this name, whose ticket has changed."""
        self.count -= 1
        self._waiting[name] -= 1
        if self._waiting[name] <= 0:
            del self._waiting[name]
            self._best.pop(name, None)
            if self._worst is not None:
                self._worst.pop(name, None)

    def first(self, served: dict[str, float]) -> Line:
        """Return the next line; one must wait. `served`: how often each name was served of late."""
        name = next(iter(self._waiting))
        if len(self._waiting) > 1:
            name = min(self._waiting, key=lambda each: served.get(each, 0.0))
        return _top(self._best[name])

    def last(self) -> Line:
        """Return the line to evict first; one must wait."""
        if self._worst is None:
            self._worst = defaultdict(list)
            for each, heap in self._best.items():
                self._worst[each] = sorted((-bucket, -rank, ticket, line) for bucket, rank, ticket, line in heap)
        return _top(self._worst[max(self._waiting, key=self._waiting.__getitem__)])


def _top(heap: list[_Entry]) -> Line:
    while heap[0][2] != heap[0][3].ticket:
        heapq.heappop(heap)
    return heap[0][3]
