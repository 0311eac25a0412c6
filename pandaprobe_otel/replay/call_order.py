"""Places and order of calls: in tasks and threads (`CallsSoFar`), and in the spans around them (`Places`).

A place is the names of the spans around a call, with ordinals for repeated names. A call comes after another one that
ended before it began, in these cases:

- Both ran in the same task or thread.
- The earlier call ran in a task that the later call's task or thread had started.
- The earlier call ended before the later call's task was started.
- Both ran in independent tasks of the recording's own thread, and the earlier call ended before the first call of the
  later call's task.

Calls in other threads have no order: a pool runs its work in any order.

A fork plays what had ended before a span. A replay keeps the order of a program that makes one call after another. With
concurrent tasks, the order depends on the network. Then only the order of spans counts, such as an agent's runs, if no
span below the same parent may have run at the same time: the program has waited for each of them.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections import Counter
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from opentelemetry.trace import get_current_span

_ASYNCIO: Final = os.path.join(os.path.dirname(asyncio.__file__), "")


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
    numbers = [number for task in _all_tasks(flow.loop) if (number := _task_number(task))]
    return own - min(numbers, default=own) + 1


def _newest_task(flow: Flow) -> int:
    """Return the number of the newest task in the loop; 0 without a loop."""
    return 0 if flow.loop is None else max(map(_task_number, _all_tasks(flow.loop)), default=0)


def is_alone(flow: Flow, *, known: frozenset[Any]) -> bool:
    """Return whether no other task can make a call now.

    None can if all others are `known`, wait for this task, wait for a queue, an event or the like, or are the one that
    the loop runs to its end.
    """
    if flow.loop is None:
        return True
    others = _all_tasks(flow.loop) - {flow.task} - known
    waited_for: set[Any] = {flow.task, *known, *_released_by({flow.task, *known})}
    while waiting := {task for task in others if not waited_for.isdisjoint(_awaited(task))}:
        others -= waiting
        waited_for |= waiting | _released_by(waiting)
    return all(_is_main(task) or _is_of_asyncio(task) for task in others)


def _all_tasks(loop: Any) -> set[Any]:
    found: Any = asyncio.all_tasks(loop)
    return set[Any](found)


def _task_number(task: Any) -> int:
    """Return the number in the name that asyncio gives a task, which grows with each task; 0 for other names."""
    name: str = task.get_name() if task is not None else ""
    number = name.removeprefix("Task-")
    return int(number) if name != number and number.isdecimal() else 0


def _is_main(task: Any) -> bool:
    """Return whether `run_until_complete` waits for a task, as `asyncio.run` does for its program."""
    return any("run_until_complete" in getattr(one[0], "__name__", "") for one in getattr(task, "_callbacks", ()) or ())


def _awaited(task: Any) -> tuple[Any, ...]:
    """Return the task or future that a task waits for, and those that `gather` waits for in it."""
    future = getattr(task, "_fut_waiter", None)
    return future, *(getattr(future, "_children", None) or ())


def _released_by(tasks: Collection[Any]) -> set[Any]:
    """Return the futures by which the ends of these tasks wake others: `wait_for` waits for one of its own."""
    calls = (one[0] for task in tasks for one in getattr(task, "_callbacks", None) or ())
    return {value for call in calls if isinstance(call, partial) for value in call.args if asyncio.isfuture(value)}


def _is_of_asyncio(task: Any) -> bool:
    """Return whether a task only waits within asyncio, as `create_task(queue.get())` does, and runs no other code.

    Methods of classes that are derived from asyncio's, such as a framework's queue, belong to asyncio too.
    """
    inner = task.get_coro()
    while (code := getattr(inner, "cr_code", None)) is not None:
        if not code.co_filename.startswith(_ASYNCIO):
            owner = inner.cr_frame.f_locals.get("self") if inner.cr_frame is not None else None
            if not any(each.__module__.startswith("asyncio.") for each in type(owner).__mro__):
                return False
        inner = inner.cr_await
    return inner is not None


MAX_PLACES: Final = 100_000
"""Maximum number of spans of a recording whose paths are known. Calls below later spans have none."""

_ORDINALS: Final = re.compile(r" \(\d+(?:st|nd|rd|th)\)(?= > |$)")


@dataclass(slots=True, eq=False)
class _Place:
    """A span, or everything outside of spans."""

    path: str
    flow: Flow
    span: Any = None
    above: _Place | None = None
    previous: _Place | None = None
    """The span before this one below the same parent."""
    calls: int = 0
    """Calls in this span and its descendants, as bits."""
    last: _Place | None = None
    newest: int = 0
    """Number of the newest task at the last call."""
    has_branches: bool = False
    """True if spans below this one may run at the same time."""

    def add(self, place: _Place) -> None:
        """Add a span below this one, which began in the same task, or in one created after the last call."""
        task = place.flow.task
        is_known = place.flow == self.flow or _is_main(task) or _task_number(task) > self.newest
        has_waited = self.last is None or getattr(self.last.span, "end_time", None) is not None
        self.has_branches |= place.flow.thread is not self.flow.thread or not (is_known and has_waited)
        place.previous, self.last = self.last, place
        self.newest = max(self.newest, _newest_task(place.flow))


class Places:
    """Spans that have started since a recording was opened. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root = _Place("", flow_here())
        self._places: dict[tuple[int, int], _Place] = {}
        self._times: Counter[tuple[str, str]] = Counter()
        self._calls: dict[int, _Place] = {}

    def started(self, span: Any, name: str) -> None:
        """Note the start of a span."""
        context = span.get_span_context()
        if not context.is_valid or len(self._places) >= MAX_PLACES:
            return
        parent = getattr(span, "parent", None)
        flow = flow_here()
        with self._lock:
            above = self._root if parent is None else self._places.get((parent.trace_id, parent.span_id), self._root)
            self._times[above.path, name] += 1
            times = self._times[above.path, name]
            own = name if times == 1 else f"{name} ({ordinal(times)})"
            place = _Place(f"{above.path} > {own}" if above.path else own, flow, span, above)
            self._places[context.trace_id, context.span_id] = place
            above.add(place)

    def current(self) -> str:
        """Return the path of the running code; empty outside of known spans."""
        return self._here().path

    def began(self, number: int) -> None:
        """Note a call in the current span."""
        newest = _newest_task(flow_here())
        with self._lock:
            self._calls[number] = own = self._here()
            place: _Place | None = own
            while place is not None:
                place.calls |= 1 << number
                place.newest = max(place.newest, newest)
                place = place.above

    def waited_for(self, number: int) -> tuple[int, ...]:
        """Return the calls in the span that the program waited for before it began a span around this call."""
        place = self._calls[number]
        while place.above is not None:
            before = None if place.above.has_branches else place.previous
            while before is not None and not before.calls:
                before = before.previous
            if before is not None:  # it has waited for the spans before it
                return tuple(one for one in range(before.calls.bit_length()) if before.calls >> one & 1)
            place = place.above
        return ()

    def _here(self) -> _Place:
        context = get_current_span().get_span_context()
        return self._places.get((context.trace_id, context.span_id), self._root)


def ordinal(number: int) -> str:
    """Return a number as an ordinal."""
    last = number % 10 if number % 100 not in (11, 12, 13) else 0
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }".replace(" ", "")


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
        self._begun = 0
        self._implied: dict[int, int] = {}
        self._branches: dict[int, Branch] = {}
        self._tasks = {1}
        self._loops: list[object] = []
        self.is_sequential = True
        """True if each call so far began when all others had ended, and no other task could make one."""

    def caller(self) -> Caller:
        """Return the branch of the running code, which makes a call now."""
        flow = flow_here()
        here = self._state()
        if here.branch.flow == flow:
            return Caller(here.branch, here.last)
        with self._lock:
            before = self._ended_at_home if self._is_home(flow) else 0
            branch = Branch(flow, here.branch, self._new_task(flow), before)
        self._be(here._replace(branch=branch))
        return Caller(branch, here.last)

    def began(self, number: int, caller: Caller) -> tuple[int, ...]:
        """Note the start of a call; return the calls that directly precede it.

        Calls that precede one of these are omitted.
        """
        branch = caller.branch
        known = self._state().known
        with self._lock:
            self._branches[number] = branch
            if self.is_sequential:
                is_home = self._is_home(branch.flow)
                self.is_sequential = is_home and self._begun == self._ended and self._is_alone(branch)
            found = known & self._ended | branch.ended
            after, self._implied[number] = _without_implied(found, self._implied)
            self._begun |= 1 << number
        self._be(_Here(self, branch, found | 1 << number, number))
        return after

    def _state(self) -> _Here:
        here = _here.get()
        return here if here is not None and here.calls is self else _Here(self, self._root, 0, 0)

    def _be(self, here: _Here) -> None:
        """Set the state of the context, unless it is that of a thread without a relation to the recording."""
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

    @staticmethod
    def _is_alone(branch: Branch) -> bool:
        tasks: set[object] = set()
        above = branch.above
        while above is not None:
            tasks.add(above.flow.task)
            above = above.above
        return is_alone(branch.flow, known=frozenset(tasks))

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
