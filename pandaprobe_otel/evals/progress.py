"""Progress of an evaluation: done, failed, cost so far, time left. In place on a terminal, else a line each 10 s."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from pandaprobe_otel.api.models import EvalRun

T = TypeVar("T")

EVERY_S: Final = 10.0
"""Time between lines: a job that prints nothing for minutes looks as if it hung."""
_PAUSE_S: Final = 1.0


@dataclass(slots=True, kw_only=True)
class Tally:
    """The progress of a number of things, as far as it is known."""

    what: str
    total: int
    done: int = 0
    failed: int = 0
    cost: float | None = None

    def add(self, *, failed: bool, cost: float | None = None) -> None:
        """Count one that is done."""
        self.done += 1
        self.failed += failed
        if cost is not None:
            self.cost = (self.cost or 0.0) + cost

    def text(self, seconds: float) -> str:
        """Return the state after so many seconds, in one line."""
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
    """Says how far something is, at most every 10 s."""

    def __init__(self, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._begun = self._said_at = clock()

    @property
    def seconds(self) -> float:
        """Since when it ticks."""
        return self._clock() - self._begun

    def tick(self, state: Callable[[], Tally]) -> None:
        """Say it, if it is time; only then the state is asked for."""
        if self._clock() - self._said_at >= EVERY_S:
            self._said_at = self._clock()
            self._say(state().text(self.seconds))


Show = Callable[[Tally], None]


@contextmanager
def shown(say: Callable[[str], None], *, live: bool) -> Generator[Show]:
    """Yield the function that is given each state.

    live: on standard error, if that is a terminal and rich is installed (extra `cli`), instead of by `say`.
    """
    ticker = Ticker(say)
    if not live or not sys.stderr.isatty() or find_spec("rich") is None:
        yield lambda tally: ticker.tick(lambda: tally)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    # A task's output goes above the line; redirected to a file, it still goes there.
    whole = Progress(
        BarColumn(bar_width=20),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )
    with whole as bar:
        task = bar.add_task("", total=None)

        def show(tally: Tally) -> None:
            bar.update(task, total=tally.total, completed=tally.done, description=tally.text(ticker.seconds))

        yield show


def follow(futures: Sequence[Future[T]], tally: Tally, count: Callable[[Tally, T], None], show: Show) -> None:
    """Show the state until all are done, or one raises: that is left to whoever asks for its result."""
    finished: SimpleQueue[Future[T]] = SimpleQueue()
    for future in futures:
        future.add_done_callback(finished.put)
    show(tally)
    while tally.done < len(futures):
        try:
            future = finished.get(timeout=_PAUSE_S)
        except Empty:
            show(tally)
            continue
        if future.exception() is not None:
            return
        count(tally, future.result())
        show(tally)


def of_judge(say: Callable[[str], None], *, live: bool) -> Callable[[EvalRun], None] | None:
    """Return what shows a run of evaluations on the server, None for the bar that the client has on a terminal."""
    if live and sys.stderr.isatty():
        return None
    ticker = Ticker(say)
    return lambda run: ticker.tick(lambda: judged(run))


def judged(run: EvalRun) -> Tally:
    """Return the state of a run of evaluations on the server."""
    return Tally(
        what=f"judged ({', '.join(run.metric_names)})",
        total=run.total_targets,
        done=run.evaluated_count,
        failed=run.failed_count,
    )
