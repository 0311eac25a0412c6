"""The CPU time of work, for tests that compare how it grows."""

import gc
import time
from collections.abc import Callable


def cpu_seconds(work: Callable[[], object], rounds: int = 5) -> float:
    """Return the least CPU time of this process, in seconds, of several rounds of the work.

    The cyclic garbage collector pauses meanwhile: it goes through all objects of the tests, not of the work alone.
    """
    times: list[float] = []
    for _ in range(rounds):
        gc.collect()
        gc.disable()
        try:
            begun = time.process_time()
            work()
            times.append(time.process_time() - begun)
        finally:
            gc.enable()
    return min(times)
