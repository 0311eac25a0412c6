"""Progress of a run, shown in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TypeAlias

from pandaprobe_otel.api.models import EvalRun

Progress: TypeAlias = bool | Callable[[EvalRun], None] | None
"""True: a bar on standard error; None: a bar if that is a terminal; False: nothing; a function: gets each state."""


@contextmanager
def shown(progress: Progress) -> Generator[Callable[[EvalRun], None]]:
    """Yield the function that shows each state. Without rich (extra `cli`), there is no bar."""
    if callable(progress):
        yield progress
        return
    wanted = sys.stderr.isatty() if progress is None else progress
    if not wanted or find_spec("rich") is None:
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("evaluating", total=None)

        def show(run: EvalRun) -> None:
            failed = f", {run.failed_count} failed" if run.failed_count else ""
            description = f"{run.status.lower()}{failed}"
            bar.update(task, total=run.total_targets, completed=run.evaluated_count, description=description)

        yield show


def _nothing(run: EvalRun) -> None:
    return
