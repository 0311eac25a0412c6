"""Identity of running code: its thread and task."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Collection
from functools import partial
from typing import Any, Final, NamedTuple

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
    own = task_number(flow.task)
    if not own:
        return 0
    numbers = [number for task in _all_tasks(flow.loop) if (number := task_number(task))]
    return own - min(numbers, default=own) + 1


def newest_task(flow: Flow) -> int:
    """Return the number of the newest task in the loop; 0 without a loop."""
    return 0 if flow.loop is None else max(map(task_number, _all_tasks(flow.loop)), default=0)


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
    return all(is_main(task) or _is_of_asyncio(task) for task in others)


def _all_tasks(loop: Any) -> set[Any]:
    found: Any = asyncio.all_tasks(loop)
    return set[Any](found)


def task_number(task: Any) -> int:
    """Return the number in the name that asyncio gives a task, which grows with each task; 0 for other names."""
    name: str = task.get_name() if task is not None else ""
    number = name.removeprefix("Task-")
    return int(number) if name != number and number.isdecimal() else 0


def is_main(task: Any) -> bool:
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
