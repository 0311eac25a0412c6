"""The outbox of a delivery with a spool: what it holds is on disk too, and what it has no room for is there alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pandaprobe_otel.delivery.outbox import Job, MemoryOutbox
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.spool.commands import Bury, Command, Done, Insert, Park, RememberCap, Rewrite
from pandaprobe_otel.delivery.spool.memory_side import Loaded
from pandaprobe_otel.delivery.spool.rows import OWN, Place


class SpooledOutbox(MemoryOutbox):
    """A `MemoryOutbox` that tells the spool's thread what comes and goes. Does no I/O itself."""

    packs = False  # what there is no room for is on disk
    patience_min = math.inf  # there is room for hours: what comes by day may go at night

    def __init__(
        self,
        max_bytes: int,
        *,
        ask: Callable[[Command], None],
        lags: Callable[[], bool],
        rows: Callable[[], int],
        full: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`full`: the part of the spool's bound that is taken."""
        super().__init__(max_bytes)
        self._full = full
        self._ask = ask
        self._lags = lags
        self._rows = rows
        self._places: dict[Job, Place] = {}
        self._parked_lines: set[int] = set()
        """Hashes of traces whose create is on disk alone: what follows it must not overtake it."""
        self._arriving: Loaded | None = None
        self._leaving = False
        self.saves = True
        """False while the disk cannot be written."""

    def __iter__(self) -> Iterator[Job]:
        jobs = super().__iter__()
        return (job for job in jobs if job not in self._places) if self._leaving else jobs

    @property
    def fill(self) -> float:
        """How full the spool is, or, when the disk has failed, the memory."""
        return self._full() if self.saves else super().fill

    # -- what comes and goes ------------------------------------------------------------------------------------------

    def put(self, parcel: Parcel, now: float) -> list[Job]:
        """As `MemoryOutbox.put`; what there is no room for goes to disk instead of anything being evicted."""
        overtakes = hash(parcel.line) in self._parked_lines
        has_room = self.bytes + parcel.size <= self._max_bytes
        if self._arriving is None and (overtakes or not has_room) and self._can_save:
            self._ask(Insert(self._new_place(parcel), parcel, None))
            self._note_parked(parcel)
            return []
        return super().put(parcel, now)

    def load(self, loaded: Loaded, put: Callable[[Parcel, float], None], now: float) -> None:
        """Let `put` (the dispatcher's) take a parcel that comes from the disk."""
        self._parked_lines.discard(hash(loaded.parcel.line))
        self._arriving = loaded
        put(loaded.parcel, now)
        self._arriving = None

    def finish(self, job: Job, now: float, *, next_at: float | None = None) -> None:
        """As `MemoryOutbox.finish`."""
        super().finish(job, now, next_at=next_at)
        place = self._places.pop(job, None)
        if place is not None:
            self._ask(Done(place))

    def replace(self, job: Job, pieces: tuple[Parcel, ...], now: float) -> None:
        """As `MemoryOutbox.replace`; each piece is kept by itself, so that none is lost when another was delivered."""
        super().replace(job, pieces, now)
        place = self._places.get(job)
        if place is not None and len(pieces) > 1:
            self._rewrite(job, place)

    def adopt(self, job: Job, project: str, now: float) -> None:
        """As `MemoryOutbox.adopt`."""
        places = [self._places.pop(waiting, None) for waiting in self._lines[job.parcel.line].jobs]
        super().adopt(job, project, now)
        for place in places:
            if place is not None:
                self._ask(Done(place))

    def bury(self, job: Job, words: str) -> None:
        """The server refused the job's parcel: keep it as a dead letter."""
        self._ask(Bury(job.parcel, words))

    def remember_cap(self, size: int) -> None:
        """The server takes no larger body than this: the next process need not find that out."""
        self._ask(RememberCap(size))

    def _insert(self, line: Any, index: int, job: Job) -> None:
        super()._insert(line, index, job)
        arriving, self._arriving = self._arriving, None  # the parcel may have been divided: the rest is new
        if arriving is None:
            self._save(job)
            return
        self._places[job] = arriving.place
        job.in_doubt = job.in_doubt or (arriving.in_doubt and job.parcel.step is Step.CREATE)
        if job.parcel is not arriving.parcel:
            self._rewrite(job, arriving.place)

    def _evict(self) -> list[Job]:
        if self._can_save:
            return []  # what there is no room for was not let in; one large parcel from the disk may exceed it
        return [job for job in super()._evict() if not self._park(job)]

    # -- what the spool's thread reports ------------------------------------------------------------------------------

    def adopted(self, lines: Iterable[str]) -> None:
        """Creates of these traces are on disk now."""
        self._parked_lines.update(hash(line) for line in lines)

    def forget_lines(self, lines: Iterable[str]) -> None:
        """Parcels of these traces are not on disk any more."""
        self._parked_lines.difference_update(hash(line) for line in lines)

    def gave_up(self) -> None:
        """Nothing is on disk from now on."""
        self.saves = False
        self._places.clear()
        self._parked_lines.clear()

    def unsave(self, jobs: Iterable[Job]) -> None:
        """The disk did not take these."""
        self.saves = False
        for job in jobs:
            self._places.pop(job, None)

    def forget_places(self, file: int) -> None:
        """A file is gone."""
        self._places = {job: place for job, place in self._places.items() if place.file != file}

    def save_all(self) -> None:
        """Ask for everything to be kept that is in memory alone."""
        self.saves = True
        for job in super().__iter__():
            if job not in self._places:
                self._save(job)

    def leave(self) -> None:
        """At the end of the process: what is on disk stays there, and only the rest can be dropped."""
        self._leaving = True
        for job, place in self._places.items():
            if not job.attempts and not job.in_flight:
                self._ask(Park(place, in_doubt=False))

    @property
    def unsaved(self) -> int:
        """Jobs that are in memory alone."""
        return sum(job not in self._places for job in super().__iter__())

    @property
    def saved_spans(self) -> int:
        """Spans of the jobs that are on disk."""
        return sum(place.spans for place in self._places.values())

    # -- places -------------------------------------------------------------------------------------------------------

    @property
    def _can_save(self) -> bool:
        return self.saves and not self._lags()

    def _new_place(self, parcel: Parcel) -> Place:
        return Place(OWN, self._rows(), parcel.size, len(parcel.spans))

    def _save(self, job: Job) -> None:
        if self._can_save:
            place = self._places[job] = self._new_place(job.parcel)
            self._ask(Insert(place, job.parcel, job))

    def _rewrite(self, job: Job, place: Place) -> None:
        parcel = job.parcel
        self._places[job] = Place(place.file, place.row, parcel.size, len(parcel.spans))
        self._ask(Rewrite(place, parcel))

    def _park(self, job: Job) -> bool:
        place = self._places.pop(job, None)
        if place is None:
            return False
        self._ask(Park(place, in_doubt=job.attempts > 0 or job.in_doubt))
        self._note_parked(job.parcel)
        return True

    def _note_parked(self, parcel: Parcel) -> None:
        if parcel.step is Step.CREATE:
            self._parked_lines.add(hash(parcel.line))
