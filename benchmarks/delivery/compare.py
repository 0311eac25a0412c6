"""CPU time, end of a program, and an outage, compared with the peers in one interleaved run.

    python benchmarks/delivery/compare.py [cpu] [exit] [stalled] [--workloads W1 W2] [--repeats 5]

"floor" is the SDK without a processor, "batch-noop" a batch processor whose exporter does nothing, "otlp" one with the
OTLP/HTTP exporter, "sdk" the official pandaprobe SDK. Fresh processes alternate. A peer that is not installed is
skipped (`python benchmarks/delivery/peers.py install`).

cpu: time of a span in the calling thread, and in the process until the span has arrived at a server; bytes on the wire.
A ratio is the median of those within a round, with the lowest and the highest. Our rate limit is disabled, since a
hundred traces a minute cost too little to be measured. (The official SDK sends nothing in W3: its trace of more than
500 spans fails its own validation.)

exit: seconds from the last statement of a program with twenty waiting traces to the end of its process, while the
server refuses connections or stalls, with the defaults of each peer.

stalled: growth of the resident memory per trace offered, after garbage collection and trimming; latency; losses. Each
peer keeps as many traces as its defaults allow (OTLP: 2,048 spans, the official SDK: 1,000 traces). With more traces,
its memory is low because the rest is lost. For 20,000 traces: `stalled --traces 20000 --gap-ms 0.2 --workloads W2`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from peers import ALL, OURS, installed
from runs import Row, interleaved, run, sink

FIGURES: Final = {
    "app": ("CPU of the calling thread, us a span", ("floor", "batch-noop", "otlp")),
    "total": ("CPU of the process until everything has arrived, us a span", ("floor", "otlp", "sdk")),
    "bytes": ("bytes on the wire, a span", ("otlp", "sdk")),
}
"""Each figure of `cpu`, with its title and the peers to which ratios are shown."""


def cpu(options: Any) -> None:
    for workload in options.workloads:
        rows = interleaved("cpu", installed(ALL), workload, options.repeats)
        for figure, (title, references) in FIGURES.items():
            print(f"\n{workload}: {title}")
            names = [name for name in references if rows.get(name)]
            print(header("median", *(f"x {name}" for name in names)))
            for peer, its_rows in rows.items():
                values = [row[figure] for row in its_rows]
                if any(values):
                    ratios = " | ".join(ratio(its_rows, rows[name], figure) for name in names)
                    print(f"| {peer} | {statistics.median(values):.1f} | {ratios} |")


def header(*columns: str) -> str:
    return f"| | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}"


def ratio(rows: Sequence[Row], others: Sequence[Row], figure: str) -> str:
    """Return the median, the lowest and the highest of the ratios within a round."""
    ratios = [one[figure] / other[figure] for one, other in zip(rows, others, strict=False) if other[figure]]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else "-"


def leave(options: Any) -> None:
    print(header("refused, s", "stalled, s"))
    for peer in installed(("otlp", "sdk", OURS)):
        print(f"| {peer} | {ends(peer)} |")
    with tempfile.TemporaryDirectory() as spool:
        os.environ["BENCH_SPOOL"] = spool
        print(f"| {OURS}, with a spool | {ends(OURS)} |")
        del os.environ["BENCH_SPOOL"]


def ends(peer: str) -> str:
    """Return two cells: the seconds while the server refuses connections, and while it stalls."""
    refused = run("leave", peer, "W1", "http://127.0.0.1:1")
    with sink() as url:
        urllib.request.urlopen(f"{url}/_mode/stall").close()
        stalled = run("leave", peer, "W1", url)
    return " | ".join("-" if row is None else f"{row['exit_s']:.1f}" for row in (refused, stalled))


def stall(options: Any) -> None:
    for workload in options.workloads:
        print(f"\n{workload}: {options.traces} traces offered to a stalled server")
        print(header("KB/trace", "grown by, MB", "emit p99, ms", "emit max, ms", "lost"))
        for peer in installed(("otlp", "sdk", OURS)):
            with sink() as url:
                row = run("stall", peer, workload, url, str(options.traces), str(options.gap_ms / 1000), timeout_s=600)
            if row is not None:
                print(
                    f"| {peer} | {row['kb_per_trace']:.2f} | {row['grown_kb'] / 1024:.1f} | {row['p99_ms']:.2f} "
                    f"| {row['max_ms']:.1f} | {row['lost']:.1%} |"
                )


MEASURES: Final[Mapping[str, Callable[[Any], None]]] = {"cpu": cpu, "exit": leave, "stalled": stall}


def main() -> None:
    """Run the chosen measures, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measures", nargs="*", default=[*MEASURES])
    parser.add_argument("--workloads", nargs="+", default=["W1", "W2"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--traces", type=int, default=1000)
    parser.add_argument("--gap-ms", type=float, default=2.0)
    options = parser.parse_args()
    for measure in options.measures:
        MEASURES[measure](options)


if __name__ == "__main__":
    main()
