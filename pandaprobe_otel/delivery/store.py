"""The interface between an outbox and the place on disk where the content of waiting parcels lies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pandaprobe_otel.delivery.parcel import Parcel

if TYPE_CHECKING:
    from pandaprobe_otel.delivery.outbox import Job
    from pandaprobe_otel.delivery.spool.rows import JournalChange


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a parcel on disk: the number of the file in this process, the row, and what it counts for."""

    file: int
    row: int
    size: int
    spans: int = 0


@dataclass(slots=True, kw_only=True)
class Changes:
    """Changes to be written in one transaction."""

    added: dict[Job, None] = field(default_factory=dict["Job", None])
    rewritten: dict[Job, None] = field(default_factory=dict["Job", None])
    started: list[Place] = field(default_factory=list[Place])
    """From now on these may have been sent."""
    removed: list[Place] = field(default_factory=list[Place])
    refused: list[tuple[Parcel, str]] = field(default_factory=list[tuple[Parcel, str]])
    """By the server, in these words."""
    body_cap: int | None = None
    """The server takes no larger body than this."""
    journal: list[JournalChange] = field(default_factory=list["JournalChange"])

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.added or self.removed or self.started or self.journal or self._is_rare)

    @property
    def _is_rare(self) -> bool:
        return bool(self.rewritten or self.refused or self.body_cap is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A parcel without its content that a process which is gone has left. `in_doubt`: that process may have sent it."""

    place: Place
    parcel: Parcel
    in_doubt: bool
    waited_s: float


@dataclass(slots=True, kw_only=True)
class Tended:
    """The result of looking after the store."""

    found: list[Found] = field(default_factory=list[Found])
    lost: list[Job] = field(default_factory=list["Job"])
    """Their content cannot be read any more."""
    damaged_spans: int = 0
    """Spans that others have left, and that cannot be read."""
    works_again: bool = False
    """Jobs that are in memory alone can be written."""
    body_cap: int | None = None


class Store(Protocol):
    """Not thread-safe: the outbox calls it, under the lock of delivery. No call raises."""

    @property
    def tend_at(self) -> float:
        """When `tend` is to be called (a monotonic time)."""
        ...

    @property
    def works(self) -> bool:
        """Whether what is written was kept the last time."""
        ...

    @property
    def fill(self) -> float:
        """The share of its bound that is taken."""
        ...

    @property
    def excess(self) -> int:
        """Bytes over the bound: so much has to go."""
        ...

    @property
    def has_more(self) -> bool:
        """Whether there is more to find than has been found so far."""
        ...

    def write(self, changes: Changes) -> bool:
        """Carry out changes, all or none; those that were `added` have places afterwards."""
        ...

    def read(self, place: Place) -> Parcel | None:
        """Read a parcel with its content; None when that cannot be done, now or ever."""
        ...

    def tend(self, jobs: Callable[[], Iterable[Job]], now: float) -> Tended:
        """Look for what others have left, and after what this process has there (`jobs`)."""
        ...

    def close(self) -> None:
        """The process ends: what is empty goes, the rest is anybody's."""
        ...

    def before_fork(self) -> None:
        """Close what must not cross a fork; it is opened again when it is needed."""
        ...

    def abandon(self, *, is_quiet: bool) -> None:
        """In a forked child: let go of everything of the parent's, without touching it.

        `is_quiet`: no thread of the parent was at work here when it forked.
        """
        ...
