"""Many things at once, in threads: watched while they are done, and given up as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

Watch = Callable[[Sequence[Future[T]]], None]
"""Gets what is being done, and may wait for it."""


def all_at_once(jobs: Iterable[Callable[[], T]], *, threads: int, name: str, watch: Watch[T]) -> list[T]:
    """Return what the jobs return, in their order; so many are done at once. Raises what the first one raises."""
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            watch(futures)
            return [future.result() for future in futures]
        except BaseException:  # Ctrl-C: what has not begun does not begin
            pool.shutdown(wait=False, cancel_futures=True)
            raise
