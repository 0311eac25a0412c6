"""Seconds until a program with twenty waiting traces ends, while the server refuses connections or stalls.

    python benchmarks/delivery/bench_exit.py

The time is from the last statement of the program to the end of its process, with the defaults of each peer.
"""

from __future__ import annotations

import os
import tempfile
import urllib.request

from peers import OURS, installed
from runs import run, sink


def main() -> None:
    """Run the benchmark."""
    print("| | refused, s | stalled, s |\n|---|---:|---:|")
    for peer in installed(("otlp", "sdk", OURS)):
        print(f"| {peer} | {refused(peer)} | {stalled(peer)} |")
    with tempfile.TemporaryDirectory() as spool:
        os.environ["BENCH_SPOOL"] = spool
        print(f"| {OURS}, with a spool | {refused(OURS)} | {stalled(OURS)} |")


def refused(peer: str) -> str:
    row = run("leave", peer, "W1", "http://127.0.0.1:1")
    return "-" if row is None else f"{row['exit_s']:.1f}"


def stalled(peer: str) -> str:
    with sink() as url:
        urllib.request.urlopen(f"{url}/_mode/stall").close()
        row = run("leave", peer, "W1", url)
    return "-" if row is None else f"{row['exit_s']:.1f}"


if __name__ == "__main__":
    main()
