"""Start time of a process's first server, as in the fixture `pandaprobe_server`, including imports.

    python benchmarks/local/start.py [--repeats 9]

The processes are fresh, and an earlier one has cached the bytecode of every module. The last line states whether the
first start takes less than 0.5 s. On a busy machine, CPU time is more reliable than wall time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

LONGEST_S = 0.5
PROGRAM = """
import time
begun, cpu = time.perf_counter(), time.process_time()
from pandaprobe_otel.local import LocalServer
with LocalServer(scripted_judge=True):
    print(time.perf_counter() - begun, time.process_time() - cpu)
"""


def started() -> tuple[float, float]:
    """Return the seconds of wall and CPU time from the import until the first request could be answered."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment)
    took, cpu = map(float, done.stdout.split())
    return took, cpu


def main() -> None:
    """Start some servers and print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    started()
    clock, cpu = zip(*(started() for _ in range(repeats)), strict=True)
    took = statistics.median(clock)
    print(f"first start: {took:.2f} s ({min(clock):.2f}-{max(clock):.2f}), ", end="")
    print(f"CPU {statistics.median(cpu):.2f} s ({min(cpu):.2f}-{max(cpu):.2f})")
    print(f"below {LONGEST_S} s: {'MET' if took < LONGEST_S else 'NOT MET'}")


if __name__ == "__main__":
    main()
