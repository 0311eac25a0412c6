"""A response body during reading: its chunks, their times, and exactly one end; and the streams that are observed."""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from time import time_ns
from typing import Any, Final, Literal, NamedTuple

from pandaprobe_otel_integrations._guard import guarded

from . import open_bodies

End = Literal["read", "terminal", "closed", "dropped", "failed", "exit"]
"""The end of a body: read to its end, last event seen, closed early, forgotten, broken, or open at the exit."""

MAX_BODY_BYTES: Final = 16 << 20
"""Number of bytes of a body that are kept. For later bytes, only the time is recorded. No chat answer is that long."""

_COLLECTED_ENDS: Final = frozenset({"closed", "dropped", "failed"})
"""Ends that may come from the garbage collector, which closes the generators that it finds."""
_EVENT_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


class BodyRecord(NamedTuple):
    """A body that has ended: its raw chunks from the socket, and the arrival of each (epoch ns).

    For a stream of objects, the objects are the chunks.
    """

    chunks: Sequence[Any]
    times_ns: Sequence[int]
    end: End
    error: BaseException | None

    @property
    def is_read(self) -> bool:
        """Return whether the body was read completely."""
        return self.end in ("read", "terminal")

    @property
    def is_cut(self) -> bool:
        """Return whether the body was too long to be kept completely."""
        return len(self.chunks) < len(self.times_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastEvent:
    """The rule that recognises the last event of a stream.

    `mark` matches at the start of the event's line. `hint` is a text in every last event, and rarely in other
    events: each chunk is searched for it.
    """

    hint: bytes
    mark: re.Pattern[bytes]

    def begins_in(self, chunk: bytes, chunks: Sequence[bytes]) -> bool:
        """Return whether the event starts in `chunk`, which contains the hint and is the last one of `chunks`."""
        found = self.mark.search(chunk)
        if found is None:
            return False
        # A chunk may start in the middle of a line, which may quote the mark.
        return found.start() > 0 or len(chunks) < 2 or chunks[-2].endswith((b"\n", b"\r"))


class ObservedBody:
    """Receives every chunk that the app pulls, and calls `on_end` once, at the first of its possible ends.

    When the event that `last` describes is complete, the body is complete too, whether the app reads on, closes it or
    only keeps it.
    """

    __slots__ = (
        "__weakref__",
        "_chunks",
        "_in_last_event",
        "_last",
        "_on_end",
        "_once",
        "_owner",
        "_size",
        "_times_ns",
    )

    def __init__(self, on_end: Callable[[BodyRecord], None], *, last: LastEvent | None = None) -> None:
        self._on_end: Callable[[BodyRecord], None] | None = on_end
        self._last = last
        self._chunks: list[Any] = []
        self._times_ns: list[int] = []
        self._size = 0
        self._in_last_event = False
        self._once = threading.Lock()
        self._owner: weakref.ref[Any] | None = None

    def watch(self, owner: object) -> None:
        """End this body as `dropped` when `owner`, the object that the app reads it through, is collected."""
        # `open_bodies` keeps this body alive, and with it the reference with the callback.
        self._owner = weakref.ref(owner, lambda _: self.end("dropped"))
        open_bodies.add(self)

    def keep(self, chunk: bytes) -> None:
        """Keep one chunk. This costs two appends and a search.

        The method runs between the client's own code, when the processor's caches contain none of its data, so it uses
        little memory. Other search methods parse their arguments, or first try bytes as a number.
        """
        self._times_ns.append(time_ns())
        size = self._size
        if size > MAX_BODY_BYTES:
            return
        self._chunks.append(chunk)
        self._size = size + len(chunk)
        last = self._last
        if last is not None and (self._in_last_event or chunk.partition(last.hint)[1]):
            self._look_for_end(last, chunk)

    def _look_for_end(self, last: LastEvent, chunk: bytes) -> None:
        if self._in_last_event or last.begins_in(chunk, self._chunks):
            self._in_last_event = True
            if chunk.endswith(_EVENT_ENDS):
                self.end("terminal")

    def end(self, how: End, error: BaseException | None = None) -> None:
        """End the body; only the first call has an effect."""
        if not self._once.acquire(blocking=False):
            return
        on_end, self._on_end = self._on_end, None
        open_bodies.remove(self)
        self._owner = None
        record = BodyRecord(self._chunks, self._times_ns, how, error)
        self._chunks, self._times_ns = [], []
        if on_end is None:
            return
        if how in _COLLECTED_ENDS:
            open_bodies.run_unlocked(guarded, on_end, record)
        else:
            guarded(on_end, record)

    def raised(self, error: BaseException) -> None:
        """End the body with an exception of reading, which is also how an iterator ends."""
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            self.end("read")
        else:
            self.end("failed", error)

    def abandon(self) -> None:
        """Never end the body: another body takes its place, or it belongs to the parent process of this fork."""
        self._once.acquire(blocking=False)
        self._on_end = None
        open_bodies.remove(self)


# -- A stream of objects: like a body of bytes, but the objects are read only at the end ------------------------------

MAX_ITEMS: Final = 200_000
"""Number of objects of a stream that are kept. For later objects, only the time is recorded."""


class ObservedItems(ObservedBody):
    """Receives every object that the app pulls. The library keeps them itself, so a reference costs nothing."""

    __slots__ = ()

    def keep(self, chunk: Any) -> None:
        """Keep one object. This costs two appends."""
        self._times_ns.append(time_ns())
        if len(self._chunks) < MAX_ITEMS:
            self._chunks.append(chunk)


# -- iterators and byte streams that pass on their items, errors and ends, and show them to an ObservedBody ------------


class Reading:
    """An iterator rather than a generator: it saves one frame per chunk, and never needs to be closed."""

    __slots__ = ("_items", "_keep", "body")

    def __init__(self, items: Any, body: ObservedBody) -> None:
        self._items = items
        self._keep = body.keep
        self.body = body

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            item = next(self._items)
        except BaseException as error:
            self.body.raised(error)
            raise
        self._keep(item)
        return item


class AsyncReading(Reading):
    """The async form. It has an async generator's methods, because httpx2 closes the stream's own generator early."""

    __slots__ = ()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            item = await anext(self._items)
        except BaseException as error:
            self.body.raised(error)
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


_BASE_NAMES: Final = frozenset({"SyncByteStream", "AsyncByteStream"})


def observed(stream: Any, body: ObservedBody) -> Any:
    """Return a stream that replaces `stream`: same bytes, same errors, same attributes. `body` sees all bytes."""
    return _tee_class(stream.__class__)(stream, body)


@cache
def _tee_class(kind: type[Any]) -> type[Any]:
    bases = tuple(base for base in kind.__mro__ if base.__name__ in _BASE_NAMES)
    return type("ObservedByteStream", (_Tee, *bases), {})


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
