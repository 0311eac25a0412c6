"""Jobs in threads, watched while they run, and given up as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

Watch = Callable[[Sequence[Future[T]]], None]
"""Gets what is being done, and may wait for it."""


def all_at_once(jobs: Iterable[Callable[[], T]], *, threads: int, name: str, watch: Watch[T]) -> list[T]:
    """Return the results of the jobs in their order, running `threads` at once. Raises the first job's exception."""
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            watch(futures)
            return [future.result() for future in futures]
        except BaseException:  # Ctrl-C: what has not begun does not begin
            pool.shutdown(wait=False, cancel_futures=True)
            raise
