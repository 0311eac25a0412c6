"""The earlier calls that a recorded call comes after: those that a program waited for, not merely quicker ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial

from pandaprobe_otel.capture.trace_context import context_executor
from pandaprobe_otel.replay.calls_so_far import CallsSoFar


def call(calls: CallsSoFar, number: int) -> tuple[int, ...]:
    """Begin and end a call, and return the calls before it."""
    after = calls.began(number)
    calls.ended(number)
    return after


def in_thread(function: Callable[[], None]) -> None:
    """Run a function to its end in a thread."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_one_after_the_other() -> None:
    """A call directly follows the last call that has ended, and none that is still open."""
    calls = CallsSoFar()
    assert [call(calls, number) for number in (1, 2, 3)] == [(), (1,), (2,)]
    assert calls.began(4) == (3,)
    assert calls.began(5) == (3,)
    calls.ended(4)
    assert calls.began(6) == (4,)


async def test_branches_and_their_summary() -> None:
    """Parallel tasks have no order, however many calls they make; a call that waits for them comes after all."""
    calls = CallsSoFar()
    assert call(calls, 1) == ()

    async def branch(first: int, second: int) -> list[tuple[int, ...]]:
        found = [calls.began(first)]
        await asyncio.sleep(0)
        calls.ended(first)
        await asyncio.sleep(0)
        return [*found, call(calls, second)]

    assert tuple(await asyncio.gather(branch(2, 4), branch(3, 5))) == ([(1,), (2,)], [(1,), (3,)])
    assert call(calls, 6) == (4, 5)


async def test_steps_in_tasks_of_their_own() -> None:
    """A task that begins after another has ended comes after it, like the nodes of a graph."""
    calls = CallsSoFar()

    async def step(number: int) -> tuple[int, ...]:
        return call(calls, number)

    assert [await asyncio.ensure_future(step(number)) for number in (1, 2, 3)] == [(), (1,), (2,)]


def test_threads() -> None:
    """Parallel threads have no order, with or without their parent's context; a later call comes after both."""
    calls = CallsSoFar()
    found: list[tuple[int, ...]] = []
    call(calls, 1)

    def work(number: int, then: Callable[[], None]) -> None:
        found.append(call(calls, number))
        then()  # while this thread is alive, because a later thread could get the same id

    def third() -> None:
        in_thread(partial(work, 4, lambda: None))

    def second() -> None:
        in_thread(partial(context.run, work, 3, third))

    context = copy_context()
    in_thread(partial(copy_context().run, work, 2, second))
    assert found == [(1,), (1,), ()]
    assert call(calls, 5) == (2, 3, 4)


def test_a_pool_of_threads() -> None:
    """Tasks of a thread pool have no order, but the calls within one task have."""
    calls = CallsSoFar()

    def twice(number: int) -> list[tuple[int, ...]]:
        return [call(calls, number), call(calls, number + 1)]

    call(calls, 1)
    with ThreadPoolExecutor(1) as pool:
        assert list(pool.map(partial(call, calls), (2, 3))) == [(), ()]
        assert list(context_executor(pool).map(twice, (4, 6))) == [[(1,), (4,)], [(1,), (6,)]]
    assert call(calls, 8) == (2, 3, 5, 7)


def test_recordings_have_orders_of_their_own() -> None:
    """Each recording has its own order, without the calls of earlier recordings."""
    call(CallsSoFar(), 7)
    assert call(CallsSoFar(), 1) == ()
