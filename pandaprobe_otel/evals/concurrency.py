"""Jobs in threads that are watched while they run, and cancelled together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

Watch = Callable[[Sequence[Future[T]]], None]
"""Function that is called with the running jobs, and may wait for them."""


def all_at_once(jobs: Iterable[Callable[[], T]], *, threads: int, name: str, watch: Watch[T]) -> list[T]:
    """Return the results of the jobs in order, running `threads` jobs at a time. Raises the first job's exception."""
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            watch(futures)
            return [future.result() for future in futures]
        except BaseException:  # After Ctrl-C, no further job starts.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
