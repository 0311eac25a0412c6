"""A job (a request in the outbox), a line (the jobs of one trace, in order), and an attempt to send a job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pandaprobe_otel.delivery.budget import REQUEST_TIMEOUT_S, Lease
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest
from pandaprobe_otel.delivery.store import Place
from pandaprobe_otel.transport.request_outcome import Request, for_ever

if TYPE_CHECKING:
    from pandaprobe_otel.delivery.schedule import TokenQueue

_MOST_READ: Final = 128 << 10
"""Bytes read of an answer. An error that names five hundred refused fields takes 75 KB; a success is not read."""
_MOST_LOOKED_AT: Final = 16 << 20
"""Bytes read of a trace that is looked up. The spans of a larger one cannot be determined."""


@dataclass(slots=True, eq=False)
class Job:
    """A request with the state of its delivery."""

    request: OutgoingRequest
    attempts: int = 0
    server_errors: int = 0
    """Server errors that came right after another request had succeeded."""
    in_doubt: bool = False
    """True for a score and for a create without an answer: look the trace up before (re)sending."""
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

    A check precedes a score, and the repetition of a create whose outcome is unknown. With `is_audit`, it follows some
    time after a trace was accepted.
    """

    job: Job
    lease: Lease | None = None
    is_check: bool = False
    is_audit: bool = False

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
        return f"GET /traces/{self.job.request.trace_id}" if self.is_check else self.job.request.target
