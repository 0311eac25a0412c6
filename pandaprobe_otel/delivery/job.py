"""A job (a request in the outbox), a line (the jobs of one trace, in order), an attempt to send a job, and the messages
between the outbox and the disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pandaprobe_otel.delivery.budget import REQUEST_TIMEOUT_S, Lease
from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.transport.request_outcome import Request, for_ever

if TYPE_CHECKING:
    from pandaprobe_otel.delivery.schedule import TokenQueue
    from pandaprobe_otel.delivery.spool.rows import JournalChange

_MOST_READ: Final = 128 << 10
"""Bytes read of an answer. An error that names five hundred refused fields takes 75 KB; a success is not read."""
_MOST_LOOKED_AT: Final = 16 << 20
"""Bytes read of a trace that is looked up. The spans of a larger one cannot be determined."""


@dataclass(frozen=True, slots=True)
class Place:
    """Place of a request on disk: the number of the file in this process, the row, and its size and spans."""

    file: int
    row: int
    size: int
    spans: int = 0


@dataclass(slots=True, eq=False)
class Job:
    """A request with the state of its delivery."""

    request: Parcel
    attempts: int = 0
    server_errors: int = 0
    """Server errors that came right after another request had succeeded."""
    in_doubt: bool = False
    """True for a score and for a create without an answer: look the trace up before (re)sending."""
    may_be_scored: bool = False
    """True for a score whose answer may not have been its own: look the score up before sending it again."""
    repairs: int = 0
    not_found_since: float | None = None
    looks: int = 0
    """Look-ups that found no root."""
    is_below_cut: bool = False
    """True if, at the first look-up, the fleet left out traces of this randomness; see `Admission.fate`."""
    saw_overload: bool = False
    """True if, at any look-up, the fleet left out some traces."""
    in_flight: bool = False
    since: float = 0.0
    """Time at which the request arrived."""
    place: Place | None = None
    """Place of its content on disk; None if it has none."""
    size: int = 0
    """Bytes of memory of the request while the job is in the outbox."""
    line: Line = field(init=False, repr=False)
    """Line in the outbox."""
    is_amended: bool = False
    """True if the content differs from the one on disk."""


@dataclass(slots=True, eq=False)
class Line:
    """Jobs of one trace, in order. Only the first may be sent, because later ones depend on it."""

    key: str
    jobs: list[Job] = field(default_factory=list[Job])
    ticket: int = 0
    """Number of the line's current entry in a heap. Entries with other numbers are stale."""
    queue: TokenQueue | None = None
    """Queue in which the line waits for a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A request for a job. With `is_check`, it only looks up whether the server has the trace.

    A check precedes a score, and the repetition of a create whose outcome is unknown.
    """

    job: Job
    lease: Lease | None = None
    is_check: bool = False

    def request(self, timeout_s: float = REQUEST_TIMEOUT_S) -> Request:
        """Return the HTTP request of this attempt."""
        method, path = self.target.split(" ", 1)
        return Request(
            method=method,
            path=path,
            body=None if self.is_check else self.job.request.body(),
            timeout_s=timeout_s,
            most_read=_MOST_LOOKED_AT if self.is_check else _MOST_READ,
            time_left_s=for_ever if self.lease is None else self.lease.time_left_s,
        )

    @property
    def target(self) -> str:
        """HTTP method of the request, and its path below the endpoint."""
        if not self.is_check:
            return self.job.request.target
        where = "/evaluations/trace-scores" if self.job.may_be_scored else "/traces"
        return f"GET {where}/{self.job.request.trace_id}"


@dataclass(slots=True, kw_only=True)
class Changes:
    """Changes to write in one transaction."""

    added: dict[Job, None] = field(default_factory=dict[Job, None])
    rewritten: dict[Job, None] = field(default_factory=dict[Job, None])
    started: list[Place] = field(default_factory=list[Place])
    """Places whose requests may be sent from now on."""
    removed: list[Place] = field(default_factory=list[Place])
    refused: list[tuple[Parcel, str]] = field(default_factory=list[tuple[Parcel, str]])
    """Refused requests, with the server's words."""
    body_cap: int | None = None
    """Size of the largest body that the server accepts."""
    journal: list[JournalChange] = field(default_factory=list["JournalChange"])

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to write."""
        is_usual = self.added or self.removed or self.started or self.journal
        return not (is_usual or self.rewritten or self.refused or self.body_cap is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Request of a dead process, without its content. `in_doubt`: that process may have sent it."""

    place: Place
    request: Parcel
    in_doubt: bool
    waited_s: float


@dataclass(slots=True, kw_only=True)
class Tended:
    """Changes from outside: requests that were found, and jobs that are gone."""

    found: list[Found] = field(default_factory=list[Found])
    gone: list[tuple[Job, str]] = field(default_factory=list[tuple[Job, str]])
    """Jobs whose content cannot be read any more, that are too old, or that have no room, each with the reason."""
    damaged_spans: int = 0
    """Unreadable spans of other processes."""
    works_again: bool = False
    """True if jobs that are only in memory can be written."""
    journal: list[JournalChange] = field(default_factory=list["JournalChange"])
    """Changes that could not be written before, to be written with those jobs."""
    body_cap: int | None = None
