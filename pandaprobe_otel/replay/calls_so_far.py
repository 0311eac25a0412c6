"""The order of calls: each comes after those that it must have waited for, as far as that can be seen.

Time alone says too much. Branches that run side by side take turns as the network has it, and take other turns the next
time. So a call comes after another one that had ended when it began if that ran in the same task or thread, in one that
was started from there, or before this one was started; and, of tasks in the recording's own thread that know nothing
of each other, if it had ended before the first call of this task. Other threads are in no order: those of a pool take
what comes, and without a context it cannot be told what belongs together; unless the spans around calls tell it
(`places`).
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, NamedTuple

from pandaprobe_otel.replay.current_task import Flow, flow_here


@dataclass(slots=True, eq=False)
class _Branch:
    """A task or a thread, from its first call on. Sets of calls are the bits of numbers."""

    flow: Flow
    above: _Branch | None
    before: int = 0
    """Calls that had ended when it began."""
    ended: int = 0
    """Calls that have ended in it, and in those below it."""


class _Here(NamedTuple):
    """The state of a context, which the tasks that start in it inherit."""

    calls: CallsSoFar
    branch: _Branch
    known: int


_here: Final[ContextVar[_Here | None]] = ContextVar("pandaprobe_recorded_calls", default=None)


class CallsSoFar:
    """The order of the calls of one recording. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root = _Branch(flow_here(), None)
        self._ended = 0
        self._ended_at_home = 0
        self._implied: dict[int, int] = {}
        self._branches: dict[int, _Branch] = {}

    def began(self, number: int, before: int = 0) -> tuple[int, ...]:
        """Note the beginning of a call; return the calls that it comes after, without those that these imply.

        `before` are calls that it comes after, as the spans around it tell.
        """
        flow = flow_here()
        here = _here.get()
        if here is not None and here.calls is not self:
            here = None
        with self._lock:
            known = 0 if here is None else here.known
            branch = self._root if here is None else here.branch
            is_home = flow[0] == self._root.flow[0]
            if branch.flow != flow:
                branch = _Branch(flow, branch, before=self._ended if is_home else 0)
            self._branches[number] = branch
            found = known & self._ended | branch.ended | branch.before & self._ended_at_home | before & self._ended
            after, self._implied[number] = self._last_of(found)
        if here is not None or is_home:
            _here.set(_Here(self, branch, found | 1 << number))
        return after

    def ended(self, number: int) -> None:
        """Note the end of a call, once. It may come from another thread than its beginning."""
        bit = 1 << number
        with self._lock:
            branch: _Branch | None = self._branches.get(number)
            if branch is None:
                return
            self._ended |= bit
            if branch.flow[0] == self._root.flow[0]:
                self._ended_at_home |= bit
            while branch is not None:
                branch.ended |= bit
                branch = branch.above

    def _last_of(self, calls: int) -> tuple[tuple[int, ...], int]:
        """Return the calls that imply all of these, and all that they imply."""
        found: list[int] = []
        implied = 0
        while calls:
            newest = calls.bit_length() - 1
            found.append(newest)
            implied |= self._implied.get(newest, 0) | 1 << newest
            calls &= ~implied
        return tuple(reversed(found)), implied
