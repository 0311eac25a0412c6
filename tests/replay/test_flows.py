"""What a call waits for: what ended before it in its own thread or task, and in those that it has started."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from pandaprobe_otel.replay.calls_so_far import CallsSoFar
from pandaprobe_otel.replay.flows import flow_of


class Numbered:
    """Calls that are made one after the other, whoever makes them."""

    def __init__(self) -> None:
        self.order = CallsSoFar()
        self.count = 0

    def __call__(self) -> tuple[int, ...]:
        self.count += 1
        after = self.order.began(self.count)
        self.order.ended(self.count)
        return after


def in_thread(run: Callable[..., Any], *arguments: Any) -> Any:
    """Run in a thread of its own, to its end."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run, *arguments).result()


def test_calls_of_one_thread_wait_for_one_another() -> None:
    """Each one names the last, which implies those before."""
    call = Numbered()

    assert [call() for _ in range(3)] == [(), (1,), (2,)]


def test_workers_do_not_wait_for_one_another() -> None:
    """Even if one has ended before the other began; who has started both waits for both."""
    call = Numbered()
    call()

    branches = [in_thread(copy_context().run, call) for _ in range(2)]

    assert branches == [(1,), (1,)]
    assert call() == (2, 3)


def test_tasks_do_not_wait_for_one_another() -> None:
    """Nor do those that a task has started; each of them waits for the one that started it."""
    call = Numbered()

    async def inner() -> tuple[int, ...]:
        return call()

    async def branch() -> list[tuple[int, ...]]:
        return [call(), *[await asyncio.create_task(inner()) for _ in range(2)], call()]

    async def program() -> list[Any]:
        return [call(), *[await asyncio.create_task(branch()) for _ in range(2)], call()]

    found = asyncio.run(program())

    assert found == [(), [(1,), (2,), (2,), (3, 4)], [(1,), (6,), (6,), (7, 8)], (5, 9)]


def test_a_thread_without_a_context_waits_for_nothing() -> None:
    """What is not known to have started it is not waited for."""
    call = Numbered()
    call()

    assert in_thread(call) == ()
    assert call() == (1,)


def test_recordings_have_flows_of_their_own() -> None:
    """And are not kept alive by them."""
    first, second = Numbered(), Numbered()
    first()

    assert second() == ()
    assert flow_of(first.order) is not flow_of(second.order)
    gone = weakref.ref(first.order)
    del first
    gc.collect()
    assert gone() is None


def test_many_workers_take_what_their_number_costs() -> None:
    """All that ended are named by who has started them."""
    call = Numbered()
    call()
    threads = [threading.Thread(target=copy_context().run, args=(call,)) for _ in range(200)]
    for thread in threads:
        thread.start()
        thread.join()

    assert call() == tuple(range(2, 202))
