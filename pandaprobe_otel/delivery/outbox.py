"""What waits to be sent: one queue for each trace, in memory, bounded in bytes."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.tail_sampler import PATIENCE_MIN
from pandaprobe_otel.delivery.turns import Turns

PACK_ABOVE: Final = 4 << 20
"""Bytes that may wait as they are. Above, traces come faster than they go, and will wait for some time."""


@dataclass(slots=True, eq=False)
class Job:
    """A parcel with the state of its delivery."""

    parcel: Parcel
    attempts: int = 0
    server_errors: int = 0
    """Errors of the server right after it had answered another request well."""
    in_doubt: bool = False
    """Look whether the trace is there before sending (again): a create got no answer, or this is a score."""
    repairs: int = 0
    not_found_since: float | None = None
    looks: int = 0
    """How often its root was not there."""
    is_below_cut: bool = False
    """At the first look the fleet left out traces of this randomness; see `Admission.fate`."""
    saw_overload: bool = False
    """At one of the looks the fleet left out some."""
    in_flight: bool = False
    since: float = 0.0
    """When the parcel came."""


@dataclass(slots=True, eq=False)
class _Line:
    """The jobs of one trace: only the first may go, since later ones build on it."""

    jobs: list[Job] = field(default_factory=list[Job])
    ticket: int = 0
    """Number of the entry (of a heap, or of the turns) that counts; entries with another number are stale."""
    is_waiting_for_token: bool = False


class MemoryOutbox:
    """Jobs by trace. Not thread-safe: its owner calls it under one lock.

    A line waits in one of three places: in a heap until its time has come, then, if it begins with a create, for its
    turn to take a token; or nowhere, while its first job is under way.
    """

    packs = True
    """Whether what comes while much waits already is compressed."""
    patience_min = PATIENCE_MIN
    """Minutes of sending that may wait before traces are left out; see `TailSampler`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._count = 0
        self._lines: OrderedDict[str, _Line] = OrderedDict()
        self._creates: list[tuple[float, int, str]] = []
        self._others: list[tuple[float, int, str]] = []
        self._turns = Turns(self._is_current)
        self._tickets = itertools.count(1)

    @property
    def bytes(self) -> int:
        """Bytes that the waiting jobs take."""
        return self._bytes

    @property
    def fill(self) -> float:
        """The share of the bound that they take; from 0 to 1."""
        return self._bytes / self._max_bytes

    @property
    def waiting_for_tokens(self) -> int:
        """Traces whose turn to take a token has not come."""
        return len(self._turns)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Job]:
        return (job for line in self._lines.values() for job in line.jobs)

    def put(self, parcel: Parcel, now: float) -> list[Job]:
        """Add a parcel at the end of its trace's line; return the jobs that had to go for it (not delivered).

        A create goes before whatever waits for its trace to be there.
        """
        if self.packs and self._bytes > PACK_ABOVE:
            parcel = parcel.closed()
        line = self._lines.setdefault(parcel.line, _Line())
        comes_first = parcel.step is Step.CREATE and bool(line.jobs) and line.jobs[0].parcel.step is not Step.CREATE
        is_held = comes_first and line.jobs[0].in_flight
        index = is_held if comes_first else len(line.jobs)
        self._insert(line, index, Job(parcel, since=now, in_doubt=parcel.step is Step.SCORE))
        if index == 0:
            self._schedule(parcel.line, line, now)
            self._queue_for_tokens(now)
        return self._evict()

    def next_create(self, now: float) -> Job | None:
        """The create whose turn it is, or None."""
        self._queue_for_tokens(now)
        key = self._turns.next()
        return None if key is None else self._lines[key].jobs[0]

    def next_other(self, now: float) -> Job | None:
        """The append, finish or score whose turn it is, or None."""
        at = self._first(self._others)
        return None if at is None or at > now else self._lines[self._others[0][2]].jobs[0]

    def next_due(self, now: float) -> tuple[float | None, float | None]:
        """When the first create and the first other job are due; None where there is none."""
        create_at = now if self._turns.next() is not None else self._first(self._creates)
        return create_at, self._first(self._others)

    def start(self, job: Job, now: float) -> None:
        """The job is being sent: nothing of its trace may go meanwhile."""
        job.in_flight = True
        self.open(job)
        if job.parcel.step is Step.CREATE:
            self._turns.serve(name=job.parcel.name, is_error=job.parcel.is_error, now=now)
        self._unschedule(self._lines[job.parcel.line])

    def open(self, job: Job) -> None:
        """Bring the job's content back to the form in which it is sent."""
        if job.parcel.packed:
            self.amend(job, job.parcel.opened())

    def retry(self, job: Job, at: float) -> None:
        """The job goes back to the head of its line, due at `at`."""
        job.in_flight = False
        line = self._lines.get(job.parcel.line)
        if line is None or not line.jobs or line.jobs[0] is not job:
            return
        if self.has_create(job):
            line.jobs[:2] = line.jobs[1], job
            at = line.jobs[0].since
        self._schedule(job.parcel.line, line, at)

    def has_create(self, job: Job) -> bool:
        """Whether the trace that a job adds to is about to be posted by this process."""
        line = self._lines.get(job.parcel.line)
        follows = line.jobs[1].parcel.step if line is not None and len(line.jobs) > 1 else None
        return job.parcel.step is not Step.CREATE and follows is Step.CREATE

    def with_it(self, job: Job) -> list[Job]:
        """The job and all that waits behind it."""
        line = self._lines.get(job.parcel.line)
        return list(line.jobs) if line is not None else [job]

    def finish(self, job: Job, now: float, *, next_at: float | None = None) -> None:
        """The job is done (delivered or given up): the next of its trace may go, at `next_at` the earliest."""
        job.in_flight = False
        key = job.parcel.line
        line = self._lines.get(key)
        if line is None or job not in line.jobs:
            return
        self._unschedule(line)
        line.jobs.remove(job)
        self._bytes -= job.parcel.size
        self._count -= 1
        if line.jobs:
            self._schedule(key, line, now if next_at is None else next_at)
        else:
            del self._lines[key]

    def replace(self, job: Job, pieces: tuple[Parcel, ...], now: float) -> None:
        """Put other content of the same trace in the place of a job: the first piece for it, the rest behind it."""
        line = self._lines[job.parcel.line]
        self._bytes += pieces[0].size - job.parcel.size
        job.parcel = pieces[0]
        for index, piece in enumerate(pieces[1:], 1):
            self._insert(line, index, Job(piece, since=job.since))
        self.retry(job, now)

    def bury(self, job: Job, words: str) -> None:
        """The server refused the job's parcel, in these words: without a spool, nothing is kept of it."""

    def remember_cap(self, size: int) -> None:
        """The server takes no larger body than this: without a spool, the process alone knows."""

    def amend(self, job: Job, parcel: Parcel) -> None:
        """Change a waiting job's content, not its place."""
        self._bytes += parcel.size - job.parcel.size
        job.parcel = parcel

    def adopt(self, job: Job, project: str, now: float) -> None:
        """The trace's root is not coming: its waiting spans become a trace of their own, under a derived id."""
        job.in_flight = False
        for index, waiting in enumerate(self._remove_line(job.parcel.line)):
            adopted = waiting.parcel.opened().adopted(project)
            self.put(adopted if index == 0 else replace(adopted, step=Step.APPEND), now)

    # -- places ---------------------------------------------------------------------------------------------------

    def _insert(self, line: _Line, index: int, job: Job) -> None:
        line.jobs.insert(index, job)
        self._bytes += job.parcel.size
        self._count += 1

    def _schedule(self, key: str, line: _Line, at: float) -> None:
        self._unschedule(line)
        line.ticket = next(self._tickets)
        heap = self._creates if line.jobs[0].parcel.step is Step.CREATE else self._others
        heapq.heappush(heap, (at, line.ticket, key))

    def _unschedule(self, line: _Line) -> None:
        line.ticket = 0
        if line.is_waiting_for_token:
            line.is_waiting_for_token = False
            parcel = line.jobs[0].parcel
            self._turns.remove(name=parcel.name, is_error=parcel.is_error)

    def _queue_for_tokens(self, now: float) -> None:
        """Move the creates whose time has come to where they wait for a token."""
        while (at := self._first(self._creates)) is not None and at <= now:
            _, ticket, key = heapq.heappop(self._creates)
            line = self._lines[key]
            line.is_waiting_for_token = True
            job = line.jobs[0]
            self._turns.add(
                key,
                ticket,
                name=job.parcel.name,
                is_error=job.parcel.is_error,
                is_slow=job.parcel.is_slow,
                since=job.since,
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

    def _remove_line(self, key: str) -> list[Job]:
        line = self._lines[key]
        self._unschedule(line)
        del self._lines[key]
        self._bytes -= sum(job.parcel.size for job in line.jobs)
        self._count -= len(line.jobs)
        return list(line.jobs)

    def _evict(self) -> list[Job]:
        """Make room by the rules of `Turns`; what waits for nothing but its time goes when nothing else is left."""
        evicted: list[Job] = []
        while self._bytes > self._max_bytes:
            key = self._turns.victim()
            if key is None:
                key = next((key for key, line in self._lines.items() if not line.jobs[0].in_flight), None)
            if key is None:
                break
            evicted += self._remove_line(key)
        return evicted
