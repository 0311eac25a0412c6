"""The runs that a framework has begun and not ended, by their ids, each with its span."""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from time import time_ns
from typing import Any, Final

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import Span

from pandaprobe_otel_integrations._llm_span import ModelClaim, with_claim

RUN_KEY: Final = "pandaprobe-run"
"""Context key of the run whose body the context belongs to."""

MAX_OPEN: Final = 10_000
"""Runs that may be open at once. More are a leak, of an app that abandons runs, and the oldest are given up."""


@dataclass(slots=True, eq=False, kw_only=True)
class Run:
    """One run. `span` is None for a run that shows nothing of its own; its children are its parent's."""

    run_id: Any
    parent: Run | None
    context: Context
    """The context in which the children of this run start."""
    name: str = ""
    span: Span | None = None
    is_agent: bool = False
    """True if it is the run of a whole graph."""
    agent: str | None = None
    """Name of the agent that this run is part of."""
    children: set[Run] = field(default_factory=set["Run"])
    """Those below that have not ended."""
    task: weakref.ref[asyncio.Task[Any]] | None = field(default_factory=lambda: _current_task())
    """The task that began it; None when it was begun outside of any."""
    thread: int = field(default_factory=threading.get_ident)
    started_ns: int = field(default_factory=time_ns)
    answers: bool = False
    """True if the model has begun to answer."""
    stopped: str | None = None
    """The outcome of what has stopped below it before its end, and has not gone on since."""
    handling: BaseException | None = field(default_factory=lambda: sys.exc_info()[1])
    """The exception that the app was handling when it began, which is none of this run's failures."""
    claim: ModelClaim | None = None
    _claimed: Context | None = None
    _before: Context | None = None

    @property
    def is_left_behind(self) -> bool:
        """Return whether its task is over. LangChain tells nothing of a model call that was cancelled."""
        if self.task is None:
            return False
        task = self.task()
        return task is None or task.done()

    @property
    def is_torn_down(self) -> bool:
        """Return whether it cannot go on while an exception passes through this thread: its task is cancelled as well,
        or its frames are in this thread. Another thread goes on and ends its runs itself."""
        return self.task is not None or self.thread == threading.get_ident()

    def enter_body(self) -> None:
        """The app's code runs inside this run from here on, in the caller's task and thread."""
        self._before = get_current()
        attach(self.context)

    def leave_body(self) -> None:
        """Give the caller's context back, where it is still the one that `enter_body` has made."""
        if self._before is not None and get_current() is self.context:
            attach(self._before)
        self._before = None

    def claim_model_call(self) -> None:
        """Say in the caller's context that the model call which follows is recorded here."""
        self.claim = ModelClaim()
        self._before = get_current()
        self._claimed = with_claim(self.claim, self._before)
        attach(self._claimed)

    def release_model_call(self) -> None:
        """The request is sent, or there will be none. Where the caller's context can be given back, it is.

        It cannot when another task than the caller's calls back; there, the closed claim says nothing any more.
        """
        if self.claim is not None:
            self.claim.close()
            if self._before is not None and get_current() is self._claimed:
                attach(self._before)
            self.claim = self._claimed = self._before = None


class OpenRuns:
    """All of them, whichever handler was told; callbacks come from any thread."""

    def __init__(self, limit: int = MAX_OPEN) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        self._runs: dict[Any, Run] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._runs

    def get(self, run_id: Any) -> Run | None:
        """Return the open run of this id."""
        return self._runs.get(run_id) if run_id is not None else None

    def add(self, run: Run) -> Run | None:
        """Keep a run. Returns the one that had to be given up for it: the oldest, when there are too many."""
        with self._lock:
            self._runs[run.run_id] = run
            if run.parent is not None:
                run.parent.children.add(run)
            if len(self._runs) <= self._limit:
                return None
            return self._remove(next(iter(self._runs)))

    def take(self, run_id: Any) -> Run | None:
        """Remove a run that has ended and return it; None when it is not open."""
        with self._lock:
            return self._remove(run_id)

    def take_below(self, run: Run, is_over: Callable[[Run], bool]) -> list[Run]:
        """Remove what is open below a run that has been taken and can be ended with it; return it, the deepest first.

        The others are below its parent from now on.
        """
        with self._lock:
            found: list[Run] = []
            waiting = [*run.children]
            run.children.clear()
            while waiting:
                child = waiting.pop()
                if is_over(child):
                    waiting.extend(child.children)
                    self._remove(child.run_id)
                    found.append(child)
                else:
                    child.parent = run.parent
                    if run.parent is not None:
                        run.parent.children.add(child)
        return found[::-1]

    def _remove(self, run_id: Any) -> Run | None:
        run = self._runs.pop(run_id, None)
        if run is not None and run.parent is not None:
            run.parent.children.discard(run)
        return run


def _current_task() -> weakref.ref[asyncio.Task[Any]] | None:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return None
    return None if task is None else weakref.ref(task)


OPEN_RUNS: Final = OpenRuns()
"""Of this process: a run that is told to two handlers of ours is recorded once."""
