"""What the spool's thread needs of the part of delivery that lives in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pandaprobe_otel.delivery.outbox import Job
from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.delivery.spool.rows import Count, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A parcel that comes back from the disk. `in_doubt`: a process that is gone may have sent it."""

    place: Place
    parcel: Parcel
    in_doubt: bool


class MemorySide(Protocol):
    """Each call takes the lock of delivery for a moment; none does I/O."""

    def room(self) -> int:
        """Bytes that may be loaded now; 0 while there is enough in memory."""
        ...

    def load(self, parcels: Sequence[Loaded]) -> None:
        """Take parcels into memory: their turn is near."""
        ...

    def adopted(self, count: Count, lines: Iterable[str]) -> None:
        """Parcels of a dead process are this one's from now on; `lines` are those of traces still to be created."""
        ...

    def lost(self, reason: str, count: Count, lines: Iterable[str] = ()) -> None:
        """Parcels that were on disk alone are gone; `lines`: their traces, where they are known."""
        ...

    def learned_cap(self, size: int) -> None:
        """An earlier process has found that the server takes no larger body than this."""
        ...

    def gave_up(self) -> None:
        """The spool does not work any more, for a fault of ours: nothing is on disk from now on."""
        ...

    def unsave(self, jobs: Iterable[Job], parked: Iterable[Parcel]) -> None:
        """The disk did not take these: the jobs are in memory alone, the parcels are to go there."""
        ...

    def forget_places(self, file: int) -> None:
        """A file is gone: what is in memory of it is in memory alone."""
        ...

    def save_all(self) -> None:
        """The disk can be written: ask for everything to be kept that is in memory alone."""
        ...
