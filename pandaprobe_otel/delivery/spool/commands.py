"""What the rest of delivery asks of the spool's thread, in the order in which it was asked."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from pandaprobe_otel.delivery.outbox import Job
from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.delivery.spool.rows import JournalRow, Place, TraceState


@dataclass(frozen=True, slots=True)
class Insert:
    """Keep a parcel. Without a job it lies on disk alone, until there is room in memory."""

    place: Place
    parcel: Parcel
    job: Job | None


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A parcel was divided: its place holds the first piece from now on."""

    place: Place
    parcel: Parcel


@dataclass(frozen=True, slots=True)
class Done:
    """A parcel is delivered, or given up."""

    place: Place


@dataclass(frozen=True, slots=True)
class Park:
    """A parcel has left the memory unsent. `in_doubt`: it may have been sent nevertheless."""

    place: Place
    in_doubt: bool


@dataclass(frozen=True, slots=True)
class WriteJournal:
    """Spans of traces that are not complete."""

    rows: Sequence[JournalRow]
    states: Sequence[TraceState]


@dataclass(frozen=True, slots=True)
class ClearJournal:
    """The spans of a trace have become parcels. With a state the trace is not over."""

    trace_id: str
    state: TraceState | None


@dataclass(frozen=True, slots=True)
class Bury:
    """The server refused a parcel, in these words."""

    parcel: Parcel
    words: str


@dataclass(frozen=True, slots=True)
class RememberCap:
    """The server takes no larger body than this."""

    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Barrier:
    """Everything asked before is on disk when the event is set; `held` says whether that is true."""

    passed: threading.Event = field(default_factory=threading.Event)
    held: list[bool] = field(default_factory=list[bool])


Command = Insert | Rewrite | Done | Park | WriteJournal | ClearJournal | Bury | RememberCap | Barrier
