"""Costs that have an upper bound (a mark), and whether each stays below it.

    python benchmarks/delivery/marks.py [limit tasks idle large first queued stalled exit] [--repeats 3] [--seconds 60]

    limit    CPU time of a minute with 100 W1 traces, as fast as the limit allows
    tasks    CPU time of a span in a thousand asyncio tasks, x the SDK without a processor
    idle     10,000 open traces while nothing happens
    large    CPU time for each KB of a large value
    first    from nothing loaded until the first W1 trace has arrived, x the OTLP exporter
    queued   memory of a W1 trace that waits for a stalled server
    stalled  losses among 20,000 W2 traces while the server stalls
    exit     end of a program with 20 traces waiting, while the server refuses or stalls

Each runs in a fresh process, alternating with its reference. The figure is the median. Use an idle machine: the load is
printed first.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench_exit import refused, stalled
from peers import OURS, installed
from runs import run, sink


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its mark, which is its upper bound."""

    what: str
    value: float
    mark: float
    unit: str


class Runs:
    """The measurements of one run of the benchmark."""

    def __init__(self, repeats: int, seconds: float) -> None:
        self._repeats = repeats
        self._seconds = seconds

    def limit(self) -> Iterator[Figure]:
        """Measure the CPU time at the service's limit, without the time for making the spans."""
        ours, floor = self._each("limit", "W1", "ms_a_minute", str(self._seconds), peers=(OURS, "floor"))
        yield Figure("100 W1 traces a minute, without making their spans", ours - floor, 150, "ms of CPU a minute")

    def tasks(self) -> Iterator[Figure]:
        """Measure the CPU time of the event loop's thread with many tasks."""
        ours, noop, floor = self._each("tasks", "W2", "us_per_span", peers=(OURS, "batch-noop", "floor"))
        what = f"1,000 asyncio tasks, the loop's thread (a batch processor that sends nothing: {noop / floor:.2f})"
        yield Figure(what, ours / floor, 1.2, "x bare")

    def idle(self) -> Iterator[Figure]:
        """Measure the CPU time of idle open traces."""
        (ours,) = self._each("idle", "W2", "percent", str(min(self._seconds, 20.0)), peers=(OURS,))
        yield Figure("10,000 idle open traces", ours, 0.5, "% of a core")

    def large(self) -> Iterator[Figure]:
        """Measure the cost of large values."""
        for name in ("100 KB", "1 MB", "5 MB"):
            (ours,) = self._each("large", "W2", name, peers=(OURS,))
            yield Figure(f"a value of {name}", ours, 4, "us/KB")

    def first(self) -> Iterator[Figure]:
        """Measure the cost of the first trace."""
        if "otlp" in installed(("otlp",)):
            for name, what in (("ms", "time"), ("cpu_ms", "CPU"), ("emit_ms", "CPU of the calling thread")):
                ours, otlp = self._each("first", "W1", name, peers=(OURS, "otlp"))
                yield Figure(f"the first trace, {what} ({ours:.0f} and {otlp:.0f} ms)", ours / otlp, 1.3, "x OTLP")

    def queued(self) -> Iterator[Figure]:
        """Measure the memory of queued traces."""
        (ours,) = self._each("stall", "W1", "kb_per_trace", peers=(OURS,))
        yield Figure("a queued W1 trace, of 1,000", ours, 14, "KB")

    def stalled(self) -> Iterator[Figure]:
        """Count the traces lost while the server stalls."""
        with sink() as url:
            row = run("stall", OURS, "W2", url, "20000", "0.0002", timeout_s=900)
        yield Figure("lost of 20,000 W2 traces", float("nan") if row is None else row["lost"], 0, "")

    def exit(self) -> Iterator[Figure]:
        """Measure the time until a program ends."""
        for what, measure, mark in (("refused", refused, 2.0), ("stalled", stalled, 5.5)):
            yield Figure(f"end of a program, server {what}", float(measure(OURS)), mark, "s")

    def _each(self, measure: str, workload: str, figure: str, *more: str, peers: tuple[str, ...]) -> list[float]:
        values: dict[str, list[float]] = {peer: [] for peer in peers}
        with sink() as url:
            for _ in range(self._repeats):
                for peer in peers:
                    row = run(measure, peer, workload, url, *more)
                    if row is not None:
                        values[peer].append(row[figure])
        return [statistics.median(values[peer]) if values[peer] else float("nan") for peer in peers]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", default=["limit", "tasks", "idle", "large", "first", "queued", "exit"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    runs = Runs(options.repeats, options.seconds)
    print(f"load {os.getloadavg()[0]:.1f}\n\n| | measured | mark | |\n|---|---:|---:|---|")
    for name in options.which:
        measured: Callable[[], Iterator[Figure]] = getattr(runs, name)
        for each in measured():
            verdict = "met" if each.value <= each.mark else "MISSED"
            print(f"| {each.what} | {each.value:.2f} {each.unit} | {each.mark:g} | {verdict} |", flush=True)


if __name__ == "__main__":
    main()
