"""One measurement of one peer in its own process, which `runs.py` starts. Prints one JSON object.

python child.py MEASURE PEER WORKLOAD URL [NUMBER ...]
"""

from __future__ import annotations

import gc
import json
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers import load
from workloads import WORKLOADS, stories


def control(url: str, path: str) -> dict[str, int]:
    with urllib.request.urlopen(url + path, timeout=60) as answer:
        counts: dict[str, int] = json.loads(answer.read())
    return counts


def resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


def settled_kb() -> int:
    """Return the resident memory after free memory was returned to the operating system."""
    import ctypes

    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return resident_kb()


def cpu(peer: str, workload: str, url: str) -> dict[str, float]:
    """Return the CPU time per span in us: of the calling thread for emission, and of the process until all spans have
    arrived.
    """
    shape = WORKLOADS[workload]
    pipeline = load(peer, url)
    for story in stories(workload, 1 if workload == "W3" else 10, first=10_000_000):
        pipeline.emit(story)
    pipeline.flush()
    batch = stories(workload, shape.traces)
    control(url, "/_reset")
    gc.collect()
    app = 0
    begun = time.process_time()
    for start in range(0, shape.traces, shape.chunk):
        for story in batch[start : start + shape.chunk]:
            before = time.thread_time_ns()
            pipeline.emit(story)
            app += time.thread_time_ns() - before
        pipeline.flush()
    total = time.process_time() - begun
    arrived = control(url, "/_stats")
    spans = shape.traces * shape.spans
    return {"app": app / spans / 1e3, "total": total / spans * 1e6, "bytes": arrived["bytes"] / spans}


def stall(peer: str, workload: str, url: str, count: float = 1000, gap_s: float = 0.002) -> dict[str, float]:
    """Measure memory per trace, latency and losses while the server stalls and traces arrive every few milliseconds."""
    shape = WORKLOADS[workload]
    count = int(count)
    pipeline = load(peer, url)
    for story in stories(workload, 3, first=10_000_000):
        pipeline.emit(story)
    pipeline.flush()
    control(url, "/_reset")
    control(url, "/_mode/stall")
    before = settled_kb()
    latencies: list[int] = []
    for number in range(count):
        (story,) = stories(workload, 1, first=number)
        begun = time.perf_counter_ns()
        pipeline.emit(story)
        latencies.append(time.perf_counter_ns() - begun)
        time.sleep(gap_s)
    del story
    time.sleep(3)
    grown = settled_kb() - before
    latencies.sort()
    control(url, "/_mode/ok")
    if peer != "otlp":
        pipeline.flush()
    seen = control(url, "/_stats")
    return {
        "kb_per_trace": grown / count,
        "grown_kb": grown,
        "p99_ms": latencies[int(0.99 * count)] / 1e6,
        "max_ms": latencies[-1] / 1e6,
        "lost": 1 - seen["spans"] / count / shape.spans if peer != "otlp" else float("nan"),
    }


def leave(peer: str, workload: str, url: str) -> dict[str, float]:
    """Emit traces and return; the parent measures the time from then until the process has ended."""
    pipeline = load(peer, url, limited=True)
    for story in stories(workload, 20):
        pipeline.emit(story)
    return {"ended_at": time.monotonic()}


MEASURES: dict[str, Callable[..., dict[str, float]]] = {
    "cpu": cpu,
    "stall": stall,
    "leave": leave,
}

if __name__ == "__main__":
    measure, peer, workload, url = sys.argv[1:5]
    more = map(float, sys.argv[5:])
    result: dict[str, Any] = MEASURES[measure](peer, workload, url, *more)
    print(json.dumps(result), flush=True)
    if measure != "leave":
        import os

        os._exit(0)
