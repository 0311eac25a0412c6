"""Forms in which an app reads a streamed answer, and ways in which it ends, for both kinds of clients.

A form opens a stream on a client; an ending reads the stream and leaves it. A `Sighting` has all that the app sees,
types included; it must be the same with and without instrumentation.

All of them are coroutines. With a synchronous client they wait for nothing, so `finished` runs them without an event
loop, exactly as an app without one makes the calls. With an asynchronous client, they run in a loop.
"""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, Final, TypeVar

from provider_server import fell_silent

T = TypeVar("T")
ITEMS_BEFORE_THE_END: Final = 3
ROUNDS_WITHOUT_NEWS: Final = 200
"""Rounds of the event loop without a new item after which none will come; a chunk takes a few through the client."""
_END: Final = object()


class AppError(Exception):
    """Raised by the app in the middle of a stream."""


@dataclass(slots=True)
class Sighting:
    """The app's view of a call."""

    types: list[type] = field(default_factory=list[type])
    items: list[str] = field(default_factory=list[str])
    raised: tuple[type, str] | None = None

    def saw(self, value: Any) -> Any:
        """Note the type of something that the library returned, and return it."""
        self.types.append(type(value))
        return value

    def read(self, item: Any) -> None:
        """Note one item of the stream."""
        self.types.append(type(item))
        self.items.append(repr(item))


@dataclass(slots=True)
class Opened:
    """A stream that the app has opened: its iterable, the function to leave it, and the items before a break."""

    items: Any
    leave: Callable[[], Any]
    reads: int = ITEMS_BEFORE_THE_END


Form = Callable[[Any, Sighting], Coroutine[Any, Any, Opened]]
Ending = Callable[[Form, Any, Sighting], Coroutine[Any, Any, None]]


def in_a_loop() -> bool:
    """Return whether an event loop runs the caller, so that its client is an asynchronous one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def finished(steps: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing, without an event loop."""
    try:
        steps.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("a synchronous client returned something to wait for")


async def settled(value: Any) -> Any:
    """Return the value, awaited if necessary: some methods and old versions return it at once."""
    return await value if isawaitable(value) else value


class Within:
    """`async with` for the context managers of both kinds of clients."""

    def __init__(self, manager: Any) -> None:
        enter, leave = ("__aenter__", "__aexit__") if in_a_loop() else ("__enter__", "__exit__")
        self._enter, self._leave = getattr(manager, enter), getattr(manager, leave)

    async def __aenter__(self) -> Any:
        return await settled(self._enter())

    async def __aexit__(self, *raised: Any) -> None:
        await settled(self._leave(*raised))

    def leave(self) -> Any:
        """Leave it; await the result."""
        return self._leave(None, None, None)


async def read(items: Any, sighting: Sighting, count: float = math.inf, enough: Exception | None = None) -> None:
    """Read all items, or so many; then raise `enough` in the middle of the loop, if it is given."""
    is_async = in_a_loop()
    source = aiter(items) if is_async else iter(items)
    while count > 0:
        item = await anext(source, _END) if is_async else next(source, _END)
        if item is _END:
            return
        sighting.read(item)
        count -= 1
    if enough is not None:
        raise enough


async def read_to_the_end(form: Form, client: Any, sighting: Sighting) -> None:
    """Read the whole stream, then leave it."""
    opened = await form(client, sighting)
    await read(opened.items, sighting)
    await settled(opened.leave())


async def read_and_leave(form: Form, client: Any, sighting: Sighting) -> None:
    """Read the whole stream, and leave it in any case, as a `with` block does."""
    opened = await form(client, sighting)
    try:
        await read(opened.items, sighting)
    finally:
        await settled(opened.leave())


async def break_and_close(form: Form, client: Any, sighting: Sighting) -> None:
    """Break out of the loop, then close."""
    opened = await form(client, sighting)
    await read(opened.items, sighting, opened.reads)
    await settled(opened.leave())


async def with_and_break(form: Form, client: Any, sighting: Sighting) -> None:
    """Break out of the loop within a `with` block, which closes the stream."""
    opened = await form(client, sighting)
    if hasattr(opened.items, "__aexit__" if in_a_loop() else "__exit__"):
        async with Within(opened.items) as items:
            await read(sighting.saw(items), sighting, opened.reads)
        return
    try:
        await read(opened.items, sighting, opened.reads)
    finally:
        await settled(opened.leave())


async def close_at_once(form: Form, client: Any, sighting: Sighting) -> None:
    """Close without reading anything."""
    await settled((await form(client, sighting)).leave())


async def drop(form: Form, client: Any, sighting: Sighting) -> None:
    """Break out of the loop and forget the stream."""
    opened = await form(client, sighting)
    await read(opened.items, sighting, opened.reads)


async def never_iterate(form: Form, client: Any, sighting: Sighting) -> None:
    """Forget the stream without having read anything."""
    await form(client, sighting)


async def app_raises(form: Form, client: Any, sighting: Sighting) -> None:
    """Raise the app's own error in the middle of the loop, and close the stream on the way out."""
    opened = await form(client, sighting)
    try:
        await read(opened.items, sighting, opened.reads, AppError("enough"))
    finally:
        await settled(opened.leave())


async def cancelled(form: Form, client: Any, sighting: Sighting) -> None:
    """Cancel the task while it waits for the next piece of a provider that has fallen silent."""

    async def reads() -> None:
        opened = await form(client, sighting)
        await read(opened.items, sighting)

    fell_silent.clear()
    task = asyncio.create_task(reads())
    enough = ITEMS_BEFORE_THE_END
    while not (task.done() or (fell_silent.is_set() and len(sighting.items) >= enough)):  # noqa: ASYNC110 - a thread
        await asyncio.sleep(0.001)
    await _all_read(sighting)
    task.cancel()
    await task


async def _all_read(sighting: Sighting) -> None:
    """Run the event loop until no more items are read: on loopback, all sent items have then arrived."""
    rounds, known = 0, -1
    while rounds < ROUNDS_WITHOUT_NEWS:
        await asyncio.sleep(0)
        rounds, known = (rounds + 1, known) if len(sighting.items) == known else (0, len(sighting.items))


ENDINGS: Final[dict[str, Ending]] = {
    "read to the end": read_to_the_end,
    "break and close": break_and_close,
    "with and break": with_and_break,
    "close at once": close_at_once,
    "drop": drop,
    "never iterate": never_iterate,
    "app raises": app_raises,
    "cancelled": cancelled,
}


async def look(ending: Ending, form: Form, client: Any) -> Sighting:
    """Use one form with one ending, and collect what it has left; a raised exception is part of the sighting."""
    sighting = Sighting()
    try:
        await ending(form, client, sighting)
    except BaseException as error:  # noqa: BLE001 - a cancellation is a sighting too
        sighting.raised = (type(error), str(error))
    gc.collect()
    # The loop closes nested forgotten asynchronous generators one after the other.
    for _ in range(15 if in_a_loop() else 0):
        gc.collect()
        await asyncio.sleep(0.0005)
    return sighting


async def sighted(form: Form, client: Any) -> Sighting:
    """Return the sighting of an app that reads everything and leaves: a faster `look`, for thousands of calls."""
    sighting = Sighting()
    try:
        await read_and_leave(form, client, sighting)
    except Exception as error:  # noqa: BLE001 - whatever the client raises
        sighting.raised = (type(error), str(error))
    return sighting
