"""A keeper of spool files without threads, and the memory beside it as plain lists."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Job
from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.delivery.spool.adoption import Adoption
from pandaprobe_otel.delivery.spool.commands import Insert
from pandaprobe_otel.delivery.spool.destination import Destination
from pandaprobe_otel.delivery.spool.folder import SpoolFolder
from pandaprobe_otel.delivery.spool.keeper import MAX_BYTES, Keeper
from pandaprobe_otel.delivery.spool.memory_side import Loaded
from pandaprobe_otel.delivery.spool.rows import OWN, Count, JournalRow, Place, TraceState

DESTINATION = Destination(endpoint="http://127.0.0.1:1", project="shop", api_key="sk_pp_1")


@dataclass(eq=False)
class ListMemory:
    """The memory side of a keeper: everything that it is told, in lists."""

    space: int = 1 << 30
    loaded: list[Loaded] = field(default_factory=list[Loaded])
    adopted_count: Count = field(default_factory=Count)
    lines: set[str] = field(default_factory=set[str])
    losses: list[tuple[str, Count]] = field(default_factory=list["tuple[str, Count]"])
    unsaved: list[Job | Parcel] = field(default_factory=list["Job | Parcel"])
    forgotten: list[int] = field(default_factory=list[int])
    asked_to_save: int = 0

    def room(self) -> int:
        return max(self.space - sum(loaded.place.size for loaded in self.loaded), 0)

    def load(self, parcels: Sequence[Loaded]) -> None:
        self.loaded += parcels

    def adopted(self, count: Count, lines: Iterable[str]) -> None:
        self.adopted_count += count
        self.lines.update(lines)

    def lost(self, reason: str, count: Count) -> None:
        if count.parcels:
            self.losses.append((reason, count))

    def unsave(self, jobs: Iterable[Job], parked: Iterable[Parcel]) -> None:
        self.unsaved += [*jobs, *parked]

    def forget_places(self, file: int) -> None:
        self.forgotten.append(file)

    def save_all(self) -> None:
        self.asked_to_save += 1


class Run:
    """One process's use of a spool directory: a keeper, as its thread would drive it."""

    def __init__(
        self, folder: Path, *, destination: Destination = DESTINATION, max_bytes: int = MAX_BYTES, space: int = 1 << 30
    ) -> None:
        self.now = 0.0
        self.memory = ListMemory(space=space)
        self._rows = itertools.count(_next_start()).__next__
        self.folder = SpoolFolder(folder, destination)
        notices = Notices(lambda: self.now)
        self.keeper = Keeper(
            folder=self.folder,
            memory=self.memory,
            notices=notices,
            adoption=Adoption(
                folder=self.folder,
                memory=self.memory,
                notices=notices,
                recover=self._recover,
                rows=self._rows,
                monotonic=lambda: self.now,
            ),
            max_bytes=max_bytes,
            monotonic=lambda: self.now,
        )
        self.journal: list[JournalRow] = []
        self.states: list[TraceState] = []

    def insert(self, *parcels: Parcel, in_memory: bool = True) -> list[Place]:
        """Have parcels written; return where."""
        places = [Place(OWN, self._rows(), parcel.size, len(parcel.spans)) for parcel in parcels]
        self.keeper.apply(
            Insert(place, parcel, Job(parcel) if in_memory else None)
            for place, parcel in zip(places, parcels, strict=True)
        )
        return places

    def load_everything(self) -> list[Loaded]:
        """Scan, then bring to memory all that is on disk alone."""
        self.keeper.scan()
        while self.keeper.refill():
            pass
        return self.memory.loaded

    def die(self) -> None:
        """End as kill -9 would: the kernel closes every file."""
        for file in list(self.folder.files.values()):
            file.release()
        self.folder.files.clear()

    def _recover(self, rows: Sequence[JournalRow], states: Sequence[TraceState]) -> Sequence[Parcel]:
        self.journal += rows
        self.states += states
        return ()


_starts = itertools.count(1_000_000, 1_000_000)


def _next_start() -> int:
    return next(_starts)
