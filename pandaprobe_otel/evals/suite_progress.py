"""Progress of the recorded tests in the log of a job. On a terminal, pytest itself shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pandaprobe_otel.evals.progress import Tally, Ticker
from pandaprobe_otel.evals.suite_runs import TestRun


class Watch:
    """Writer of a line after a test, at most every 10 s. With xdist, only the controller has one."""

    def __init__(self, terminal: Any, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`terminal` is pytest's reporter, or None."""
        self._terminal: Any = None if terminal is None or terminal.isatty else terminal
        self._ticker = Ticker(self._say, clock=clock)

    def tell(self, tests: Iterable[Sequence[TestRun]]) -> None:
        """Write the progress of these tests, each with its runs, if it is due."""
        if self._terminal is not None:
            self._ticker.tick(lambda: _tally(tests))

    def _say(self, line: str) -> None:
        self._terminal.ensure_newline()  # After the line of dots, which pytest does not track with xdist.
        writer = self._terminal.config.get_terminal_writer()
        if writer.width_of_current_line:
            writer.line()
        self._terminal.write_line(f"pandaprobe: {line}")


def _tally(tests: Iterable[Sequence[TestRun]]) -> Tally:
    done = [runs for runs in tests if runs]
    tally = Tally(what="traced tests", total=max((runs[0].recorded for runs in done), default=0))
    for runs in done:
        costs = [trace.cost for run in runs for trace in run.traces if trace.cost is not None]
        tally.add(failed=_is_lost(runs), cost=sum(costs) if costs else None)
    return tally


def _is_lost(runs: Sequence[TestRun]) -> bool:
    failed = sum(run.ran and not run.passed for run in runs)
    repetition = runs[0].demand.repetition
    return failed > 0 and repetition.settled(passed=0, failed=failed) == "out of reach"
