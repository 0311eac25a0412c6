"""Places and order of calls: in the spans around them (`Places`), and in tasks and threads (`CallsSoFar`).

A place is the names of the spans around a call, with ordinals for repeated names. A call comes after another one that
ended before it began, in these cases:

- Both ran in the same task or thread.
- The earlier call ran in a task that the later call's task or thread had started.
- The earlier call ended before the later call's task was started.
- Both ran in independent tasks of the recording's own thread, and the earlier call ended before the first call of the
  later call's task.

Calls in other threads have no order: a pool runs its work in any order.

A fork plays what had ended before a span. A replay keeps the order of a program that makes all calls in one task. With
several tasks, the order depends on the network.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from opentelemetry.trace import get_current_span

MAX_PLACES: Final = 100_000
"""Maximum number of spans of a recording whose paths are known. Calls below later spans have none."""
_ORDINALS: Final = re.compile(r" \(\d+(?:st|nd|rd|th)\)(?= > |$)")


class Places:
    """Paths of the spans that have started since a recording was opened. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paths: dict[tuple[int, int], str] = {}
        self._times: Counter[tuple[str, str]] = Counter()

    def started(self, span: Any, name: str) -> None:
        """Note the start of a span."""
        context = span.get_span_context()
        if not context.is_valid or len(self._paths) >= MAX_PLACES:
            return
        parent = getattr(span, "parent", None)
        with self._lock:
            above = "" if parent is None else self._paths.get((parent.trace_id, parent.span_id), "")
            self._times[above, name] += 1
            times = self._times[above, name]
            own = name if times == 1 else f"{name} ({ordinal(times)})"
            self._paths[context.trace_id, context.span_id] = f"{above} > {own}" if above else own

    def current(self) -> str:
        """Return the path of the running code; empty outside of known spans."""
        context = get_current_span().get_span_context()
        return self._paths.get((context.trace_id, context.span_id), "")


def ordinal(number: int) -> str:
    """Return a number as an ordinal."""
    last = number % 10 if number % 100 not in (11, 12, 13) else 0
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }".replace(" ", "")


class Flow(NamedTuple):
    """A thread, and a task of its event loop; without one, `task` is None. Both are objects, since ids are reused."""

    thread: Any
    loop: Any
    task: Any


def flow_here() -> Flow:
    """Return the current thread, its running event loop, and the current task in it."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return Flow(threading.current_thread(), None, None)
    return Flow(threading.current_thread(), loop, asyncio.current_task(loop))


def place_of_birth(flow: Flow) -> int:
    """Return a task's place in the order in which the tasks of its loop were created, from 1; 0 if it is unknown.

    Tasks that a program starts together begin their calls in any order, but are always created in the same one.
    """
    own = _task_number(flow.task)
    if not own:
        return 0
    known: Any = asyncio.all_tasks(flow.loop)
    numbers = [number for task in known if (number := _task_number(task))]
    return own - min(numbers, default=own) + 1


def _task_number(task: Any) -> int:
    """Return the number in the name that asyncio gives a task, which grows with each task; 0 for other names."""
    name: str = task.get_name() if task is not None else ""
    number = name.removeprefix("Task-")
    return int(number) if name != number and number.isdecimal() else 0


@dataclass(slots=True, eq=False)
class Branch:
    """A task or a thread, from its first call on. Bits of integers represent sets of calls.

    Attributes:
        task: Its number in the recording.
        ended: Calls that had ended when the branch began, and those that have ended in it and its descendants.
    """

    flow: Flow
    above: Branch | None
    task: int
    ended: int = 0


class Caller(NamedTuple):
    """A branch that is about to make a call, and the last call before it in the branch or its creator; 0 for none."""

    branch: Branch
    last: int


class _Here(NamedTuple):
    """State of a context, which tasks that start in it inherit."""

    calls: CallsSoFar
    branch: Branch
    known: int
    last: int


_TASKS_OF_A_LOOP: Final = 10_000
_here: Final[ContextVar[_Here | None]] = ContextVar("pandaprobe_recorded_calls", default=None)


class CallsSoFar:
    """Order of the calls of one recording. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root = Branch(flow_here(), None, 1)
        self._ended = 0
        self._ended_at_home = 0
        self._implied: dict[int, int] = {}
        self._branches: dict[int, Branch] = {}
        self._tasks = {1}
        self._loops: list[object] = []

    @property
    def is_sequential(self) -> bool:
        """True if all calls so far were made in one task."""
        return len({branch.task for branch in self._branches.values()}) < 2

    def caller(self) -> Caller:
        """Return the branch of the running code, which makes a call now."""
        flow = flow_here()
        here = self._state()
        if here.branch.flow == flow:
            return Caller(here.branch, here.last)
        is_home = self._is_home(flow)
        with self._lock:
            branch = Branch(flow, here.branch, self._new_task(flow), self._ended_at_home if is_home else 0)
        self._be(here._replace(branch=branch))
        return Caller(branch, here.last)

    def began(self, number: int, caller: Caller) -> tuple[int, ...]:
        """Note the start of a call; return the calls that directly precede it.

        Calls that precede one of these are omitted.
        """
        branch = caller.branch
        with self._lock:
            self._branches[number] = branch
            found = self._state().known & self._ended | branch.ended
            after, self._implied[number] = _without_implied(found, self._implied)
        self._be(_Here(self, branch, found | 1 << number, number))
        return after

    def ended(self, number: int) -> None:
        """Note the end of a call, once. The thread may differ from that of the start."""
        bit = 1 << number
        with self._lock:
            branch: Branch | None = self._branches.get(number)
            if branch is None:
                return
            self._ended |= bit
            if self._is_home(branch.flow):
                self._ended_at_home |= bit
            while branch is not None:
                branch.ended |= bit
                branch = branch.above

    def _state(self) -> _Here:
        here = _here.get()
        return here if here is not None and here.calls is self else _Here(self, self._root, 0, 0)

    def _be(self, here: _Here) -> None:
        """Set the state of the context, unless it is a thread's without a relation to the recording."""
        known = _here.get()
        if (known is not None and known.calls is self) or self._is_home(here.branch.flow):
            _here.set(here)

    def _is_home(self, flow: Flow) -> bool:
        return flow.thread is self._root.flow.thread

    def _new_task(self, flow: Flow) -> int:
        """Return the number of a new task: the same in each run, if the order in which tasks are created is."""
        if flow.loop is not None and flow.loop not in self._loops:
            self._loops.append(flow.loop)
        first = _TASKS_OF_A_LOOP * (1 + self._loops.index(flow.loop)) if flow.loop is not None else 0
        task = first + place_of_birth(flow)
        if task == first or task in self._tasks:
            task = max(self._tasks) + 1
        self._tasks.add(task)
        return task


def _without_implied(calls: int, implied: Mapping[int, int]) -> tuple[tuple[int, ...], int]:
    """Return the calls that precede none of the others, and the set of these calls with all that precede them."""
    found: list[int] = []
    preceding = 0
    while calls:
        newest = calls.bit_length() - 1
        found.append(newest)
        preceding |= implied.get(newest, 0) | 1 << newest
        calls &= ~preceding
    return tuple(reversed(found)), preceding


def strangeness(caller: Caller | None, *, task: int, at: str, here: str) -> tuple[bool, bool]:
    """Return a key that is larger for a recorded call that fits this caller less, by its task and its path.

    Threads begin their work in any order, so neither the numbers of their tasks nor the ordinals of their spans count.
    """
    if caller is not None and caller.branch.above is not None and caller.branch.flow.task is None:
        return False, _ORDINALS.sub("", at) != _ORDINALS.sub("", here)
    return task not in (0, 0 if caller is None else caller.branch.task), at != here
