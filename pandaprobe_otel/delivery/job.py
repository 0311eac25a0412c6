"""A request on its way through the outbox, and the queue of one trace's requests."""

from __future__ import annotations

from dataclasses import dataclass, field

from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest
from pandaprobe_otel.delivery.store import Place


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
    is_amended: bool = False
    """True if the content differs from the one on disk."""


@dataclass(slots=True, eq=False)
class Line:
    """Jobs of one trace. Only the first may be sent, because later ones depend on it."""

    jobs: list[Job] = field(default_factory=list[Job])
    ticket: int = 0
    """Number of the line's current entry in a heap or in the token queue. Entries with other numbers are stale."""
    is_waiting_for_token: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Changes from outside: requests that were found, and jobs that are gone, with the reason."""

    found: tuple[OutgoingRequest, ...] = ()
    damaged_spans: int = 0
    """Unreadable spans from other processes."""
    gone: tuple[tuple[Job, str], ...] = ()
    body_cap: int | None = None
