"""Cost of one decorated call with content, compared with a bare OpenTelemetry span with the same content.

The bare side does by hand what the decorator does: a span around the call, the same attributes, input and output
encoded with `json.dumps`. Both run in the same process on the same SDK (a provider without exporter) and alternate, so
that a noisy machine affects both. The figure is the median of the ratios, with its quartiles.

    python benchmarks/decorators/bench_decorators.py [repeats]
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider

import pandaprobe_otel as pp
from pandaprobe_otel.capture.trace_context import attributes_in
from pandaprobe_otel.capture.tracers import use_tracer_provider

CALLS = 300
PROSE = "The quick brown fox jumps over the lazy dog, while the panda probes the traces of its agents. "

HUGE = PROSE * (5_000_000 // len(PROSE))

provider = TracerProvider()
tracer = provider.get_tracer("bare")
STATIC = {"pandaprobe.span.kind": "TOOL", "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "find"}

DOCUMENTS = {
    "small (60 B)": {"hits": 3, "best": "tea"},
    "typical (2 KB)": {"documents": [{"id": n, "score": n / 7, "text": PROSE} for n in range(12)]},
    "large (32 KB)": {"documents": [{"id": n, "score": n / 7, "text": PROSE * 4} for n in range(80)]},
}


def find(query: str, limit: int = 5, document: Any = None) -> Any:
    """Stand in for a tool that does nothing, so that only tracing is measured."""
    return document


async def find_async(query: str, limit: int = 5, document: Any = None) -> Any:
    """Stand in for a coroutine tool."""
    return document


def stream(query: str, document: Any = None) -> Iterator[str]:
    """Stand in for a model that streams 100 pieces."""
    for _ in range(100):
        yield "piece"


decorated_stream = pp.llm(stream)
decorated = pp.tool(find)
decorated_async = pp.tool(find_async)


def bare(query: str, limit: int = 5, document: Any = None) -> Any:
    """Trace the call by hand, as an instrumentation does."""
    with tracer.start_as_current_span("find", attributes=STATIC) as span:
        span.set_attribute(
            "pandaprobe.input", json.dumps({"query": query, "limit": limit, "document": document}, default=str)
        )
        result = find(query, limit, document)
        span.set_attribute("pandaprobe.output", json.dumps(result, default=str))
        return result


async def bare_async(query: str, limit: int = 5, document: Any = None) -> Any:
    """Trace the awaited call by hand."""
    with tracer.start_as_current_span("find", attributes=STATIC) as span:
        span.set_attribute(
            "pandaprobe.input", json.dumps({"query": query, "limit": limit, "document": document}, default=str)
        )
        result = await find_async(query, limit, document)
        span.set_attribute("pandaprobe.output", json.dumps(result, default=str))
        return result


def microseconds(run: Callable[[], None]) -> float:
    """Return the CPU time of this thread for one call, in microseconds."""
    started = time.thread_time_ns()
    run()
    return (time.thread_time_ns() - started) / CALLS / 1000


def loop(function: Callable[..., Any], document: Any) -> Callable[[], None]:
    """Return a run of `CALLS` calls."""

    def run() -> None:
        for _ in range(CALLS):
            function("best tea", document=document)

    return run


def read_loop(function: Callable[..., Iterator[str]]) -> Callable[[], None]:
    """Return a run that reads enough streams for `CALLS` pieces."""

    def run() -> None:
        for _ in range(CALLS // 100):
            for _ in function("best tea"):
                pass

    return run


def stamp_loop() -> None:
    """Stamp `CALLS` spans without any values to set."""
    context = Context()
    for _ in range(CALLS):
        attributes_in(context)


def huge_loop() -> None:
    """Trace one call with a text of 5 MB."""
    decorated(HUGE)


def async_loop(function: Callable[..., Any], document: Any) -> Callable[[], None]:
    """Return a run of `CALLS` awaited calls on one event loop."""

    async def many() -> None:
        for _ in range(CALLS):
            await function("best tea", document=document)

    return lambda: asyncio.run(many())


def compare(label: str, bare_run: Callable[[], None], our_run: Callable[[], None], repeats: int) -> None:
    """Print the median times of both sides and the ratio of ours to the bare one."""
    pairs: list[tuple[float, float]] = []
    for n in range(repeats + 3):
        order = (bare_run, our_run) if n % 2 else (our_run, bare_run)
        times = {run: microseconds(run) for run in order}
        if n >= 3:
            pairs.append((times[bare_run], times[our_run]))
    ratios = sorted(ours / bare for bare, ours in pairs)
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"{label:24} bare {statistics.median(b for b, _ in pairs):7.2f} us   "
        f"decorated {statistics.median(o for _, o in pairs):7.2f} us   ratio {middle:.2f} ({low:.2f}-{high:.2f})"
    )


def main() -> None:
    """Run every comparison."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 31
    gc.disable()
    use_tracer_provider(None)
    compare("no provider, plain call", loop(find, None), loop(decorated, None), repeats)
    use_tracer_provider(provider)
    for name, document in DOCUMENTS.items():
        compare(name, loop(bare, document), loop(decorated, document), repeats)
    document = DOCUMENTS["typical (2 KB)"]
    compare("async, typical", async_loop(bare_async, document), async_loop(decorated_async, document), repeats)
    compare("generator, per piece", read_loop(stream), read_loop(decorated_stream), repeats)
    print(f"{'stamp, nothing set':24} {min(microseconds(stamp_loop) for _ in range(repeats)):7.2f} us per span")
    print(f"{'text of 5 MB':24} {min(microseconds(huge_loop) for _ in range(repeats)) * CALLS / 1000:7.2f} ms per call")


if __name__ == "__main__":
    main()
