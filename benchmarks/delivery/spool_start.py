"""Start of a process with a full spool: time of the first request, and memory.

    python benchmarks/delivery/spool_start.py

Fills a directory with 26,000 traces of 19,800 bytes, as a killed process would leave them. Then starts a process with
this directory and watches the strict server. Marks: first request within 3 s of the start of the process, and less
than 100 MB growth of resident memory.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from pandaprobe_otel.delivery.spool.destination import Destination
from spools import Run, create
from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment

TRACES, SIZE = 26_000, 19_800
START = """
import resource, sys, time
import pandaprobe_otel
from pandaprobe_otel.mapping import map_trace  # loaded by every process that traces; not what is measured
handle = pandaprobe_otel.init(instrument=False)
from opentelemetry import trace
with trace.get_tracer("warm").start_as_current_span("warm"):
    pass
def resident():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
before, highest, begun = resident(), 0.0, time.time()
print(begun, flush=True)
handle.flush(0.0)
while time.time() < begun + 15:
    highest = max(highest, resident())
    time.sleep(0.05)
print(before, highest, handle.status().spans_pending, flush=True)
import os; os._exit(0)
"""


def main() -> int:
    """Run the benchmark; exit code 0 if every mark is met."""
    with tempfile.TemporaryDirectory() as scratch, StrictPandaProbe() as server:
        folder = Path(scratch) / "spool"
        took = fill(folder, server.url)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
        print(f"{TRACES} traces written in {took:.1f} s, {size:.0f} MiB on disk")
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(folder))
        done = subprocess.run([sys.executable, "-c", START], env=env, capture_output=True, text=True, check=True)
        print(done.stderr, end="")
        begun, rest = done.stdout.splitlines()
        before, highest, pending = (float(word) for word in rest.split())
        offset = time.time() - time.monotonic()
        first = min(entry.at for entry in server.log) + offset - float(begun)
        print(f"first request after {first:.2f} s; pending {pending:.0f}")
        print(f"resident memory {before:.0f} MB, at most {highest:.0f} MB")
    ok = first <= 3.0 and highest - before <= 100.0
    print("every mark holds" if ok else "a mark is not met")
    return 0 if ok else 1


def fill(folder: Path, url: str) -> float:
    """Store the traces in a directory; return the seconds that this took."""
    begun = time.monotonic()
    run = Run(folder, destination=Destination(endpoint=url, project="shop", api_key="sk_pp_1"))
    for start in range(0, TRACES, 1000):
        run.put(*(create(number, size=SIZE) for number in range(start, start + 1000)))
    run.die()
    return time.monotonic() - begun


if __name__ == "__main__":
    sys.exit(main())
