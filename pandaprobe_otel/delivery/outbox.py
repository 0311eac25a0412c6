"""Requests that wait to be sent: a queue for each trace, bounded in bytes, with content in memory or on disk."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pandaprobe_otel.delivery.job import Changes, Found, Job, Line, Tended
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.schedule import Schedule

if TYPE_CHECKING:
    from pandaprobe_otel.delivery.spool.rows import JournalChange
    from pandaprobe_otel.delivery.spool.store import SpoolStore
    from pandaprobe_otel.mapping.encoded_spans import EncodedSpans

PACK_ABOVE: Final = 4 << 20
"""Bytes that may wait uncompressed. Beyond that, traces arrive faster than they are sent and will wait for a while."""
MAX_AGE_S: Final = 7 * 24 * 3600.0
"""Longest wait on disk. Older requests are dropped: nobody looks at last week's trace if it appears today."""
LOOK_AFTER_S: Final = 5.0
"""Delay after which a request that a process sent just before its death must have arrived."""
_READ_AGAIN_S: Final = 1.0


class Outbox:
    """Jobs by trace. Not thread-safe: its owner calls it under one lock, and calls `save` before releasing the lock.

    Without a store, content waits in memory. With a store, `save` writes the content there and removes it from memory;
    it is loaded when its request is about to be sent. If the store fails, nothing is lost, but the memory's bound
    applies again.
    """

    def __init__(
        self,
        max_bytes: int,
        store: SpoolStore | None = None,
        *,
        keeps_all: bool = False,
        look_after_s: float = LOOK_AFTER_S,
    ) -> None:
        """Bound the outbox to `max_bytes` of memory. A job in the store takes about 600 bytes of memory.

        `keeps_all`: nothing is evicted; the caller of `put` must stop before `fill` reaches 1.
        """
        self.keeps_all = keeps_all
        self._look_after_s = look_after_s
        self._is_over = False
        self._max_bytes = max_bytes
        self._store = store
        self.has_store = store is not None
        """True if there is a store, so that changes must be saved. Without one, `save` and `inspect` do nothing."""
        self._changes = Changes()
        self.bytes = 0
        """Bytes of memory of the waiting jobs."""
        self._count = self._saved = 0
        self._lines: OrderedDict[str, Line] = OrderedDict()
        self.schedule = Schedule(keeps_all=keeps_all)
        self._unpacked: dict[Job, None] = {}
        """Jobs that came while little was waiting. Above `PACK_ABOVE`, each newer job packs one of these."""
        self._loaded: dict[Job, int] = {}
        """Bytes of contents that were loaded from the store for sending. Dropping waiting jobs frees none of them."""

    @property
    def fill(self) -> float:
        """Used share of the bound of memory or disk, whichever is fuller; from 0 to 1."""
        in_memory = self.bytes / self._max_bytes
        return min(in_memory if self._store is None else max(in_memory, self._store.fill), 1.0)

    @property
    def is_done(self) -> bool:
        """True if nothing waits, nothing is under way, and the disk has been searched."""
        return self._count == 0 and (self._store is None or not self._store.has_more)

    @property
    def unsaved(self) -> list[Job]:
        """Jobs that are in memory only."""
        return list(self) if self._store is None else [job for job in self if job.place is None]

    @property
    def saved_spans(self) -> int:
        """Spans of the jobs that are on disk."""
        return sum(job.request.span_count for job in self if job.place is not None)

    @property
    def is_kept(self) -> bool:
        """True if all waiting requests would survive the process."""
        return self._count == self._saved

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Job]:
        return (job for line in self._lines.values() for job in line.jobs)

    def put(self, request: Parcel, now: float) -> list[tuple[Job, str]]:
        """Add a request at the end of its trace's line; return the jobs evicted for it, with the reason.

        A create is added before requests that wait for its trace to be stored.
        """
        if is_crowded := self._store is None and self.bytes > PACK_ABOVE:
            request = request.closed()
            self._pack_one()
        job = Job(request, since=now, in_doubt=request.step is Step.SCORE)
        self._insert(job, now, now)
        if self._store is None:
            if not is_crowded:
                self._unpacked[job] = None
            return self._evict() if self.bytes > self._max_bytes else []
        if self._store.works:  # it is about to take the content out of memory
            self._changes.added[job] = None
            return []
        return self._evict()

    def start(self, job: Job, now: float) -> None:
        """Mark an opened job as under way: no other request of its trace may be sent meanwhile."""
        job.in_flight = True
        if job.request.step is Step.CREATE:
            self.schedule.serve(job.request, now)
            if job.place is not None and not job.in_doubt:
                self._changes.started.append(job.place)
        self.schedule.remove(job.line)

    def open(self, job: Job, now: float) -> bool:
        """Load the job's content in the form to send; return False if the job must wait for its content."""
        if job.request.packed:
            self._exchange(job, job.request.opened())
        elif job.request.is_bare:
            content = None if self._store is None or job.place is None else self._store.read(job.place)
            if content is None:  # `inspect` will find out whether it is lost
                self.retry(job, now + _READ_AGAIN_S)
                return False
            self._loaded[job] = 0
            self._exchange(job, _filled(job.request, content))
        return True

    def retry(self, job: Job, at: float) -> None:
        """Put the job back at the head of its line, due at `at`."""
        job.in_flight = False
        line = job.line
        if not line.jobs or line.jobs[0] is not job:
            return
        self._close(job)
        if self.has_create(job):
            line.jobs[:2] = line.jobs[1], job
            at = line.jobs[0].since
        self.schedule.add(line, at)

    def has_create(self, job: Job) -> bool:
        """Return whether this process is about to post the trace that the job adds to."""
        jobs = job.line.jobs
        return job.request.step is not Step.CREATE and len(jobs) > 1 and jobs[1].request.step is Step.CREATE

    def with_it(self, job: Job) -> list[Job]:
        """Return the job and all jobs that wait behind it."""
        return [*job.line.jobs] or [job]

    def finish(self, job: Job, now: float, *, next_at: float | None = None) -> None:
        """Remove a job that was delivered or given up. The next job of its trace is due at `next_at`."""
        job.in_flight = False
        line = job.line
        if job not in line.jobs:
            return
        if line.ticket:
            self.schedule.remove(line)
        line.jobs.remove(job)
        self._unpacked.pop(job, None)
        self._loaded.pop(job, None)
        self.bytes -= job.size
        self._count -= 1
        self._changes.added.pop(job, None)
        self._changes.rewritten.pop(job, None)
        if job.place is not None:
            self._saved -= 1
            self._changes.removed.append(job.place)
        if line.jobs:
            self.schedule.add(line, now if next_at is None else next_at)
        else:
            del self._lines[line.key]

    def replace(self, job: Job, pieces: tuple[Parcel, ...], now: float) -> None:
        """Replace a job's content by parts of it: the first takes the job's place, the others follow it."""
        if job not in job.line.jobs:
            return
        self._exchange(job, pieces[0])
        if job.place is not None:
            self._changes.rewritten[job] = None
        for index, piece in enumerate(pieces[1:], 1):
            new = Job(piece, since=job.since)
            self._insert(new, now, now, index)
            if self._store is not None and self._store.works:
                self._changes.added[new] = None
        self.retry(job, now)

    def amend(self, job: Job, request: Parcel) -> None:
        """Change the content sent for a job this time; its content on disk stays unchanged."""
        job.is_amended = True
        self._exchange(job, request)

    def adopt(self, job: Job, project: str, now: float) -> None:
        """Make a trace's waiting spans a separate trace under a derived id, because its root is not coming."""
        job.in_flight = False
        opened = [waiting for waiting in self.with_it(job) if self.open(waiting, now)]
        requests = [waiting.request.adopted(project) for waiting in opened]
        for waiting in opened:
            self.finish(waiting, now)
        for index, adopted in enumerate(requests):
            self.put(adopted if index == 0 else replace(adopted, step=Step.APPEND), now)

    # -- the store ----------------------------------------------------------------------------------------------------

    def save(self, journal: Sequence[JournalChange] = ()) -> bool:
        """Write the changes since the last call, with the journal; return whether that was possible."""
        if self._store is None:
            return True
        changes = self._changes
        changes.journal += journal
        if changes.is_empty:
            return self._store.works
        self._changes = Changes()
        saved = self._store.write(changes)
        self._saved += sum(job.place is not None for job in changes.added)
        for job in changes.rewritten:
            job.is_amended = job.is_amended or not saved
        for job in (*changes.added, *changes.rewritten):
            self._close(job)
        self._is_over = not self.keeps_all and (self._is_heavy or self._store.excess > 0)
        return saved

    @property
    def inspect_at(self) -> float:
        """Time at which to call `inspect` (monotonic)."""
        if self._store is None:
            return math.inf
        return -math.inf if self._is_over else self._store.tend_at

    def inspect(self, now: float) -> Tended:
        """Take over the requests of dead processes; give up jobs that are lost, too old or beyond the bound.

        Call this at `inspect_at`.
        """
        store = self._store
        if store is None:
            return Tended()
        tended = store.tend(self.__iter__, now)
        for job, _ in tended.gone:
            self.finish(job, now)
        saved = [job for job in self if job.place is not None and not job.in_flight]
        for job in (old := [job for job in saved if now - job.since > MAX_AGE_S]):
            self.finish(job, now)
        tended.gone += [(job, "expired") for job in old]
        for found in tended.found:
            self._take_over(found, now)
        if tended.works_again:
            self._saved = sum(job.place is not None for job in self)
            self._changes.added.update((job, None) for job in self if job.place is None)
        self.save(tended.journal)
        tended.gone += self._evict()
        self.save()
        self._is_over = False  # within the bound, or all remaining jobs are under way
        return tended

    def refused(self, job: Job, words: str) -> None:
        """Keep a refused request with the server's words, if there is a store."""
        if self._store is None:
            return
        request = job.request.opened()
        if request.is_bare and job.place is not None and (content := self._store.read(job.place)) is not None:
            request = _filled(request, content)
        self._changes.refused.append((request, words))

    def remember_cap(self, size: int) -> None:
        """Remember the size of the largest body that the server accepts, for processes that share the store."""
        self._changes.body_cap = size

    def leave(self) -> None:
        """Close the store at the end of the process. Requests on disk stay there."""
        if self._store is not None:
            self.save()
            self._store.close()

    def before_fork(self) -> None:
        """Close everything that must not cross a fork."""
        if self._store is not None:
            self._store.before_fork()

    def abandon(self, *, is_quiet: bool) -> None:
        """Give up, in a forked child, all requests, because they belong to the parent.

        `is_quiet`: no thread wrote to the disk during the fork.
        """
        for line in self._lines.values():  # a line and its jobs refer to each other: free them without the collector
            line.jobs.clear()
            line.queue = None
        if self._store is not None:
            self._store.abandon(is_quiet=is_quiet)

    @property
    def _is_heavy(self) -> bool:
        return self.bytes - sum(self._loaded.values()) > self._max_bytes

    def _take_over(self, found: Found, now: float) -> None:
        doubt = found.request.step is Step.SCORE or (found.in_doubt and found.request.step is Step.CREATE)
        job = Job(found.request, since=now - found.waited_s, in_doubt=doubt, place=found.place)
        self._insert(job, now + self._look_after_s if found.in_doubt else now, now)
        self._saved += 1

    def _close(self, job: Job) -> None:
        """Drop the job's content from memory if the disk has it."""
        has_changed = job.in_flight or job.is_amended or job in self._changes.rewritten
        if job.place is not None and not (has_changed or job.request.is_bare):
            self._exchange(job, job.request.bare())
            self._loaded.pop(job, None)

    def _exchange(self, job: Job, request: Parcel) -> None:
        size = request.size
        self.bytes += size - job.size
        if job in self._loaded:
            self._loaded[job] += size - job.size
        job.request, job.size = request, size

    def _pack_one(self) -> None:
        while self._unpacked:
            job, _ = self._unpacked.popitem()
            if not job.in_flight:
                self._exchange(job, job.request.closed())
                return

    # -- places ---------------------------------------------------------------------------------------------------

    def _insert(self, job: Job, at: float, now: float, index: int | None = None) -> None:
        """Insert a job into its trace's line: at the end, or a create before requests that wait for its trace."""
        key = job.request.line
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(key)
        jobs = line.jobs
        if index is None:
            is_first = jobs and job.request.step is Step.CREATE and jobs[0].request.step is not Step.CREATE
            index = int(jobs[0].in_flight) if is_first else len(jobs)
        jobs.insert(index, job)
        job.line, job.size = line, job.request.size
        self.bytes += job.size
        self._count += 1
        if index == 0:
            self.schedule.add(line, at, now)

    def _evict(self) -> list[tuple[Job, str]]:
        """Make room by the rules of `TokenQueue`; jobs that are not due yet are evicted last."""
        evicted: list[tuple[Job, str]] = []
        if self.keeps_all:
            return evicted
        excess = 0 if self._store is None else self._store.excess
        while self._is_heavy or excess > 0:
            line = self.schedule.victim()
            if line is None:
                line = next((line for line in self._lines.values() if not line.jobs[0].in_flight), None)
            if line is None:
                break
            for job in list(line.jobs):
                evicted.append((job, "queue_full" if job.place is None else "spool_full"))
                excess -= 0 if job.place is None else job.place.size
                self.finish(job, 0.0)
        return evicted


def _filled(request: Parcel, content: tuple[bytes, EncodedSpans]) -> Parcel:
    return replace(request, fields=content[0], spans=content[1], is_bare=False, closed_spans=0)
