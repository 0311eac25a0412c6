"""Iterators that pass on their items, errors and ends, and show them to an ObservedBody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from time import time_ns
from typing import Any, Final

from pandaprobe_otel.process.guard import counted
from pandaprobe_otel_integrations._streams.body import ObservedBody

# -- A stream of objects during reading: like an ObservedBody, but with objects in place of bytes ----------------------

MAX_ITEMS: Final = 200_000
"""Number of objects of a stream that are kept. For later objects, only the time is recorded."""


class ObservedItems(ObservedBody):
    """Receives every object that the app pulls, and calls `on_end` once, at the first of its possible ends.

    The objects are read only at the end: the library keeps them itself, so a reference costs nothing.
    """

    __slots__ = ()

    def keep(self, chunk: Any) -> None:
        """Keep one object. This costs two appends."""
        self._times_ns.append(time_ns())
        if len(self._chunks) < MAX_ITEMS:
            self._chunks.append(chunk)


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


# -- byte streams that pass on their bytes and show them to an ObservedBody --------------------------------------------

_BASE_NAMES: Final = frozenset({"SyncByteStream", "AsyncByteStream"})


def observed(stream: Any, body: ObservedBody) -> Any:
    """Return a stream that replaces `stream`: same bytes, same errors, same attributes. `body` sees all bytes."""
    return _tee_class(stream.__class__)(stream, body)


_classes: dict[type[Any], type[Any]] = {}


def _tee_class(kind: type[Any]) -> type[Any]:
    made = _classes.get(kind)
    if made is None:
        bases = tuple(base for base in kind.__mro__ if base.__name__ in _BASE_NAMES)
        made = _classes[kind] = type("ObservedByteStream", (_Tee, *bases), {})
    return made


class _Tee:
    def __init__(self, stream: Any, body: ObservedBody) -> None:
        self._observed_stream = stream
        self._observed_body = body
        # anthropic reads this attribute at every event; the lookup of a missing one would take longer than all other
        # work here.
        self.stream_observer = getattr(stream, "stream_observer", None)

    def __iter__(self) -> Iterator[bytes]:
        return Reading(iter(self._observed_stream), self._observed_body)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return AsyncReading(aiter(self._observed_stream), self._observed_body)

    def close(self) -> None:
        self._observed_body.end("closed")
        self._observed_stream.close()

    async def aclose(self) -> None:
        self._observed_body.end("closed")
        await self._observed_stream.aclose()

    def __getattr__(self, name: str) -> Any:
        # httpx2 reads `elapsed` from the stream; other attributes of the original are available as well.
        if name.startswith("_observed_"):
            raise AttributeError(name)
        return getattr(self._observed_stream, name)
