"""Iterators that pass on their items, errors and ends, and show them to an ObservedBody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from pandaprobe_otel.process.guard import counted

from .body import ObservedBody

Written = Callable[[Any], bytes]
"""A function that encodes an item as bytes."""


class Reading:
    """An iterator rather than a generator: it saves one frame per chunk, and never needs to be closed."""

    __slots__ = ("_items", "_keep", "body")

    def __init__(self, items: Iterator[Any], body: ObservedBody, written: Written | None = None) -> None:
        self._items = items
        self._keep = body.keep if written is None else _keeper(body, written)
        self.body = body

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            item = next(self._items)
        except StopIteration:
            self.body.end("read")
            raise
        except BaseException as error:
            self.body.end("failed", error)
            raise
        self._keep(item)
        return item


class AsyncReading:
    """The async form. It has an async generator's methods, because httpx2 closes the stream's own generator early."""

    __slots__ = ("_items", "_keep", "body")

    def __init__(self, items: AsyncIterator[Any], body: ObservedBody, written: Written | None = None) -> None:
        self._items: Any = items
        self._keep = body.keep if written is None else _keeper(body, written)
        self.body = body

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            item = await anext(self._items)
        except StopAsyncIteration:
            self.body.end("read")
            raise
        except BaseException as error:
            self.body.end("failed", error)
            raise
        self._keep(item)
        return item

    async def asend(self, value: Any) -> Any:
        return await self.__anext__()

    async def athrow(self, *error: Any) -> Any:
        return await self._items.athrow(*error)

    async def aclose(self) -> None:
        close = getattr(self._items, "aclose", None)
        if close is not None:
            await close()


def _keeper(body: ObservedBody, written: Written) -> Callable[[Any], None]:
    def keep(item: Any) -> None:
        try:  # without a call of the guard for each chunk
            piece = written(item)
        except Exception as error:  # noqa: BLE001 - what cannot be written is not kept; the app goes on
            counted("an item of a stream", error)
        else:
            body.keep(piece)

    return keep
