"""Traces while the server stalls: memory of each queued trace, latency of emission, and losses.

    python benchmarks/delivery/bench_stalled.py [--traces 1000] [--gap-ms 2] [W1 W2]

Memory is the growth of the resident set after garbage collection and trimming, per trace offered. Each peer keeps as
many traces as its defaults allow (OTLP: 2,048 spans, the official SDK: 1,000 traces). With more traces, its memory is
low because the rest is lost; the column "lost" has the share. For 20,000 traces: `--traces 20000 --gap-ms 0.2 W2`.
"""

from __future__ import annotations

import argparse

from peers import OURS, installed
from runs import run, sink


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=["W1", "W2"])
    parser.add_argument("--traces", type=int, default=1000)
    parser.add_argument("--gap-ms", type=float, default=2.0)
    options = parser.parse_args()
    peers = installed(("otlp", "sdk", OURS))
    for workload in options.workloads:
        print(f"\n{workload}: {options.traces} traces offered to a stalled server")
        print("| | KB/trace | grown by, MB | emit p99, ms | emit max, ms | lost |")
        print("|---|---:|---:|---:|---:|---:|")
        for peer in peers:
            with sink() as url:
                row = run("stall", peer, workload, url, str(options.traces), str(options.gap_ms / 1000), timeout_s=600)
            if row is not None:
                print(
                    f"| {peer} | {row['kb_per_trace']:.2f} | {row['grown_kb'] / 1024:.1f} | {row['p99_ms']:.2f} "
                    f"| {row['max_ms']:.1f} | {row['lost']:.1%} |"
                )


if __name__ == "__main__":
    main()
