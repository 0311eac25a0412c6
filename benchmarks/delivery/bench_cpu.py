"""CPU time of a span: in the calling thread, and in the whole process until the span has arrived at a server.

    python benchmarks/delivery/bench_cpu.py [W1 W2 W3 W4] [--repeats 5]

"floor" is the SDK without a processor, "batch-noop" a batch processor whose exporter does nothing, "otlp" one with the
OTLP/HTTP exporter, "sdk" the official pandaprobe SDK. Fresh processes alternate, and the figures are ratios of medians.
Our rate limit is disabled, since a hundred traces a minute cost too little to be measured. (The official SDK sends
nothing in W3: its trace of more than 500 spans fails its own validation.)
"""

from __future__ import annotations

import argparse

from peers import ALL, installed
from runs import interleaved, table
from workloads import WORKLOADS


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    peers = installed(ALL)
    for workload in options.workloads:
        rows = interleaved("cpu", peers, workload, options.repeats)
        print(f"\n{workload}: CPU of the calling thread")
        table(rows, "app", "us/span", ("floor", "batch-noop"))
        print(f"\n{workload}: CPU of the process until everything has arrived")
        table(rows, "total", "us/span", ("floor", "otlp", "sdk"))
        print(f"\n{workload}: bytes on the wire")
        table(
            {peer: its for peer, its in rows.items() if its and its[0]["bytes"]}, "bytes", "bytes/span", ("otlp", "sdk")
        )


if __name__ == "__main__":
    main()
