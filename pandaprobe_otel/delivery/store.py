"""Messages between an outbox and the disk storage of its waiting requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest

if TYPE_CHECKING:
    from pandaprobe_otel.delivery.job import Job
    from pandaprobe_otel.delivery.spool.rows import JournalChange


@dataclass(frozen=True, slots=True)
class Place:
    """Place of a request on disk: the number of the file in this process, the row, and its size and spans."""

    file: int
    row: int
    size: int
    spans: int = 0


@dataclass(slots=True, kw_only=True)
class Changes:
    """Changes to write in one transaction."""

    added: dict[Job, None] = field(default_factory=dict["Job", None])
    rewritten: dict[Job, None] = field(default_factory=dict["Job", None])
    started: list[Place] = field(default_factory=list[Place])
    """Places whose requests may be sent from now on."""
    removed: list[Place] = field(default_factory=list[Place])
    refused: list[tuple[OutgoingRequest, str]] = field(default_factory=list[tuple[OutgoingRequest, str]])
    """Refused requests, with the server's words."""
    body_cap: int | None = None
    """Size of the largest body that the server accepts."""
    journal: list[JournalChange] = field(default_factory=list["JournalChange"])

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to write."""
        return not (self.added or self.removed or self.started or self.journal or self._is_rare)

    @property
    def _is_rare(self) -> bool:
        return bool(self.rewritten or self.refused or self.body_cap is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Request of a dead process, without its content. `in_doubt`: that process may have sent it."""

    place: Place
    request: OutgoingRequest
    in_doubt: bool
    waited_s: float


@dataclass(slots=True, kw_only=True)
class Tended:
    """Changes from outside: requests that were found, and jobs that are gone."""

    found: list[Found] = field(default_factory=list[Found])
    gone: list[tuple[Job, str]] = field(default_factory=list["tuple[Job, str]"])
    """Jobs whose content cannot be read any more, that are too old, or that have no room, each with the reason."""
    damaged_spans: int = 0
    """Unreadable spans of other processes."""
    works_again: bool = False
    """True if jobs that are only in memory can be written."""
    body_cap: int | None = None
