"""The flows of a program: its threads and tasks, and which one has started which.

A call that had ended before another began need not have been waited for: two workers do their jobs in an order that is
chance. So calls are ordered within a flow, and between it and those that it has started; not between two of these.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, eq=False, weakref_slot=True)
class Flow:
    """A thread or a task of one recording.

    Attributes:
        above: The one that started it, the one that started that, and so on.
        own: The calls of this one that have ended, as bits.
        below: The same with those of all flows that it has started.
    """

    owner: weakref.ref[Any]
    thread: int
    task: weakref.ref[Any] | None
    above: tuple[Flow, ...] = ()
    own: int = 0
    below: int = 0

    @property
    def before(self) -> int:
        """The ended calls that a call which begins here may have waited for, as bits."""
        found = self.below
        for flow in self.above:
            found |= flow.own
        return found

    def ended(self, number: int) -> None:
        """Note the end of a call of this flow."""
        bit = 1 << number
        self.own |= bit
        for flow in (self, *self.above):
            flow.below |= bit


_current: ContextVar[Flow | None] = ContextVar("pandaprobe_flow", default=None)


def flow_of(owner: Any) -> Flow:
    """Return the flow that runs here, of a recording.

    The context of a new thread or task is a copy of that of who has started it, if it has one at all; so a flow that
    stands in the context, and is another thread or task, is the one that started this one.
    """
    thread, task = threading.get_ident(), _task()
    found = _current.get()
    if found is not None and found.owner() is not owner:
        found = None
    if found is not None and found.thread == thread and (found.task() if found.task else None) is task:
        return found
    above = () if found is None else (found, *found.above)
    flow = Flow(weakref.ref(owner), thread, None if task is None else weakref.ref(task), above)
    _current.set(flow)
    return flow


def _task() -> Any:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
