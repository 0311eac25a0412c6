"""Lag of an event loop with a thousand tracing tasks, half of them cancelled, while no server is reachable.

    python benchmarks/delivery/bench_loop.py [--tasks 1000]

A heartbeat sleeps for a millisecond repeatedly; the lag is the time by which it oversleeps. The references are a
provider without a span processor, and one with a `BatchSpanProcessor` whose exporter does nothing, each in its own
process. The lag is wall time, so it grows when other processes use the core. The CPU is that of the loop's thread
between two heartbeats.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CHILD = """
import asyncio, json, sys, time
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from pandaprobe_otel import PandaProbeSpanProcessor
class Nothing(SpanExporter):
    def export(self, spans): return SpanExportResult.SUCCESS
which, tasks = sys.argv[1], int(sys.argv[2])
provider = TracerProvider(shutdown_on_exit=False)
if which == "ours":
    ours = PandaProbeSpanProcessor(api_key="k", endpoint="http://127.0.0.1:9", shutdown_timeout_s=0)
    provider.add_span_processor(ours)
if which == "batch-noop":
    provider.add_span_processor(BatchSpanProcessor(Nothing()))
tracer = provider.get_tracer("bench")
chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.input.messages": "x" * 2000}
async def work(number):
    with tracer.start_as_current_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"}):
        for _ in range(4):
            with tracer.start_as_current_span("chat", attributes=chat):
                await asyncio.sleep(0.01)
        await asyncio.sleep(3600 if number % 2 else 0)
async def beat(lags, used):
    while True:
        begun, cpu = time.perf_counter(), time.thread_time()
        await asyncio.sleep(0.001)
        lags.append((time.perf_counter() - begun - 0.001) * 1e3)
        used.append((time.thread_time() - cpu) * 1e3)
async def main():
    lags, used, running = [], [], []
    heart = asyncio.create_task(beat(lags, used))
    for number in range(tasks):
        running.append(asyncio.create_task(work(number)))
        await asyncio.sleep(0.002)
    await asyncio.gather(*running[::2])
    for task in running[1::2]:
        task.cancel()
        await asyncio.sleep(0)
    await asyncio.gather(*running, return_exceptions=True)
    heart.cancel()
    return lags, used
lags, used = asyncio.run(main())
lags.sort(); used.sort()
row = {"p50": lags[len(lags) // 2], "p99": lags[len(lags) * 99 // 100], "max": lags[-1], "cpu": used[-1]}
if which == "ours":
    end = time.monotonic() + 60
    while (status := ours.pipeline.status()).spans_ended < 5 * tasks and time.monotonic() < end: time.sleep(0.1)
    row["exact"] = status.spans_ended == 5 * tasks == status.spans_pending + sum(status.spans_dropped.values())
provider.shutdown()
print(json.dumps(row))
"""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1000)
    options = parser.parse_args()
    print("| | lag p50 ms | p99 ms | max ms | most CPU of the loop's thread, ms | every span counted |")
    print("|---|---:|---:|---:|---:|---|")
    for which in ("no processor", "batch-noop", "ours"):
        row = run(which, options.tasks)
        exact = {True: "yes", False: "NO", None: "-"}[row.get("exact")]
        figures = " | ".join(f"{row[name]:.2f}" for name in ("p50", "p99", "max", "cpu"))
        print(f"| {which} | {figures} | {exact} |", flush=True)


def run(which: str, tasks: int) -> dict[str, Any]:
    """Run one process and return its figures."""
    command = [sys.executable, "-c", CHILD, which, str(tasks)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    row: dict[str, Any] = json.loads(done.stdout)
    return row


if __name__ == "__main__":
    main()
