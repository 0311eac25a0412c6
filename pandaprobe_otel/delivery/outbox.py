"""What waits to be sent: one queue for each trace, in memory, bounded in bytes."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from pandaprobe_otel.delivery.parcel import Parcel, Step


@dataclass(slots=True, eq=False)
class Job:
    """A parcel with the state of its delivery."""

    parcel: Parcel
    attempts: int = 0
    server_errors: int = 0
    deliveries_before: int = 0
    """How many deliveries there had been when the server failed on this job for the first time."""
    in_doubt: bool = False
    """Look whether the trace is there before sending (again): a create got no answer, or this is a score."""
    repairs: int = 0
    not_found_since: float | None = None
    in_flight: bool = False


@dataclass(slots=True, eq=False)
class _Line:
    """The jobs of one trace: only the first may go, since later ones build on it."""

    jobs: deque[Job] = field(default_factory=deque[Job])
    ready_at: float = 0.0
    ticket: int = 0
    """Number of the heap entry that counts; entries with another number are stale."""


class MemoryOutbox:
    """Jobs by trace. Not thread-safe: its owner calls it under one lock.

    Creates and free requests wait in separate heaps, because only creates need a token.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lines: OrderedDict[str, _Line] = OrderedDict()
        self._creates: list[tuple[float, int, str]] = []
        self._others: list[tuple[float, int, str]] = []
        self._tickets = itertools.count(1)

    @property
    def bytes(self) -> int:
        """Bytes that the waiting jobs take."""
        return self._bytes

    def __len__(self) -> int:
        return sum(len(line.jobs) for line in self._lines.values())

    def __iter__(self) -> Iterator[Job]:
        return (job for line in self._lines.values() for job in line.jobs)

    def put(self, parcel: Parcel, now: float) -> list[Job]:
        """Add a parcel at the end of its trace's line; return the jobs that had to go for it (not delivered)."""
        job = Job(parcel, in_doubt=parcel.step is Step.SCORE)
        line = self._lines.get(parcel.line)
        if line is None:
            line = self._lines[parcel.line] = _Line()
        line.jobs.append(job)
        self._bytes += parcel.size
        if len(line.jobs) == 1:
            self._schedule(parcel.line, line, now)
        return self._evict(spare=job)

    def next_create(self, now: float) -> Job | None:
        """The create whose turn it is, or None."""
        return self._peek(self._creates, now)

    def next_other(self, now: float) -> Job | None:
        """The append or finish whose turn it is, or None."""
        return self._peek(self._others, now)

    def next_due(self) -> tuple[float | None, float | None]:
        """When the first create and the first other job are due; None where there is none."""
        return self._first(self._creates), self._first(self._others)

    def start(self, job: Job) -> None:
        """The job is being sent: nothing of its trace may go meanwhile."""
        job.in_flight = True
        self._lines[job.parcel.line].ticket = 0

    def retry(self, job: Job, at: float) -> None:
        """The job goes back to the head of its line, due at `at`."""
        job.in_flight = False
        line = self._lines.get(job.parcel.line)
        if line is not None and line.jobs and line.jobs[0] is job:
            self._schedule(job.parcel.line, line, at)

    def finish(self, job: Job, now: float, *, next_at: float | None = None) -> None:
        """The job is done (delivered or given up): the next of its trace may go, at `next_at` the earliest."""
        job.in_flight = False
        trace_id = job.parcel.line
        line = self._lines.get(trace_id)
        if line is None or job not in line.jobs:
            return
        line.jobs.remove(job)
        self._bytes -= job.parcel.size
        if line.jobs:
            self._schedule(trace_id, line, now if next_at is None else next_at)
        else:
            del self._lines[trace_id]

    def replace(self, job: Job, pieces: tuple[Parcel, ...], now: float) -> None:
        """Put other content of the same trace in the place of a job: the first piece for it, the rest behind it."""
        line = self._lines[job.parcel.line]
        self._bytes += sum(piece.size for piece in pieces) - job.parcel.size
        job.parcel = pieces[0]
        for index, piece in enumerate(pieces[1:], 1):
            line.jobs.insert(index, Job(piece))
        self.retry(job, now)

    def adopt(self, job: Job, project: str, now: float) -> None:
        """The trace's root is not coming: its waiting spans become a trace of their own, under a derived id."""
        old = self._lines.pop(job.parcel.line)
        for waiting in list(old.jobs):
            self._bytes -= waiting.parcel.size
        job.in_flight = False
        for index, waiting in enumerate(list(old.jobs)):
            adopted = waiting.parcel.adopted(project)
            self.put(adopted if index == 0 else replace(adopted, step=Step.APPEND), now)

    def _schedule(self, key: str, line: _Line, at: float) -> None:
        line.ready_at = at
        line.ticket = next(self._tickets)
        heap = self._creates if line.jobs[0].parcel.step is Step.CREATE else self._others
        heapq.heappush(heap, (at, line.ticket, key))

    def _peek(self, heap: list[tuple[float, int, str]], now: float) -> Job | None:
        at = self._first(heap)
        if at is None or at > now:
            return None
        return self._lines[heap[0][2]].jobs[0]

    def _first(self, heap: list[tuple[float, int, str]]) -> float | None:
        while heap:
            at, ticket, trace_id = heap[0]
            line = self._lines.get(trace_id)
            if line is not None and line.ticket == ticket:
                return at
            heapq.heappop(heap)
        return None

    def _evict(self, *, spare: Job) -> list[Job]:
        """Make room: the oldest traces go first, those with errors last, those under way never."""
        evicted: list[Job] = []
        for errors_too in (False, True):
            if self._bytes <= self._max_bytes:
                break
            for trace_id, line in list(self._lines.items()):
                if self._bytes <= self._max_bytes:
                    break
                if line.jobs[0].in_flight or spare in line.jobs:
                    continue
                if not errors_too and any(job.parcel.is_error for job in line.jobs):
                    continue
                evicted.extend(line.jobs)
                self._bytes -= sum(job.parcel.size for job in line.jobs)
                del self._lines[trace_id]
        if self._bytes > self._max_bytes and spare.parcel.size > self._max_bytes:
            line = self._lines[spare.parcel.line]
            line.jobs.remove(spare)
            self._bytes -= spare.parcel.size
            evicted.append(spare)
            if not line.jobs:
                del self._lines[spare.parcel.line]
        return evicted
