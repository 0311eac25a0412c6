"""Memory left by streams that are read a little and dropped."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable
from typing import Final

from forms import LOOP
from paired import Instrumentation

COUNT: Final = 10_000


def left_behind(
    instrumentation: Instrumentation, forget: Callable[[], None], count: int = COUNT
) -> tuple[float, float]:
    """Return the growth of Python's memory over `count` streams, and its peak, in KiB."""
    instrumentation.on()
    try:
        _many(forget, 200)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        _many(forget, count)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        instrumentation.off()
    return (after - before) / 1024, (peak - before) / 1024


def _many(forget: Callable[[], None], count: int) -> None:
    for _ in range(count):
        forget()
    gc.collect()
    for _ in range(3):
        LOOP.run_until_complete(asyncio.sleep(0))  # The loop closes dropped asynchronous generators.
    gc.collect()
