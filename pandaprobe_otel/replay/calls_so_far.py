"""The order of calls, of two kinds.

The observed order is used by forks, which play what had ended before a span. A call comes after another one that ended
before it began, in these cases:

- Both ran in the same task or thread.
- The earlier call ran in a task that the later call's task or thread had started.
- The earlier call ended before the later call's task was started.
- Both ran in independent tasks of the recording's own thread, and the earlier call ended before the first call of the
  later call's task.

Calls in other threads have no order. A pool runs its work in any order, and without a context the relations of its
calls are unknown, unless the spans around them show these (`places`).

The observed order depends on the network, unless a program makes one call after another. So a replay of a program with
concurrent tasks keeps only the order within each task: its own calls, after those that its creator had begun before it
created the task.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, NamedTuple

from pandaprobe_otel.replay.call_places import without_ordinals
from pandaprobe_otel.replay.current_task import Flow, flow_here, is_alone, place_of_birth


@dataclass(slots=True, eq=False)
class Branch:
    """A task or a thread, from its first call on. Bits of integers represent sets of calls.

    Attributes:
        task: Its number in the recording.
        began_after: The last call that its creator had begun when it created the branch; 0 for none.
        before: Calls that had ended when the branch began.
        ended: Calls that have ended in the branch and its descendants.
    """

    flow: Flow
    above: Branch | None
    task: int
    began_after: int = 0
    before: int = 0
    ended: int = 0

    def has_order_with(self, other: Branch) -> bool:
        """Return whether the calls of this branch have an order with later calls of another one.

        They have if this is the other one, was created by it, or ran in an earlier event loop of the same thread.
        """
        branch: Branch | None = self
        while branch is not None:
            if branch is other:
                return True
            branch = branch.above
        return self.flow.thread is other.flow.thread and self.flow.loop is not other.flow.loop


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
        self._earlier: dict[int, int] = {}
        self._tasks = {1}
        self._loops: list[object] = []
        self.is_sequential = True
        """True if each call so far began when all others had ended, and no other task could make one."""

    def caller(self) -> Caller:
        """Return the branch of the running code, which makes a call now."""
        flow = flow_here()
        here = self._state()
        branch = self._root if here is None else here.branch
        last = 0 if here is None else here.last
        if branch.flow != flow:
            with self._lock:
                is_home = flow.thread is self._root.flow.thread
                task = self._new_task(flow)
                branch = Branch(flow, branch, task, last, before=self._ended if is_home else 0)
            if here is not None or is_home:
                _here.set(_Here(self, branch, 0 if here is None else here.known, last))
        return Caller(branch, last)

    def began(self, number: int, before: int = 0, *, caller: Caller | None = None) -> tuple[int, ...]:
        """Note the start of a call; return the calls that directly precede it in the observed order.

        Calls that precede one of these are omitted. `before` has the calls that precede this call according to the
        spans around it.
        """
        branch = (caller or self.caller()).branch
        here = self._state()
        with self._lock:
            known = 0 if here is None else here.known
            is_home = branch.flow.thread is self._root.flow.thread
            self._branches[number] = branch
            if self.is_sequential:
                self.is_sequential = is_home and self._begun == self._ended and self._is_alone(branch)
            found = known & self._ended | branch.ended | branch.before & self._ended_at_home | before & self._ended
            after, self._implied[number] = without_implied(found, self._implied)
            self._begun |= 1 << number
            self._earlier[number] = self._ended
        if here is not None or is_home:
            _here.set(_Here(self, branch, found | 1 << number, number))
        return after

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

    def task_of(self, number: int) -> tuple[int, int]:
        """Return the task of a call, and the call of its creator that it comes after."""
        branch = self._branches[number]
        return branch.task, branch.began_after

    def ended_elsewhere(self, number: int) -> list[int]:
        """Return the calls of other tasks that had ended when a call began."""
        branch, earlier = self._branches[number], self._earlier[number]
        return [one for one, other in self._branches.items() if earlier >> one & 1 and other is not branch]

    def _state(self) -> _Here | None:
        here = _here.get()
        return here if here is not None and here.calls is self else None

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
            if branch.flow.thread is self._root.flow.thread:
                self._ended_at_home |= bit
            while branch is not None:
                branch.ended |= bit
                branch = branch.above


def without_implied(calls: int, implied: Mapping[int, int]) -> tuple[tuple[int, ...], int]:
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
        return False, without_ordinals(at) != without_ordinals(here)
    return task not in (0, 0 if caller is None else caller.branch.task), at != here
