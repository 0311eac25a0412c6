"""The order of calls: each comes after the calls that it must have waited for, as far as this is observable.

Times alone are not enough, since the order of concurrent branches depends on the network and changes between runs. A
call comes after another one that ended before it began, in these cases:

- Both ran in the same task or thread.
- The earlier call ran in a task that the later call's task or thread had started.
- The earlier call ended before the later call's task was started.
- Both ran in independent tasks of the recording's own thread, and the earlier call ended before the first call of the
  later call's task.

Calls in other threads have no order. A pool runs its work in any order, and without a context the relations of its
calls are unknown, unless the spans around them show these (`places`).
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, NamedTuple

from pandaprobe_otel.replay.current_task import Flow, flow_here


@dataclass(slots=True, eq=False)
class _Branch:
    """A task or a thread, from its first call on. Bits of integers represent sets of calls."""

    flow: Flow
    above: _Branch | None
    before: int = 0
    """Calls that had ended when the branch began."""
    ended: int = 0
    """Calls that have ended in the branch and its descendants."""


class _Here(NamedTuple):
    """State of a context, which tasks that start in it inherit."""

    calls: CallsSoFar
    branch: _Branch
    known: int


_here: Final[ContextVar[_Here | None]] = ContextVar("pandaprobe_recorded_calls", default=None)


class CallsSoFar:
    """Order of the calls of one recording. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root = _Branch(flow_here(), None)
        self._ended = 0
        self._ended_at_home = 0
        self._implied: dict[int, int] = {}
        self._branches: dict[int, _Branch] = {}

    def began(self, number: int, before: int = 0) -> tuple[int, ...]:
        """Note the start of a call; return the calls that directly precede it.

        Calls that precede one of these are omitted. `before` has the calls that precede this call according to the
        spans around it.
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
        """Note the end of a call, once. The thread may differ from that of the start."""
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
        """Return the calls that precede none of the others, and the set of these calls with all that precede them."""
        found: list[int] = []
        implied = 0
        while calls:
            newest = calls.bit_length() - 1
            found.append(newest)
            implied |= self._implied.get(newest, 0) | 1 << newest
            calls &= ~implied
        return tuple(reversed(found)), implied
