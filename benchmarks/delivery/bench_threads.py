"""Cost of ending a span in fifty threads that make a million spans while no server is reachable.

    python benchmarks/delivery/bench_threads.py [--spans 1000000]

The reference is a `BatchSpanProcessor` whose exporter does nothing, each in its own process. The time is the wall time
of `on_end` alone, which includes the interpreter's switches between fifty threads. The CPU is that of the thread,
without these switches and other processes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

THREADS = 50

CHILD = """
import json, os, sys, threading, time
from array import array
from pathlib import Path
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from pandaprobe_otel import PandaProbeSpanProcessor
class Nothing(SpanExporter):
    def export(self, spans): return SpanExportResult.SUCCESS
which, each, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if which == "ours":
    inner = PandaProbeSpanProcessor(api_key="k", endpoint="http://127.0.0.1:9", shutdown_timeout_s=1)
else:
    inner = BatchSpanProcessor(Nothing())
taken, most = [], []
class Timed(SpanProcessor):
    def on_start(self, span, parent_context=None): inner.on_start(span, parent_context)
    def on_end(self, span):
        begun, cpu = time.perf_counter_ns(), time.thread_time_ns()
        inner.on_end(span)
        mine.most = max(mine.most, time.thread_time_ns() - cpu)
        mine.times.append(time.perf_counter_ns() - begun)
mine = threading.local()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(Timed())
tracer = provider.get_tracer("bench")
chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.input.messages": "x" * 500}
def emit():
    mine.times, mine.most = array("q"), 0
    for _ in range(each):
        with tracer.start_as_current_span("chat", attributes=chat): pass
    taken.append(mine.times)
    most.append(mine.most)
def memory_mb(): return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
before = memory_mb()
workers = [threading.Thread(target=emit) for _ in range(threads)]
for worker in workers: worker.start()
for worker in workers: worker.join()
grown_mb = memory_mb() - before - 8 * each * threads / 2**20  # the numbers themselves
times = sorted(time for each in taken for time in each)
row = {"p50_us": times[len(times) // 2] / 1e3, "p99_us": times[len(times) * 99 // 100] / 1e3, "max_ms": times[-1] / 1e6}
row["cpu_ms"] = max(most) / 1e6
row["grown_mb"] = grown_mb
inner.force_flush(1)
if which == "ours":
    end = time.monotonic() + 300
    while (status := inner.pipeline.status()).spans_ended < len(times) and time.monotonic() < end: time.sleep(0.1)
    lost = sum(status.spans_dropped.values())
    row["exact"] = len(times) == status.spans_ended == status.spans_delivered + lost + status.spans_pending
print(json.dumps(row))
inner.shutdown()
"""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=1_000_000)
    options = parser.parse_args()
    print("| | p50 us | p99 us | max ms | max CPU ms | memory, MB | every span counted |")
    print("|---|---:|---:|---:|---:|---:|---|")
    for which in ("batch-noop", "ours"):
        row = run(which, options.spans // THREADS)
        exact = {True: "yes", False: "NO", None: "-"}[row.get("exact")]
        figures = f"{row['p50_us']:.1f} | {row['p99_us']:.0f} | {row['max_ms']:.1f} | {row['cpu_ms']:.2f}"
        figures += f" | {row['grown_mb']:.0f}"
        print(f"| {which} | {figures} | {exact} |")


def run(which: str, each: int) -> dict[str, Any]:
    """Run one process and return its figures."""
    command = [sys.executable, "-c", CHILD, which, str(each), str(THREADS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    row: dict[str, Any] = json.loads(done.stdout)
    return row


if __name__ == "__main__":
    main()
