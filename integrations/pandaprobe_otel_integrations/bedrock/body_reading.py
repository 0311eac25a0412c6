"""Observation of the bodies that botocore and aiobotocore return, without replacing the objects.

A body, and the HTTP library's response below it, keep their class. Each object gets its own methods, which do the
same as those of its class, and notify the observer. The methods refer to the object weakly, so that a forgotten body is
collected as usual. Methods that a finalizer calls are not replaced: by then, there are no more weak references to the
object.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import lru_cache, partial
from inspect import iscoroutinefunction
from time import time_ns
from typing import Any

from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._streams.body import MAX_BODY_BYTES, AsyncReading, ObservedBody, Reading


class ObservedEvents(ObservedBody):
    """Receives the messages of an event stream, which botocore has decoded. They are written as events at the end."""

    __slots__ = ()

    def keep(self, chunk: Any) -> None:
        """Keep one message. In most cases, this costs two appends."""
        self._times_ns.append(time_ns())
        if self._size <= MAX_BODY_BYTES:
            self._chunks.append(chunk)
            self._size += len(chunk.payload)
        # The last event has the counts of a conversation, or is an error, which has another header. At an error, the
        # client raises an exception that may keep the stream alive.
        if chunk.headers.get(":event-type") in (None, "metadata"):
            self.end("terminal")


class ObservedReads(ObservedBody):
    """Receives the results of calls of a file's `read`."""

    __slots__ = ()

    def keep_read(self, chunk: bytes, amount: int | None) -> None:
        """Keep the bytes that were read for `amount`; None and negative values stand for all bytes."""
        if chunk:
            self._times_ns.append(time_ns())
            if self._size <= MAX_BODY_BYTES:
                self._chunks.append(bytes(chunk))
                self._size += len(chunk)
        if amount is None or amount < 0 or (not chunk and amount > 0):
            self.end("read")


def observe_events(stream: Any, body: ObservedBody) -> None:
    """Observe the messages of an EventStream."""
    events = stream._event_generator  # pyright: ignore[reportPrivateUsage]
    reading = AsyncReading if hasattr(events, "__anext__") else Reading
    stream._event_generator = reading(events, body)  # pyright: ignore[reportPrivateUsage]
    _observe_close(stream, body)


def observe_bytes(streaming_body: Any, body: ObservedReads) -> None:
    """Observe the bytes of a StreamingBody."""
    raw: Any = getattr(streaming_body, "_raw_stream", None)
    if raw is None:
        raw = streaming_body.__wrapped__  # before aiobotocore 3, the body is a proxy of the response
        _observe_close(raw, body)
        if hasattr(raw, "release"):
            _observe_close(raw, body, "release")  # which leaving a `with` block calls
    else:
        _observe_close(streaming_body, body)
    if hasattr(raw, "aiter_raw"):  # a response of httpx, whose `content` raises until all is read

        def aiter_raw(original: Callable[..., Any], *args: Any) -> AsyncReading:
            return AsyncReading(original(*args), body)

        _instead(raw, "aiter_raw", aiter_raw)
        _observe_close(streaming_body, body, "aclose")
        return
    content: Any = getattr(raw, "content", None)
    if _reads_asynchronously(content.__class__):
        raw.content = _Content(content, body)
        return

    def read(original: Callable[..., bytes], *args: Any, **kwargs: Any) -> bytes:
        try:
            chunk = original(*args, **kwargs)
        except BaseException as error:
            body.raised(error)
            raise
        guarded(body.keep_read, chunk, args[0] if args else kwargs.get("amt"))
        return chunk

    _instead(raw, "read", read)


@lru_cache(maxsize=16)
def _reads_asynchronously(kind: type[Any]) -> bool:
    return iscoroutinefunction(getattr(kind, "read", None))


def _observe_close(owner: Any, body: ObservedBody, name: str = "close") -> None:
    def close(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        body.end("closed")
        return original(*args, **kwargs)

    _instead(owner, name, close)


def _instead(owner: Any, name: str, method: Callable[..., Any]) -> None:
    """Replace a method of one object. The replacement gets the original, bound to the object, before its arguments."""
    this, original = weakref.ref(owner), getattr(owner.__class__, name)

    def replaced(*args: Any, **kwargs: Any) -> Any:
        return method(partial(original, this()), *args, **kwargs)

    setattr(owner, name, replaced)


class _Content:
    """Stands in for the reader of an aiohttp response, whose class has slots and accepts no new methods."""

    def __init__(self, content: Any, body: ObservedReads) -> None:
        self._observed_content = content
        self._observed_body = body

    async def read(self, n: int = -1) -> Any:
        """Read as the original reader does."""
        try:
            chunk = await self._observed_content.read(n)
        except BaseException as error:
            self._observed_body.raised(error)
            raise
        guarded(self._observed_body.keep_read, chunk, n)
        return chunk

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_observed_"):
            raise AttributeError(name)
        return getattr(self._observed_content, name)
