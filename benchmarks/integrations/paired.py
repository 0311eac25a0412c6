"""Paired measurements of an integration: the same work with it off and on, in turns, in one process.

Figures are CPU time (`process_time`), since nothing is waited for. The provider has one span processor that drops
what it gets.
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from pandaprobe_otel.registry import instrument, uninstrument

ABANDONED = 10_000


class Dropping(SpanProcessor):
    """The least that a pipeline can do."""


provider = TracerProvider()
provider.add_span_processor(Dropping())


def cpu_us(work: Callable[[], None]) -> float:
    """CPU time of `work` in microseconds."""
    gc.collect()
    gc.disable()
    start = time.process_time_ns()
    work()
    spent = time.process_time_ns() - start
    gc.enable()
    return spent / 1000


def added(integration: str, work: Callable[[], None], units: int, rounds: int) -> str:
    """Median and quartiles of what recording adds per unit, and the share of the whole."""
    differences: list[float] = []
    plain: list[float] = []
    for turn in range(rounds):
        off_first = turn % 2 == 0
        spent: dict[bool, float] = {}
        for on in (False, True) if off_first else (True, False):
            if on:
                instrument(integration, tracer_provider=provider)
            work()
            spent[on] = cpu_us(work)
            uninstrument(integration)
        differences.append((spent[True] - spent[False]) / units)
        plain.append(spent[False] / units)
    low, middle, high = statistics.quantiles(differences, n=4)
    base = statistics.median(plain)
    return f"+{middle:.2f} us (quartiles {low:.2f} to {high:.2f}) on {base:.1f} us, +{middle / base:.1%}"


def abandoned(integration: str, begin: Callable[[], None], count: int = ABANDONED) -> str:
    """Growth of Python's memory over many streams that `begin` reads a little and forgets."""
    instrument(integration, tracer_provider=provider)

    def forget(times: int) -> None:
        for _ in range(times):
            begin()
        gc.collect()

    forget(200)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    forget(count)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    uninstrument(integration)
    return f"{(after - before) / 1024:.0f} KiB more after {count} streams (peak {(peak - before) / 1024:.0f} KiB)"
