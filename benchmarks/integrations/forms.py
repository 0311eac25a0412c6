"""The forms of a library's calls: what one run does, its number of units, and how a stream is forgotten."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from traffic import CHUNKS

LOOP: Final = asyncio.new_event_loop()
"""Event loop of asynchronous clients."""
# Threads are not forked: a child that used its parent's executor would wait for ever.
os.register_at_fork(after_in_child=lambda: LOOP.set_default_executor(ThreadPoolExecutor()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """`run(times)` repeats the call; `forget` (streams only) reads a little of a stream and drops it."""

    name: str
    run: Callable[[int], None]
    forget: Callable[[], None] | None = None

    @property
    def units(self) -> int:
        """The number of units of a run: the chunks of a stream, or one call."""
        return CHUNKS if self.forget is not None else 1

    @property
    def bound_us(self) -> float:
        """The allowed added cost of a unit, in microseconds of CPU."""
        return 5.0 if self.forget is not None else 100.0


def sync_forms(
    call: Callable[[], Any],
    open_stream: Callable[[], Iterable[Any]],
    *,
    names: tuple[str, str] = ("call", "chunk"),
) -> tuple[Form, Form]:
    """Return the forms of a synchronous client: a call as a whole, and a stream."""

    def calls(times: int) -> None:
        for _ in range(times):
            call()

    def streams(times: int) -> None:
        for _ in range(times):
            for _ in open_stream():
                pass

    def forget() -> None:
        next(iter(open_stream()))

    return (
        Form(name=f"sync {names[0]}", run=calls),
        Form(name=f"sync {names[1]}", run=streams, forget=forget),
    )


def async_forms(
    call: Callable[[], Awaitable[Any]],
    open_stream: Callable[[], Awaitable[AsyncIterable[Any]]],
    *,
    names: tuple[str, str] = ("call", "chunk"),
) -> tuple[Form, Form]:
    """Return the forms of an asynchronous client."""

    async def calls(times: int) -> None:
        for _ in range(times):
            await call()

    async def streams(times: int) -> None:
        for _ in range(times):
            async for _ in await open_stream():
                pass

    async def forget() -> None:
        await anext(aiter(await open_stream()))

    return (
        Form(name=f"async {names[0]}", run=lambda times: LOOP.run_until_complete(calls(times))),
        Form(
            name=f"async {names[1]}",
            run=lambda times: LOOP.run_until_complete(streams(times)),
            forget=lambda: LOOP.run_until_complete(forget()),
        ),
    )
