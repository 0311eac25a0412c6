"""Measurements for `marks.py`, each in its own process (`child.py`)."""

from __future__ import annotations

import asyncio
import gc
import time

from peers import load
from workloads import stories

IDLE_TRACES = 10_000
TASKS = 1000
LARGE = {"100 KB": 100_000, "1 MB": 1_000_000, "5 MB": 5_000_000}


def first(peer: str, workload: str, url: str) -> dict[str, float]:
    """Return the time and CPU time from a cold start to the first trace's arrival, and the time to emit it, in ms."""
    (story,) = stories(workload, 1)
    begun, cpu = time.perf_counter(), time.process_time()
    pipeline = load(peer, url, limited=True)
    set_up = time.thread_time()
    pipeline.emit(story)
    emitted = time.thread_time() - set_up
    pipeline.flush()
    return {
        "ms": (time.perf_counter() - begun) * 1e3,
        "cpu_ms": (time.process_time() - cpu) * 1e3,
        "emit_ms": emitted * 1e3,
    }


def limit(peer: str, workload: str, url: str, seconds: float) -> dict[str, float]:
    """Return the CPU time of a minute with 100 traces, spread evenly, in milliseconds."""
    pipeline = load(peer, url, limited=True)
    for story in stories(workload, 10, first=10_000_000):
        pipeline.emit(story)
    pipeline.flush()
    batch = stories(workload, int(seconds * 100 / 60))
    gc.collect()
    begun, cpu = time.monotonic(), time.process_time()
    for number, story in enumerate(batch):
        pipeline.emit(story)
        time.sleep(max(begun + (number + 1) * 0.6 - time.monotonic(), 0.0))
    used = time.process_time() - cpu
    pipeline.flush()
    return {"ms_a_minute": used / len(batch) * 100 * 1e3}


def tasks(peer: str, workload: str, url: str) -> dict[str, float]:
    """Return the CPU time of the loop's thread in us, for a thousand tasks that make a trace each and await between its
    spans.
    """
    pipeline = load(peer, url)
    tracer = pipeline.tracer
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.input.messages": "x" * 2000}

    async def work() -> None:
        with tracer.start_as_current_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"}):
            for _ in range(4):
                with tracer.start_as_current_span("chat", attributes=chat):
                    await asyncio.sleep(0.01)

    async def main() -> None:
        await asyncio.gather(*(work() for _ in range(TASKS)))

    asyncio.run(main())
    pipeline.flush()
    used: list[int] = []
    for _ in range(5):
        gc.collect()
        before = time.thread_time_ns()
        asyncio.run(main())
        used.append(time.thread_time_ns() - before)
        pipeline.flush()
    return {"us_per_span": sorted(used)[len(used) // 2] / TASKS / 5 / 1e3}


def idle(peer: str, workload: str, url: str, seconds: float) -> dict[str, float]:
    """Return the share of a core that ten thousand open traces cost while nothing happens, in per cent."""
    pipeline = load(peer, url)
    held = [pipeline.tracer.start_span(f"agent {number}") for number in range(IDLE_TRACES)]
    time.sleep(2)
    gc.collect()
    begun, cpu = time.monotonic(), time.process_time()
    time.sleep(seconds)
    share = (time.process_time() - cpu) / (time.monotonic() - begun)
    assert all(span.is_recording() for span in held)
    return {"percent": share * 100}


def large(peer: str, workload: str, url: str) -> dict[str, float]:
    """Return the CPU until a span with one large value has arrived, in us per KB of the value."""
    pipeline = load(peer, url)
    for story in stories(workload, 10, first=10_000_000):
        pipeline.emit(story)
    pipeline.flush()
    row: dict[str, float] = {}
    for name, size in LARGE.items():
        figures: list[float] = []
        for number in range(5):
            text = (f'{number} paragraph of a document, with a "quote" and an end.\n' * (size // 50))[:size]
            gc.collect()
            cpu = time.process_time()
            with pipeline.tracer.start_as_current_span("chat") as span:
                span.set_attribute("gen_ai.operation.name", "chat")
                span.set_attribute("input.value", text)
            pipeline.flush()
            figures.append((time.process_time() - cpu) * 1e6 / (size / 1000))
        row[name] = sorted(figures)[len(figures) // 2]
    return row
