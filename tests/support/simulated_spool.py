"""Processes with a spool in simulated time: real files, real locks, a disk that can fail, a machine that may sleep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson

from pandaprobe_otel.assembly.drafts import Drafts
from pandaprobe_otel.assembly.encoder import SegmentEncoder, SpanFilter
from pandaprobe_otel.delivery.budget import REQUEST_TIMEOUT_S, LeasedBucket
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.delivery.policy import DeliveryPolicy
from pandaprobe_otel.delivery.spool.drafts import Draft
from pandaprobe_otel.delivery.spool.lease_file import FileTokens
from pandaprobe_otel.mapping import MappingOptions
from pandaprobe_otel.transport.outcome import Outcome
from simulated_world import Process, Server, World
from spools import open_store

SCANS_EVERY_S: Final = 600.0
"""Seconds between scans: more than the real 5 s, so that a simulated day of waiting takes only a second."""


class Machine:
    """A machine that may sleep; in a sleep, its processes and their clocks stop, and network and server continue."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.slept_s = 0.0
        self._fell_asleep: float | None = None
        self.wakes_at = 0.0

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        self._fell_asleep, self.wakes_at = self.world.now, self.world.now + seconds
        self.world.run(seconds)
        self._fell_asleep, self.slept_s = None, self.slept_s + seconds

    @property
    def is_asleep(self) -> bool:
        """True during a sleep."""
        return self._fell_asleep is not None

    def monotonic(self) -> float:
        """Return the time without the sleep."""
        return (self.world.now if self._fell_asleep is None else self._fell_asleep) - self.slept_s


class SpooledProcess(Process):
    """A process of such a machine, whose outbox is on disk."""

    def __init__(
        self,
        machine: Machine,
        server: Server,
        folder: Path,
        *,
        name: str,
        max_bytes: int = 1_000_000,  # some 600 bytes for each of the 1,440 traces of a case, and the contents of some
    ) -> None:
        self._machine = machine
        world = machine.world
        super().__init__(world, server, name=name)
        self._unwritten: set[str] = set()
        self.durable: set[str] = set()
        """Ids of spans that are on disk, or were."""
        self._store = open_store(
            folder,
            notices=self.notices,
            scan_every_s=SCANS_EVERY_S,
            monotonic=self.clock,
        )
        self.outbox = Outbox(max_bytes, self._store)
        tokens = FileTokens(folder.with_name("leases"), request_timeout_s=REQUEST_TIMEOUT_S, clock=self.boot_clock)
        self.policy = DeliveryPolicy(
            outbox=self.outbox,
            bucket=LeasedBucket(uniform=world.random.uniform, tokens=tokens),
            ledger=self.ledger,
            notices=self.notices,
            project="shop",
            uniform=world.random.uniform,
        )
        self.drafts = Drafts(encoder=self._draft_encoder, write=self._write, live=None)
        self._look_at(world.now)

    def clock(self) -> float:
        """Return the time of the monotonic clock, which stands still during a sleep."""
        return self._machine.monotonic()

    def time_of(self, reading: float) -> float:
        """Return the world's time at which the clock will show this reading, unless the machine sleeps before."""
        return reading + self._machine.slept_s + 1e-9

    def boot_clock(self) -> float:
        """Return the time of the clock that runs on during a sleep."""
        return self.world.now

    def _look(self) -> None:
        if self._machine.is_asleep:
            self.world.at(self._machine.wakes_at + 1e-9, self._look)
        else:
            super()._look()

    def _done(self, parcel: Parcel, outcome: Outcome) -> None:
        if self._machine.is_asleep:
            self.world.at(self._machine.wakes_at + 1e-9, lambda: self._done(parcel, outcome))
        else:
            super()._done(parcel, outcome)

    def take(self, *requests: Parcel, drafts: Sequence[Draft] = ()) -> None:
        """Accept requests whose spans were already counted when they ended."""
        self._unwritten.update(span_id for request in requests for span_id in span_ids(request))
        super().take(*requests, drafts=drafts)
        if self.outbox.is_kept:
            self.durable |= self._unwritten
            self._unwritten.clear()

    def _write(self, drafts: Sequence[Draft]) -> bool:
        is_written = self.policy.outbox.save(drafts)
        if is_written:
            spans = [orjson.loads(span) for draft in drafts for parcel in draft.parcels for span in parcel.spans]
            self.durable.update(span["span_id"] for span in spans if span.get("ended_at"))
        return is_written

    def crash(self) -> None:
        """Kill the process: it stops, and the kernel releases its locks."""
        super().crash()
        if self._store.own is not None:
            self._store.own.release()

    def fork(self) -> None:
        """Prepare the outbox for a fork, as a parent process does."""
        self._store.before_fork()

    def fail_to_write_once(self) -> None:
        """Make the next write to the process's own spool file fail."""
        own = self._store.own
        if own is not None:
            own.open().execute("PRAGMA query_only = ON")

    @staticmethod
    def _draft_encoder() -> SegmentEncoder:
        return SegmentEncoder(span_filter=SpanFilter("all"), options=MappingOptions(), ledger=Ledger(), sample_rate=1.0)


def span_ids(request: Parcel) -> set[str]:
    """Return the ids of the spans of a request."""
    return {orjson.loads(span)["span_id"] for span in request.spans}
