"""All numbers in README.md about speed, memory and ends of programs, compared with the peers, in one run.

    python benchmarks/delivery/quoted.py [--repeats 3] [--slow]

We and the peers alternate in fresh processes. A ratio is the median of the ratios within a round, with the lowest and
the highest. A peer that is not installed is skipped (`python benchmarks/delivery/peers.py install`). `--slow` adds the
burst of 300 traces and the 200 kills, which run in real time and take at least two minutes each.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence

from bench_exit import refused, stalled
from peers import OURS, installed
from runs import HERE, Row, interleaved, run, sink

PEERS = ("otlp", "sdk")
STALLED_TRACES = 1000


def main() -> None:
    """Run everything and print a table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--slow", action="store_true")
    options = parser.parse_args()
    peers = [*installed(PEERS), OURS]
    print("| | " + " | ".join(peers) + " |\n|---|" + "---:|" * len(peers))
    for workload in ("W1", "W2"):
        rows = interleaved("cpu", ["floor", *peers], workload, options.repeats)
        _print(f"{workload}: CPU of the calling thread, x SDK without exporter", rows, "app", "floor", peers)
        for reference in peers[:-1]:
            _print(f"{workload}: CPU until arrival, x {reference}", rows, "total", reference, peers)
    for what, measure in (("refused", refused), ("stalled", stalled)):
        seconds = {peer: measure(peer) for peer in peers}
        print(f"| end of a program, server {what}, s | " + " | ".join(seconds[peer] for peer in peers) + " |")
    for workload in ("W1", "W2"):
        print(
            f"| {workload}: memory of a queued trace, KB | "
            + " | ".join(_held(workload, peer) for peer in peers)
            + " |"
        )
    sys.stdout.flush()
    subprocess.run([sys.executable, HERE.parent / "mapping" / "bench_mapping.py"], check=False)
    if options.slow:
        subprocess.run([sys.executable, HERE / "burst.py"], check=False)
        kills = ("-m", "", "-n", "0", "tests/delivery/spool/test_crash.py", "-k", "kill_9")
        subprocess.run([sys.executable, "-m", "pytest", *kills], cwd=HERE.parents[1], check=False)


def _print(title: str, rows: Mapping[str, Sequence[Row]], figure: str, reference: str, peers: Sequence[str]) -> None:
    cells: list[str] = []
    for peer in peers:
        ratios = [one[figure] / other[figure] for one, other in zip(rows[peer], rows[reference], strict=False)]
        cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else "-")
    print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


def _held(workload: str, peer: str) -> str:
    """Return the memory of a queued trace. OTLP keeps only a part of the offered traces, so its figure is low."""
    with sink() as url:
        row = run("stall", peer, workload, url, str(STALLED_TRACES), "0.002")
    return "-" if row is None else f"{row['kb_per_trace']:.1f}"


if __name__ == "__main__":
    main()
