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
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.delivery.randomness import randomness_of_uuid

_BUCKET_S: Final = 30.0
_FORGET_PER_MINUTE: Final = 0.8
_RECENT: Final = 100
_MOST_ERRORS: Final = 80
"""Errors among the last hundred sent traces, above which other traces take their turn."""
_OLDEST_EACH: Final = 5

_Entry = tuple[float, float, int, Line]
"""Two sort keys, the ticket, and the line. An entry whose ticket differs from that of its line is skipped."""


class Schedule:
    """Lines whose first job is not under way. Not thread-safe: the outbox calls it.

    A line waits in a heap until it is due. If it begins with a create, it then waits for a token.
    """

    def __init__(self, *, keeps_all: bool = False) -> None:
        self._creates: list[tuple[float, int, Line]] = []
        self._others: list[tuple[float, int, Line]] = []
        self._token_queue = TokenQueue(keeps_all=keeps_all)
        self.serve = self._token_queue.serve
        self.victim = self._token_queue.victim
        self._tickets = itertools.count(1)

    @property
    def waiting_for_tokens(self) -> int:
        """Number of lines that wait for a token."""
        return len(self._token_queue)

    def next_create(self, now: float) -> Job | None:
        """Return the create whose turn it is to take a token, or None."""
        while (at := _first(self._creates)) is not None and at <= now:
            self._token_queue.add(heapq.heappop(self._creates)[2])
        line = self._token_queue.next()
        return None if line is None else line.jobs[0]

    def next_other(self, now: float) -> Job | None:
        """Return the append, finish or score that is due, or None."""
        at = _first(self._others)
        return None if at is None or at > now else self._others[0][2].jobs[0]

    def next_due(self, now: float) -> tuple[float | None, float | None]:
        """Return the times at which the first create and the first other job are due; None for a kind without jobs."""
        create_at = now if self._token_queue.next() is not None else _first(self._creates)
        return create_at, _first(self._others)

    def add(self, line: Line, at: float, now: float = -math.inf) -> None:
        """Add or move a line whose first job is due at `at`."""
        if line.ticket:
            self.remove(line)
        line.ticket = next(self._tickets)
        if line.jobs[0].request.step is not Step.CREATE:
            heapq.heappush(self._others, (at, line.ticket, line))
        elif at <= now:
            self._token_queue.add(line)
        else:
            heapq.heappush(self._creates, (at, line.ticket, line))

    def remove(self, line: Line) -> None:
        """Remove a line whose first job is under way or gone."""
        line.ticket = 0
        if line.is_waiting_for_token:
            self._token_queue.remove(line)


def _first(heap: list[tuple[float, int, Line]]) -> float | None:
    while heap:
        at, ticket, line = heap[0]
        if line.ticket == ticket:
            return at
        heapq.heappop(heap)
    return None


class TokenQueue:
    """Lines that wait for a token."""

    def __init__(self, *, keeps_all: bool = False) -> None:
        self._by_age: deque[tuple[int, Line]] | None = deque() if keeps_all else None
        """Tickets and lines in order of arrival. Entries before the oldest waiting line are removed."""
        self._turn = 0
        self._errors = _Queues()
        self._others = _Queues()
        self._served: dict[str, float] = {}
        self._served_at = 0.0
        self._recent: deque[bool] = deque(maxlen=_RECENT)
        self._recent_errors = 0

    def __len__(self) -> int:
        return self._errors.count + self._others.count

    def add(self, line: Line) -> None:
        """Add a line, which begins with a create."""
        line.is_waiting_for_token = True
        request = line.jobs[0].request
        worth = 2.0 if request.is_slow else randomness_of_uuid(request.trace_id)
        self._queues(request).add(line, request.name, line.jobs[0].since // _BUCKET_S, worth)
        if self._by_age is not None:
            self._by_age.append((line.ticket, line))

    def remove(self, line: Line) -> None:
        """Remove a line; its entry becomes stale."""
        line.is_waiting_for_token = False
        request = line.jobs[0].request
        self._queues(request).remove(request.name)

    def serve(self, request: OutgoingRequest, now: float) -> None:
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

    def next(self) -> Line | None:
        """Return the next line; None if none waits."""
        if self._by_age is not None:
            oldest = self._oldest(self._by_age)
            if self._turn == 0:
                return oldest
        errors_have_it = self._recent_errors < _MOST_ERRORS or not self._others.count
        queues = self._errors if self._errors.count and errors_have_it else self._others
        return queues.first(self._served)

    def victim(self) -> Line | None:
        """Return the line to evict first if there is no room; None if none waits."""
        errors_have_most = self._errors.count > _MOST_ERRORS * len(self) / _RECENT
        return (self._errors if errors_have_most or not self._others.count else self._others).last()

    def _queues(self, request: OutgoingRequest) -> _Queues:
        return self._errors if request.is_error else self._others

    @staticmethod
    def _oldest(by_age: deque[tuple[int, Line]]) -> Line | None:
        while by_age:
            ticket, line = by_age[0]
            if line.ticket == ticket:
                return line
            by_age.popleft()
        return None


class _Queues:
    """Waiting lines by name. A name is here only while one of its lines waits."""

    def __init__(self) -> None:
        self._best: defaultdict[str, list[_Entry]] = defaultdict(list)
        self._worst: defaultdict[str, list[_Entry]] | None = None
        """Built at the first eviction, because it would only take memory before."""
        self._waiting: defaultdict[str, int] = defaultdict(int)
        self.count = 0

    def add(self, line: Line, name: str, bucket: float, worth: float) -> None:
        heapq.heappush(self._best[name], (-bucket, -worth, line.ticket, line))
        if self._worst is not None:
            heapq.heappush(self._worst[name], (bucket, worth, line.ticket, line))
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

    def first(self, served: dict[str, float]) -> Line | None:
        if not self.count:
            return None
        name = next(iter(self._waiting))
        if len(self._waiting) > 1:
            name = min(self._waiting, key=lambda each: served.get(each, 0.0))
        return self._top(self._best[name])

    def last(self) -> Line | None:
        name = max(self._waiting, key=self._waiting.__getitem__, default=None)
        if self._worst is None:
            self._worst = defaultdict(list)
            for each, heap in self._best.items():
                self._worst[each] = sorted((-bucket, -rank, ticket, line) for bucket, rank, ticket, line in heap)
        return None if name is None else self._top(self._worst[name])

    @staticmethod
    def _top(heap: list[_Entry]) -> Line | None:
        while heap:
            _, _, ticket, line = heap[0]
            if line.ticket == ticket:
                return line
            heapq.heappop(heap)
        return None
