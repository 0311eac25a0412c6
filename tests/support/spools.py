"""Use of spool files: an outbox without threads, and a complete delivery with a function as its server."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Outbox, Tended
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.policy import DeliveryPolicy
from pandaprobe_otel.delivery.sender_pool import SenderPool
from pandaprobe_otel.delivery.spool.destination import Destination
from pandaprobe_otel.delivery.spool.drafts import Draft
from pandaprobe_otel.delivery.spool.store import MAX_BYTES, SCAN_EVERY_S, SpoolStore
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.outcome import Outcome, Request, Transport, api_key_headers
from strict_pandaprobe import StrictPandaProbe
from waiting import PATIENCE_S, wait_until

DESTINATION = Destination(endpoint="http://127.0.0.1:1", project="shop", api_key="sk_pp_1")


def create(number: int, *, spans: int = 1, is_error: bool = False, size: int = 0) -> Parcel:
    """Return a create with `spans` spans (and about `size` bytes)."""
    trace_id = f"00000000-0000-0000-0000-{number:012d}"
    body = b'{"span_id":"s","x":"' + b"x" * size + b'"}'
    return Parcel(
        step=Step.CREATE,
        trace_id=trace_id,
        fields=f'{{"trace_id":"{trace_id}","name":"t"}}'.encode(),
        spans=EncodedSpans.of((body,) * spans),
        name="t",
        is_error=is_error,
    )


class Content(NamedTuple):
    """Everything in a parcel that is sent or kept on disk."""

    step: Step
    trace_id: str
    name: str
    is_error: bool
    is_remote: bool
    fields: bytes
    spans: bytes
    span_count: int


def content_of(parcel: Parcel) -> Content:
    """Return the content of a parcel, by which parcels can be compared."""
    head = (parcel.step, parcel.trace_id, parcel.name, parcel.is_error, parcel.is_remote)
    return Content(*head, parcel.fields, parcel.spans.joined, parcel.span_count)


def open_store(
    folder: Path,
    *,
    destination: Destination = DESTINATION,
    notices: Notices,
    max_bytes: int = MAX_BYTES,
    scan_every_s: float = SCAN_EVERY_S,
    monotonic: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = lambda: time.time(),
) -> SpoolStore:
    """Return a store like a pipeline's, with this scan interval and this clock."""
    return SpoolStore(
        folder,
        destination,
        notices=notices,
        max_bytes=max_bytes,
        scan_every_s=scan_every_s,
        monotonic=monotonic,
        wall=wall,
    )


class Run:
    """One process's use of a spool directory, with an outbox and a simulated clock (`now`)."""

    def __init__(
        self,
        folder: Path,
        *,
        destination: Destination = DESTINATION,
        max_bytes: int = MAX_BYTES,
        max_memory: int = 1 << 30,
    ) -> None:
        self.now, begun_at = 0.0, time.time()
        self.gone: Counter[str] = Counter()
        """Spans that were given up, by reason."""
        self.store = open_store(
            folder,
            destination=destination,
            notices=Notices(lambda: self.now),
            max_bytes=max_bytes,
            monotonic=lambda: self.now,
            wall=lambda: begun_at + self.now,
        )
        self.outbox = Outbox(max_memory, self.store)

    def put(self, *parcels: Parcel) -> list[Parcel]:
        """Store copies of parcels; return those that are there then."""
        before = set(self.outbox)
        for parcel in parcels:
            for other, reason in self.outbox.put(replace(parcel), self.now):
                self.gone[reason] += other.span_count
        self.outbox.save()
        return [parcel for parcel in self.outbox if parcel not in before]

    def write(self, *drafts: Draft) -> None:
        """Write drafts."""
        self.outbox.save(drafts)

    def done(self, *parcels: Parcel) -> None:
        """Mark the parcels as delivered."""
        for parcel in parcels:
            self.outbox.finish(parcel, self.now)
        self.outbox.save()

    def start(self, parcel: Parcel) -> None:
        """Start to send a parcel."""
        assert self.outbox.open(parcel, self.now)
        self.outbox.start(parcel, self.now)
        self.outbox.save()

    def look_around(self) -> Tended:
        """Inspect the files, as senders do."""
        tended = self.outbox.inspect(self.now)
        self.gone["spool_damaged"] += tended.damaged_spans
        for parcel, reason in tended.gone:
            self.gone[reason] += parcel.span_count
        return tended

    def contents(self) -> list[Content]:
        """Inspect the directory, and return the content of all waiting parcels; give up unreadable ones."""
        self.look_around()
        for parcel in list(self.outbox):
            self.outbox.open(parcel, self.now)
        self.look_around()
        return [content_of(parcel) for parcel in self.outbox if not (parcel.is_bare or parcel.packed)]

    def die(self) -> None:
        """End as if by kill -9: the kernel closes every file."""
        if self.store.own is not None:
            self.store.own.release()
        self.store.own = None


class FunctionTransport:
    """A transport that calls a function in place of a server."""

    def __init__(self, server: Callable[[Request], Outcome]) -> None:
        self.server = server
        self.requests: list[Request] = []
        self._lock = threading.Lock()

    def send(self, request: Request) -> Outcome:
        with self._lock:
            self.requests.append(request)
        return self.server(request)

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def reset_after_fork(self) -> None:
        """Do nothing: there is no connection."""


class Service:
    """A process's delivery with threads, with a spool unless `folder` is None, and a function as its server."""

    def __init__(
        self,
        folder: Path | None,
        server: Callable[[Request], Outcome],
        *,
        max_bytes: int = 1 << 22,
        max_spool_bytes: int = MAX_BYTES,
        destination: Destination = DESTINATION,
        transport: Transport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = lambda low, high: 0.05,
        look: Callable[[Transport], None] | None = None,
    ) -> None:
        self.function = FunctionTransport(server)
        self.ledger = Ledger()
        notices = Notices(monotonic)
        store = None if folder is None else open_store(
            folder,
            destination=destination,
            notices=notices,
            max_bytes=max_spool_bytes,
            scan_every_s=0.2,
        )  # fmt: skip
        self.outbox = Outbox(max_bytes, store, look_after_s=0.1)

        def policy() -> DeliveryPolicy:
            return DeliveryPolicy(
                outbox=self.outbox,
                bucket=LeasedBucket(capacity=10_000),
                ledger=self.ledger,
                notices=notices,
                project="shop",
                uniform=uniform,
            )

        self.delivery = SenderPool(policy=policy, transport=transport or self.function, look=look, monotonic=monotonic)

    def put(self, *requests: Parcel) -> None:
        """Hand requests over, and count their spans as ended."""
        for request in requests:
            self.ledger.ended(len(request.spans))
            self.delivery.put([request])

    def flush(self, seconds: float = PATIENCE_S) -> bool:
        """Wait until everything is delivered or on disk."""
        return self.delivery.wait_idle(time.monotonic() + seconds)

    def save(self) -> None:
        """Wait until everything is on disk, if nothing can be delivered."""
        wait_until(lambda: self.flush(0.0), what="everything is on disk")

    def close(self, seconds: float = PATIENCE_S) -> int:
        """Shut the delivery down in an orderly way; return the number of dropped spans."""
        dropped = self.delivery.close(time.monotonic() + seconds)
        assert dropped is not None
        return dropped.spans


def inherit(server: StrictPandaProbe, folder: Path) -> int:
    """Deliver the spool that processes of `environment(server.url)` left behind; return the number of delivered spans.

    In production, the adopting process waits longer for requests that may still be on their way.
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
