"""A keeper of spool files without threads, and the memory beside it as plain lists."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.dispatcher import Dispatcher
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Job, MemoryOutbox
from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.delivery.spool.adoption import CHECK_AFTER_S, Adoption
from pandaprobe_otel.delivery.spool.commands import Insert
from pandaprobe_otel.delivery.spool.delivery import SpooledDelivery
from pandaprobe_otel.delivery.spool.destination import Destination
from pandaprobe_otel.delivery.spool.folder import SpoolFolder
from pandaprobe_otel.delivery.spool.keeper import MAX_BYTES, Keeper
from pandaprobe_otel.delivery.spool.memory_side import Loaded, MemorySide
from pandaprobe_otel.delivery.spool.recovery import recovered
from pandaprobe_otel.delivery.spool.rows import OWN, Count, JournalRow, Place, TraceState
from pandaprobe_otel.delivery.spool.writer import SpoolWriter
from pandaprobe_otel.mapping import MappingOptions
from pandaprobe_otel.tracing.encoder import PartEncoder
from pandaprobe_otel.tracing.span_filter import SpanFilter
from pandaprobe_otel.transport import HttpTransport, api_key_headers
from pandaprobe_otel.transport.messages import Outcome, Request
from strict_pandaprobe import StrictPandaProbe
from waiting import PATIENCE_S, wait_until

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
    cap: int | None = None

    def room(self) -> int:
        return max(self.space - sum(loaded.place.size for loaded in self.loaded), 0)

    def load(self, parcels: Sequence[Loaded]) -> None:
        self.loaded += parcels

    def adopted(self, count: Count, lines: Iterable[str]) -> None:
        self.adopted_count += count
        self.lines.update(lines)

    def lost(self, reason: str, count: Count, lines: Iterable[str] = ()) -> None:
        self.lines.difference_update(lines)
        if count.parcels:
            self.losses.append((reason, count))

    def unsave(self, jobs: Iterable[Job], parked: Iterable[Parcel]) -> None:
        self.unsaved += [*jobs, *parked]

    def learned_cap(self, size: int) -> None:
        self.cap = size

    def gave_up(self) -> None:
        self.losses.append(("fault", Count()))

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
            wall=lambda: time.time() + self.now,
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

    def load_everything(self, *, patient: bool = False) -> list[Loaded]:
        """Scan, then bring to memory all that is on disk alone."""
        self.keeper.scan()
        if not patient:
            self.now += CHECK_AFTER_S
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


class FunctionTransport:
    """A server that is a function of the request."""

    def __init__(self, server: Callable[[Request], Outcome]) -> None:
        self.server = server
        self.requests: list[Request] = []
        self._lock = threading.Lock()

    def send(self, request: Request) -> Outcome:
        with self._lock:
            self.requests.append(request)
        return self.server(request)

    def close(self) -> None:
        """Nothing is open."""

    def reset_after_fork(self) -> None:
        """Nothing is shared."""


def span_encoder() -> PartEncoder:
    """As the pipeline makes it with default settings."""
    return PartEncoder(span_filter=SpanFilter("agent"), options=MappingOptions(), ledger=Ledger(), sample_rate=1.0)


class Service:
    """A process's delivery with a spool, its threads included, in front of a server that is a function."""

    def __init__(
        self,
        folder: Path,
        server: Callable[[Request], Outcome],
        *,
        max_bytes: int = 1 << 22,
        max_spool_bytes: int = MAX_BYTES,
        destination: Destination = DESTINATION,
    ) -> None:
        self.transport = FunctionTransport(server)
        self._destination = destination
        self.ledger = Ledger()
        self.notices = Notices(time.monotonic)
        self._folder = folder
        self._max_spool_bytes = max_spool_bytes
        self.delivery = SpooledDelivery(
            writer=lambda memory, rows: SpoolWriter(lambda: self._keeper(memory, rows), scan_every_s=0.2),
            dispatcher=self._dispatcher,
            transport=self.transport,
            ledger=self.ledger,
            notices=self.notices,
            max_bytes=max_bytes,
        )

    def put(self, *parcels: Parcel) -> None:
        """Hand parcels over, counting their spans as ended."""
        for parcel in parcels:
            self.ledger.ended(len(parcel.spans))
            self.delivery.put(parcel)

    def flush(self, seconds: float = PATIENCE_S) -> bool:
        """Wait until everything is delivered or on disk."""
        return self.delivery.wait_idle(time.monotonic() + seconds)

    def save(self) -> None:
        """Wait until everything is on disk, where nothing can be delivered."""
        wait_until(lambda: self.flush(0.0), what="everything is on disk")

    def close(self, seconds: float = PATIENCE_S) -> int:
        """End in good order."""
        return self.delivery.close(time.monotonic() + seconds)

    def _dispatcher(self, outbox: MemoryOutbox) -> Dispatcher:
        return Dispatcher(
            outbox=outbox,
            bucket=LeasedBucket(capacity=10_000),
            ledger=self.ledger,
            notices=self.notices,
            project="shop",
            uniform=lambda low, high: 0.05,
        )

    def _keeper(self, memory: MemorySide, rows: Callable[[], int]) -> Keeper:
        folder = SpoolFolder(self._folder, self._destination)
        adoption = Adoption(
            folder=folder,
            memory=memory,
            notices=self.notices,
            recover=lambda found, states: recovered(found, states, span_encoder),
            rows=rows,
            check_after_s=0.1,
        )
        return Keeper(
            folder=folder,
            memory=memory,
            notices=self.notices,
            adoption=adoption,
            max_bytes=self._max_spool_bytes,
        )


def inherit(server: StrictPandaProbe, folder: Path) -> int:
    """Send to the server what processes of `environment(server.url)` left in a directory; return the spans delivered.

    It does not wait as long as a real heir for requests that may still be on their way.
    """
    key, project = "sk_pp_1", "shop"
    transport = HttpTransport(server.url, api_key_headers(key, project))
    heir = Service(folder, transport.send, destination=Destination(endpoint=server.url, project=project, api_key=key))
    arrived = heir.flush()
    heir.close()
    transport.close()
    assert arrived
    assert [path.name for path in folder.iterdir() if not path.name.startswith("leases")] == []
    return heir.ledger.read().delivered
