"""Order of sending: when the first job of each trace is due, and which creates wait for a token."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping

from pandaprobe_otel.delivery.job import Job, Line
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.delivery.token_queue import TokenQueue


class Schedule:
    """Lines whose first job is not under way. Not thread-safe: the outbox calls it.

    A line waits in a heap until it is due. If it begins with a create, it then waits for a token.
    """

    def __init__(self, lines: Mapping[str, Line], *, keeps_all: bool = False) -> None:
        self._lines = lines
        self._creates: list[tuple[float, int, str]] = []
        self._others: list[tuple[float, int, str]] = []
        self._token_queue = TokenQueue(self._is_current, keeps_all=keeps_all)
        self._tickets = itertools.count(1)

    @property
    def waiting_for_tokens(self) -> int:
        """Number of lines that wait for a token."""
        return len(self._token_queue)

    def next_create(self, now: float) -> Job | None:
        """Return the create whose turn it is to take a token, or None."""
        if self._creates:
            self._queue_for_tokens(now)
        key = self._token_queue.next()
        return None if key is None else self._lines[key].jobs[0]

    def next_other(self, now: float) -> Job | None:
        """Return the append, finish or score that is due, or None."""
        at = self._first(self._others) if self._others else None
        return None if at is None or at > now else self._lines[self._others[0][2]].jobs[0]

    def next_due(self, now: float) -> tuple[float | None, float | None]:
        """Return the times at which the first create and the first other job are due; None for a kind without jobs."""
        create_at = now if self._token_queue.next() is not None else self._first(self._creates)
        return create_at, self._first(self._others)

    def serve(self, request: OutgoingRequest, now: float) -> None:
        """Count a create that got a token."""
        self._token_queue.serve(name=request.name, is_error=request.is_error, now=now)

    def victim(self) -> Line | None:
        """Return the line to evict first if there is no room; None if none waits for a token."""
        key = self._token_queue.victim()
        return None if key is None else self._lines[key]

    def add(self, key: str, line: Line, at: float, now: float = -math.inf) -> None:
        """Add or move a line whose first job is due at `at`."""
        if line.ticket:
            self.remove(line)
        line.ticket = next(self._tickets)
        if line.jobs[0].request.step is not Step.CREATE:
            heapq.heappush(self._others, (at, line.ticket, key))
        elif at <= now:
            self._queue_for_token(key, line)
        else:
            heapq.heappush(self._creates, (at, line.ticket, key))

    def remove(self, line: Line) -> None:
        """Remove a line whose first job is under way or gone."""
        line.ticket = 0
        if line.is_waiting_for_token:
            line.is_waiting_for_token = False
            request = line.jobs[0].request
            self._token_queue.remove(name=request.name, is_error=request.is_error)

    def _queue_for_tokens(self, now: float) -> None:
        """Move the due creates to the lines that wait for a token."""
        while (at := self._first(self._creates)) is not None and at <= now:
            _, _, key = heapq.heappop(self._creates)
            self._queue_for_token(key, self._lines[key])

    def _queue_for_token(self, key: str, line: Line) -> None:
        line.is_waiting_for_token = True
        job, request = line.jobs[0], line.jobs[0].request
        self._token_queue.add(
            key, line.ticket, name=request.name, is_error=request.is_error, is_slow=request.is_slow, since=job.since
        )

    def _is_current(self, key: str, ticket: int) -> bool:
        line = self._lines.get(key)
        return line is not None and line.ticket == ticket

    def _first(self, heap: list[tuple[float, int, str]]) -> float | None:
        while heap:
            at, ticket, key = heap[0]
            if self._is_current(key, ticket):
                return at
            heapq.heappop(heap)
        return None
