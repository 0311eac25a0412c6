"""Identity of running code: its thread and task."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, NamedTuple


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
    own = _number(flow.task)
    if not own:
        return 0
    numbers = [number for task in _all_tasks(flow.loop) if (number := _number(task))]
    return own - min(numbers, default=own) + 1


def is_alone(flow: Flow, *, known: frozenset[Any]) -> bool:
    """Return whether no task may run beside this one, except for `known` ones and the one that the loop waits for."""
    others = _all_tasks(flow.loop) - {flow.task} - known if flow.loop is not None else set[Any]()
    return all(map(_is_main, others))


def _all_tasks(loop: Any) -> set[Any]:
    found: Any = asyncio.all_tasks(loop)
    return set[Any](found)


def _number(task: Any) -> int:
    name: str = task.get_name() if task is not None else ""
    number = name.removeprefix("Task-")
    return int(number) if name != number and number.isdecimal() else 0


def _is_main(task: Any) -> bool:
    """Return whether `run_until_complete` waits for a task, as `asyncio.run` does for its program."""
    return any("run_until_complete" in getattr(one[0], "__name__", "") for one in getattr(task, "_callbacks", ()) or ())
