"""Forms in which an app reads a streamed answer, and ways in which it ends.

A form opens a stream on a client; an ending reads the stream and leaves it. A `Sighting` has all that the app sees,
types included; it must be the same with and without instrumentation.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from typing import Any

from provider_server import fell_silent


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


ITEMS_BEFORE_THE_END = 3


@dataclass(slots=True)
class Opened:
    """A stream that the app has opened: its iterable, the function to leave it, and the items before a break."""

    items: Iterable[Any]
    leave: Callable[[], Any]
    reads: int = ITEMS_BEFORE_THE_END


@dataclass(slots=True)
class AsyncOpened:
    """A stream that the app has opened on an asynchronous client."""

    items: AsyncIterable[Any]
    leave: Callable[[], Awaitable[Any]]
    reads: int = ITEMS_BEFORE_THE_END


Form = Callable[[Any, Sighting], Opened]
AsyncForm = Callable[[Any, Sighting], Awaitable[AsyncOpened]]
Ending = Callable[[Form, Any, Sighting], None]
AsyncEnding = Callable[[AsyncForm, Any, Sighting], Awaitable[None]]

ROUNDS_WITHOUT_NEWS = 200
"""Rounds of the event loop without a new item after which none will come; a chunk takes a few through the client."""


def _some(opened: Opened, sighting: Sighting) -> None:
    for count, item in enumerate(opened.items, start=1):
        sighting.read(item)
        if count == opened.reads:
            break


def read_to_the_end(form: Form, client: Any, sighting: Sighting) -> None:
    """Read the whole stream, then leave it."""
    opened = form(client, sighting)
    for item in opened.items:
        sighting.read(item)
    opened.leave()


def read_and_leave(form: Form, client: Any, sighting: Sighting) -> None:
    """Read the whole stream, and leave it in any case, as a `with` block does."""
    opened = form(client, sighting)
    try:
        for item in opened.items:
            sighting.read(item)
    finally:
        opened.leave()


def sighted(form: Form, client: Any) -> Sighting:
    """Return the sighting of an app that reads everything and leaves: a faster `look`, for thousands of calls."""
    sighting = Sighting()
    try:
        read_and_leave(form, client, sighting)
    except Exception as error:  # noqa: BLE001 - whatever the client raises
        sighting.raised = (type(error), str(error))
    return sighting


def break_and_close(form: Form, client: Any, sighting: Sighting) -> None:
    """Break out of the loop, then close."""
    opened = form(client, sighting)
    _some(opened, sighting)
    opened.leave()


def with_and_break(form: Form, client: Any, sighting: Sighting) -> None:
    """Break out of the loop within a `with` block, which closes the stream."""
    opened = form(client, sighting)
    with ExitStack() as stack:
        if isinstance(opened.items, AbstractContextManager):
            opened.items = sighting.saw(stack.enter_context(opened.items))
        else:
            stack.callback(opened.leave)
        _some(opened, sighting)


def close_at_once(form: Form, client: Any, sighting: Sighting) -> None:
    """Close without reading anything."""
    form(client, sighting).leave()


def drop(form: Form, client: Any, sighting: Sighting) -> None:
    """Break out of the loop and forget the stream."""
    _some(form(client, sighting), sighting)
    gc.collect()


def never_iterate(form: Form, client: Any, sighting: Sighting) -> None:
    """Forget the stream without having read anything."""
    form(client, sighting)
    gc.collect()


def app_raises(form: Form, client: Any, sighting: Sighting) -> None:
    """Raise the app's own error in the middle of the loop, and close the stream on the way out."""
    opened = form(client, sighting)
    try:
        for count, item in enumerate(opened.items, start=1):
            sighting.read(item)
            if count == opened.reads:
                raise AppError("enough")
    finally:
        opened.leave()


ENDINGS: dict[str, Ending] = {
    "read to the end": read_to_the_end,
    "break and close": break_and_close,
    "close at once": close_at_once,
    "drop": drop,
    "never iterate": never_iterate,
    "app raises": app_raises,
}


def look(ending: Ending, form: Form, client: Any) -> Sighting:
    """Use one form with one ending; a raised exception is part of the sighting."""
    sighting = Sighting()
    try:
        ending(form, client, sighting)
    except BaseException as error:  # noqa: BLE001 - a cancellation is a sighting too
        sighting.raised = (type(error), str(error))
    gc.collect()
    return sighting


async def _settle() -> None:
    # The loop closes nested forgotten asynchronous generators one after the other.
    for _ in range(15):
        gc.collect()
        await asyncio.sleep(0.0005)


async def _some_async(opened: AsyncOpened, sighting: Sighting) -> None:
    count = 0
    async for item in opened.items:
        sighting.read(item)
        count += 1
        if count == opened.reads:
            break


async def read_to_the_end_async(form: AsyncForm, client: Any, sighting: Sighting) -> None:
    """Read the whole stream, then leave it."""
    opened = await form(client, sighting)
    async for item in opened.items:
        sighting.read(item)
    await opened.leave()


async def read_and_leave_async(form: AsyncForm, client: Any, sighting: Sighting) -> None:
    """Read the whole stream, and leave it in any case, as an `async with` block does."""
    opened = await form(client, sighting)
    try:
        async for item in opened.items:
            sighting.read(item)
    finally:
        await opened.leave()


async def sighted_async(form: AsyncForm, client: Any) -> Sighting:
    """Act like `sighted`, asynchronously."""
    sighting = Sighting()
    try:
        await read_and_leave_async(form, client, sighting)
    except Exception as error:  # noqa: BLE001 - whatever the client raises
        sighting.raised = (type(error), str(error))
    return sighting


async def break_and_close_async(form: AsyncForm, client: Any, sighting: Sighting) -> None:
    """Break out of the loop, then close."""
    opened = await form(client, sighting)
    await _some_async(opened, sighting)
    await opened.leave()


async def with_and_break_async(form: AsyncForm, client: Any, sighting: Sighting) -> None:
    """Break out of the loop within an `async with` block."""
    opened = await form(client, sighting)
    async with AsyncExitStack() as stack:
        if isinstance(opened.items, AbstractAsyncContextManager):
            opened.items = sighting.saw(await stack.enter_async_context(opened.items))
        else:
            stack.push_async_callback(opened.leave)
        await _some_async(opened, sighting)


async def close_at_once_async(form: AsyncForm, client: Any, sighting: Sighting) -> None:
    """Close without reading anything."""
    await (await form(client, sighting)).leave()


async def drop_async(form: AsyncForm, client: Any, sighting: Sighting) -> None:
    """Break out of the loop and forget the stream."""
    await _some_async(await form(client, sighting), sighting)
    await _settle()


async def never_iterate_async(form: AsyncForm, client: Any, sighting: Sighting) -> None:
    """Forget the stream without having read anything."""
    await form(client, sighting)
    await _settle()


async def app_raises_async(form: AsyncForm, client: Any, sighting: Sighting) -> None:
    """Raise the app's own error in the middle of the loop, and close the stream on the way out."""
    opened = await form(client, sighting)
    count = 0
    try:
        async for item in opened.items:
            sighting.read(item)
            count += 1
            if count == opened.reads:
                raise AppError("enough")
    finally:
        await opened.leave()


async def cancelled_async(form: AsyncForm, client: Any, sighting: Sighting) -> None:
    """Cancel the task while it waits for the next piece of a provider that has fallen silent."""
    read_some = asyncio.Event()

    async def reads() -> None:
        opened = await form(client, sighting)
        count = 0
        async for item in opened.items:
            sighting.read(item)
            count += 1
            if count == opened.reads:
                read_some.set()

    fell_silent.clear()
    task = asyncio.create_task(reads())
    waiting = asyncio.create_task(read_some.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    while not (fell_silent.is_set() or task.done()):  # noqa: ASYNC110 - the provider is a thread
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


ASYNC_ENDINGS: dict[str, AsyncEnding] = {
    "read to the end": read_to_the_end_async,
    "break and close": break_and_close_async,
    "close at once": close_at_once_async,
    "drop": drop_async,
    "never iterate": never_iterate_async,
    "app raises": app_raises_async,
    "cancelled": cancelled_async,
}


async def look_async(ending: AsyncEnding, form: AsyncForm, client: Any) -> Sighting:
    """Act like `look`, asynchronously."""
    sighting = Sighting()
    try:
        await ending(form, client, sighting)
    except BaseException as error:  # noqa: BLE001 - a cancellation is a sighting too
        sighting.raised = (type(error), str(error))
    await _settle()
    return sighting
