"""A process with a spool in simulated time: real files, real locks, a disk that can fail; threads are events."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

import orjson

from pandaprobe_otel.delivery.budget import REQUEST_TIMEOUT_S, LeasedBucket
from pandaprobe_otel.delivery.dispatcher import Dispatcher
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.outbox import MemoryOutbox
from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.delivery.spool.adoption import Adoption
from pandaprobe_otel.delivery.spool.commands import Barrier, Command
from pandaprobe_otel.delivery.spool.delivery import SpooledDelivery
from pandaprobe_otel.delivery.spool.folder import SpoolFolder
from pandaprobe_otel.delivery.spool.journal import SpanJournal
from pandaprobe_otel.delivery.spool.keeper import Keeper
from pandaprobe_otel.delivery.spool.lease_file import FileTokens
from pandaprobe_otel.delivery.spool.memory_side import MemorySide
from pandaprobe_otel.delivery.spool.outbox import SpooledOutbox
from pandaprobe_otel.delivery.spool.recovery import recovered
from pandaprobe_otel.delivery.spool.writer import SpoolWriter
from pandaprobe_otel.mapping import MappingOptions
from pandaprobe_otel.tracing.encoder import PartEncoder
from pandaprobe_otel.tracing.span_filter import SpanFilter
from simulated_world import Process, Server, World
from spools import DESTINATION, FunctionTransport

WRITES_AFTER_S: Final = 0.05
SCANS_EVERY_S: Final = 600.0
"""Not 5, so that the day for which the model waits is over in a second."""


class SteppedWriter(SpoolWriter):
    """Does its work when it is told to, in whose thread it is told."""

    def __init__(
        self, make_keeper: Callable[[], Keeper], *, on_ask: Callable[[], None], monotonic: Callable[[], float]
    ) -> None:
        super().__init__(make_keeper, monotonic=monotonic, scan_every_s=SCANS_EVERY_S)
        self._on_ask = on_ask

    def ask(self, command: Command) -> None:
        """Have something done, at the next step."""
        super().ask(command)
        self._on_ask()

    def step(self) -> tuple[bool, float]:
        """Do what has been asked, and what is due; whether the disk took it, and how long nothing has to be done."""
        barrier = Barrier()
        super().ask(barrier)
        more = self._round()
        return barrier.held == [True], 0.0 if more else self._pause()

    def _start(self) -> None:
        """There is no thread."""


class SteppedDelivery(SpooledDelivery):
    """Sends nothing by itself."""

    def _add_sender(self) -> None:
        """There are no threads."""


class SpooledProcess(Process):
    """A process whose dispatcher is fed by a spool."""

    def __init__(
        self,
        world: World,
        server: Server,
        folder: Path,
        *,
        name: str,
        max_bytes: int = 200_000,
        is_forked: bool = False,
    ) -> None:
        super().__init__(world, server, name=name)
        self._folder = SpoolFolder(folder, DESTINATION)
        self._leases = folder.with_name("leases")
        self._unwritten: set[str] = set()
        self._journaled: set[str] = set()
        self.durable: set[str] = set()
        """Ids of spans that were on disk when the disk was last asked."""
        self._next_step = math.inf
        self._delivery = SteppedDelivery(
            writer=self._make_writer,
            dispatcher=self._make_dispatcher,
            transport=FunctionTransport(lambda request: server.handle(request, name)),
            ledger=self.ledger,
            notices=self.notices,
            max_bytes=max_bytes,
            monotonic=self.clock,
        )
        self.journal = SpanJournal(self._delivery.ask, content=True, all_spans=True, is_forked=is_forked)
        self._step_at(world.now)

    def take(self, parcel: Parcel) -> None:
        """Spans that were counted when they ended are ready to be sent."""
        self._delivery.put(parcel)
        self._unwritten |= span_ids(parcel)
        self._look_at(self.world.now)

    def wrote_down(self, span_id: str) -> None:
        """A span has ended, and the journal was told."""
        self._journaled.add(span_id)

    def write(self) -> None:
        """Let the disk do what was asked of it."""
        took, pause_s = self._writer.step()
        self._step_at(self.world.now + max(pause_s, WRITES_AFTER_S))
        if took and isinstance(self.outbox, SpooledOutbox) and not self.outbox.unsaved:
            self.durable |= self._unwritten | self._journaled
            self._unwritten.clear()
        self._journaled.clear()  # what the journal could not write is durable when its parcel is
        self._look_at(self.world.now)

    def crash(self) -> None:
        """Kill it: nothing of it happens any more, and the kernel drops its locks."""
        super().crash()
        for file in self._folder.files.values():
            file.release()

    def fork(self) -> None:
        """What the parent does around a fork."""
        self._delivery.before_fork()
        self._delivery.after_fork_in_parent()

    def fail_to_write_once(self) -> None:
        """The next write to the own file is refused."""
        own = self._folder.own
        if own is not None:
            own.open().execute("PRAGMA query_only = ON")

    @property
    def is_balanced(self) -> bool:
        """Whether the ledger's pending is what waits, in memory or on disk, once nothing is on its way between them.

        While the disk takes no writes, what has left the memory cannot be noted there: more is pending then.
        """
        self.write()
        waiting = self.held() + sum(job.parcel.span_count for job in self.outbox) + self._writer.parked_spans
        pending = self.ledger.read().pending
        return pending >= waiting if self._keeper.failing else pending == waiting

    @staticmethod
    def _heirs_encoder() -> PartEncoder:
        """Of what a crashed process had written down; its spans are counted as they are adopted."""
        return PartEncoder(span_filter=SpanFilter("all"), options=MappingOptions(), ledger=Ledger(), sample_rate=1.0)

    def _make_writer(self, memory: MemorySide, rows: Callable[[], int]) -> SteppedWriter:
        self._writer = SteppedWriter(
            lambda: self._make_keeper(memory, rows),
            on_ask=lambda: self._step_at(self.world.now + WRITES_AFTER_S),
            monotonic=self.clock,
        )
        return self._writer

    def _make_keeper(self, memory: MemorySide, rows: Callable[[], int]) -> Keeper:
        adoption = Adoption(
            folder=self._folder,
            memory=memory,
            notices=self.notices,
            recover=lambda found, states: recovered(found, states, self._heirs_encoder),
            rows=rows,
            monotonic=self.clock,
        )
        self._keeper = Keeper(
            folder=self._folder,
            memory=memory,
            notices=self.notices,
            adoption=adoption,
            monotonic=self.clock,
            wall=lambda: 0.0,
        )
        return self._keeper

    def _make_dispatcher(self, outbox: MemoryOutbox) -> Dispatcher:
        tokens = FileTokens(self._leases, request_timeout_s=REQUEST_TIMEOUT_S, clock=self.clock)
        self.outbox = outbox
        self.dispatcher = Dispatcher(
            outbox=outbox,
            bucket=LeasedBucket(uniform=self.world.random.uniform, tokens=tokens),
            ledger=self.ledger,
            notices=self.notices,
            project="shop",
            uniform=self.world.random.uniform,
        )
        return self.dispatcher

    def _step_at(self, time: float) -> None:
        if self._alive and time < self._next_step:
            self._next_step = time
            self.world.at(time, self._step)

    def _step(self) -> None:
        if self._alive and self.world.now >= self._next_step:
            self._next_step = math.inf
            self.write()


def span_ids(parcel: Parcel) -> set[str]:
    """The ids of the spans of a parcel."""
    return {orjson.loads(span)["span_id"] for span in parcel.spans}
