"""A fleet of 1 to 10,000 processes with one key, in simulated time: traces offered and delivered, and delays.

    python benchmarks/fleet/model.py            prints the table in docs/fleets.md

The bucket and the queue are the real ones. The clock, the requests (50 to 300 ms, as measured on loopback and over a
network) and the apps are simulated. Traces start at random in any process, with 300 names distributed by Zipf's law,
and 2 % have an error. Each process has room for 3000 traces. The model runs for forty minutes, of which the last
twenty-five count.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from pandaprobe_otel.delivery.budget import Lease, LeasedBucket
from pandaprobe_otel.delivery.outbox import Names, Outbox
from pandaprobe_otel.delivery.parcel import Parcel, Step
from simulated_world import simulated_id

OFFERED: Final = (30, 60, 90, 120, 200, 500, 2000)
MINUTES, FROM_MINUTE, ROOM, TRACE_BYTES, NAMES, ERRORS = 40, 15, 3000, 602, 300, 0.02
WEIGHTS: Final = list(itertools.accumulate(1 / rank for rank in range(1, NAMES + 1)))
SETUPS: Final = {
    "shared budget, 1 process or a gateway": 1,
    "shared budget, 100 processes": 100,
    "shared budget, 10,000 processes": 10_000,
}


@dataclass(slots=True)
class Worker:
    """A process: its waiting traces, and the names that it knows."""

    outbox: Outbox = field(default_factory=lambda: Outbox(ROOM * TRACE_BYTES))
    names: Names = field(default_factory=Names)

    def offer(self, request: Parcel, now: float) -> None:
        """Offer a completed trace, which may be dropped."""
        self.names.look_at(request, now)
        self.outbox.put(request, now)

    def take(self, now: float) -> float:
        """Send the next trace; return the time at which it was completed."""
        parcel, _ = self.outbox.next(now)
        assert parcel is not None
        self.outbox.start(parcel, now)
        self.outbox.finish(parcel, now)
        return parcel.since


class Fleet:
    """Processes, and the events in their simulated time."""

    def __init__(self, processes: int, *, offered: float) -> None:
        self.rng = random.Random(f"{processes} {offered}")
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.workers = [Worker() for _ in range(processes)]
        self.bucket = LeasedBucket(uniform=self.rng.uniform)
        self._ready: dict[int, None] = {}
        self._offered = offered
        self.sent: list[tuple[float, float]] = []

    def run(self) -> tuple[float, float]:
        """Run the simulation; return the traces delivered per minute, and the 95th percentile of their delays."""
        self._after(self.rng.expovariate(self._offered / 60), self._arrive)
        while self._events and self._events[0][0] < MINUTES * 60:
            self.now, _, event = heapq.heappop(self._events)
            event()
        delays = sorted(delay for at, delay in self.sent if at >= FROM_MINUTE * 60)
        return len(delays) / (MINUTES - FROM_MINUTE), delays[int(len(delays) * 0.95)] if delays else math.nan

    def _after(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), event))

    def _arrive(self) -> None:
        self._after(self.rng.expovariate(self._offered / 60), self._arrive)
        index = self.rng.randrange(len(self.workers))
        worker = self.workers[index]
        name = str(self.rng.choices(range(NAMES), cum_weights=WEIGHTS)[0])
        trace_id = simulated_id(self.rng.getrandbits(60))
        request = Parcel(step=Step.CREATE, trace_id=trace_id, name=name, is_error=self.rng.random() < ERRORS)
        worker.offer(request, self.now)
        if worker.outbox.waiting_for_tokens:
            self._ready[index] = None
            self._serve()

    def _serve(self) -> None:
        """Give tokens to waiting processes, chosen at random."""
        while self._ready and (lease := self.bucket.acquire(self.now)) is not None:
            index = self._anyone()
            worker = self.workers[index]
            self._send(worker)
            if not worker.outbox.waiting_for_tokens:
                del self._ready[index]
            self._after(self._request_s(), partial(self._answered, lease))

    def _anyone(self) -> int:
        for _ in range(50):
            index = self.rng.randrange(len(self.workers))
            if index in self._ready:
                return index
        return next(iter(self._ready))

    def _answered(self, lease: Lease) -> None:
        self.bucket.release(lease, self.now)
        self._after(60.1, self._serve)

    def _send(self, worker: Worker) -> None:
        self.sent.append((self.now, self.now - worker.take(self.now)))

    def _request_s(self) -> float:
        return self.rng.uniform(0.05, 0.3)


def main() -> None:
    """Run the model, and print its table."""
    print("| offered a minute | " + " | ".join(map(str, OFFERED)) + " |\n| --- |" + " ---: |" * len(OFFERED))
    for name, processes in SETUPS.items():
        outcomes = (Fleet(processes, offered=offered).run() for offered in OFFERED)
        cells = (f"{delivered:.0f}, {p95_s:.0f} s" for delivered, p95_s in outcomes)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
