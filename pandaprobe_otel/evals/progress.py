"""Progress of an evaluation, printed every 10 s: done, failed, cost so far, time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

T = TypeVar("T")

EVERY_S: Final = 10.0
"""Seconds between lines. A job without output for minutes looks as if it hung."""
_PAUSE_S: Final = 1.0


@dataclass(slots=True, kw_only=True)
class Tally:
    """Progress of a number of items, as far as it is known."""

    what: str
    total: int
    done: int = 0
    failed: int = 0
    cost: float | None = None

    def add(self, *, failed: bool, cost: float | None = None) -> None:
        """Count a finished item."""
        self.done += 1
        self.failed += failed
        if cost is not None:
            self.cost = (self.cost or 0.0) + cost

    def text(self, seconds: float) -> str:
        """Return the state after this many seconds, on one line."""
        parts = [f"{self.done} of {self.total} {self.what}"]
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"${self.cost:.4g} so far"] if self.cost is not None else []
        left = self.total - self.done
        parts += [f"about {_span(seconds / self.done * left)} left"] if self.done and left > 0 else []
        return ", ".join(parts)


def _span(seconds: float) -> str:
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


class Ticker:
    """Printer of the progress, at most every 10 s."""

    def __init__(self, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._begun = self._said_at = clock()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._begun

    def tick(self, state: Callable[[], Tally]) -> None:
        """Print the state if it is due. The state is computed only then."""
        if self._clock() - self._said_at >= EVERY_S:
            self._said_at = self._clock()
            self._say(state().text(self.seconds))


Show = Callable[[Tally], None]


def shown(say: Callable[[str], None]) -> Show:
    """Return a function that receives each state."""
    ticker = Ticker(say)
    return lambda tally: ticker.tick(lambda: tally)


def all_at_once(
    jobs: Iterable[Callable[[], T]],
    what: str,
    *,
    threads: int,
    show: Show,
    count: Callable[[Tally, T], None] = lambda tally, _: tally.add(failed=False),
) -> list[T]:
    """Return the results of the jobs in order, running `threads` jobs at a time, and show the progress.

    what: the results, as the progress names them. count: counts a result. Raises the exception of the first job that
    fails; no further job starts then, nor after Ctrl-C.
    """
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="pandaprobe-evals") as pool:
        finished: SimpleQueue[Future[T]] = SimpleQueue()
        futures = [pool.submit(job) for job in jobs]
        tally = Tally(what=what, total=len(futures))
        for future in futures:
            future.add_done_callback(finished.put)
        try:
            show(tally)
            while tally.done < len(futures):
                with suppress(Empty):
                    count(tally, finished.get(timeout=_PAUSE_S).result())
                show(tally)
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
