"""Observation of the bodies that botocore and aiobotocore return, without replacing the objects.

A body, and the HTTP library's response below it, keep their class. Each object gets its own methods, which do the
same as those of its class, and notify the observer. The methods refer to the object weakly, so that a forgotten body is
collected as usual. Methods that a finalizer calls are not replaced: by then, there are no more weak references to the
object.
"""

from __future__ import annotations

import weakref
from functools import lru_cache
from inspect import iscoroutinefunction
from time import time_ns
from typing import Any, Final

from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._streams import sse
from pandaprobe_otel_integrations._streams.body import MAX_BODY_BYTES, ObservedBody
from pandaprobe_otel_integrations._streams.reading import AsyncReading, Reading

_HEADS: Final = {name: b"event: %b\ndata: " % name.encode() for name in ("chunk", "contentBlockDelta")}
"""Starts of nearly all events. None of them is the last event."""


class ObservedEvents(ObservedBody):
    """Receives the messages of an event stream, which botocore has decoded, and keeps each as an event."""

    __slots__ = ()

    def keep(self, chunk: Any) -> None:
        """Keep one message. In most cases, this costs two appends and a concatenation."""
        head, payload = _HEADS.get(chunk.headers.get(":event-type")), chunk.payload
        if head is None or payload.find(b"\n") >= 0 or payload.find(b"\r") >= 0:
            super().keep(guarded(_event, chunk) or b"")
            return
        self._times_ns.append(time_ns())
        if self._size <= MAX_BODY_BYTES:
            self._chunks.append(b"%b%b\n\n" % (head, payload))
            self._size += len(payload)


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
    """Observe the events of an EventStream, each with its name."""
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
        _observe_pieces(raw, body)
        _observe_close(streaming_body, body, "aclose")
        return
    content: Any = getattr(raw, "content", None)
    if _reads_asynchronously(content.__class__):
        raw.content = _Content(content, body)
    else:
        raw.read = _Source(raw, body).read


@lru_cache(maxsize=16)
def _reads_asynchronously(kind: type[Any]) -> bool:
    return iscoroutinefunction(getattr(kind, "read", None))


def _event(event: Any) -> bytes:
    headers: Any = event.headers
    name = headers.get(":event-type") or headers.get(":exception-type") or headers.get(":error-code") or "error"
    return sse.written(event.payload, name)


def _observe_close(owner: Any, body: ObservedBody, name: str = "close") -> None:
    this = weakref.ref(owner)
    kind: Any = owner.__class__

    def close(*args: Any, **kwargs: Any) -> Any:
        body.end("closed")
        return getattr(kind, name)(this(), *args, **kwargs)

    setattr(owner, name, close)


def _observe_pieces(raw: Any, body: ObservedBody) -> None:
    this = weakref.ref(raw)
    kind: Any = raw.__class__

    def aiter_raw(*args: Any, **kwargs: Any) -> AsyncReading:
        return AsyncReading(kind.aiter_raw(this(), *args, **kwargs), body)

    raw.aiter_raw = aiter_raw


class _Source:
    """Reads as the class of `raw` does, and notifies the observer."""

    def __init__(self, raw: Any, body: ObservedReads) -> None:
        self._raw = weakref.ref(raw)
        self._kind: Any = raw.__class__
        self._body = body

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """Replace the method of the same name."""
        try:
            chunk = self._kind.read(self._raw(), *args, **kwargs)
        except BaseException as error:
            self._body.end("failed", error)
            raise
        guarded(self._body.keep_read, chunk, args[0] if args else kwargs.get("amt"))
        return chunk


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
            self._observed_body.end("failed", error)
            raise
        guarded(self._observed_body.keep_read, chunk, n)
        return chunk

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_observed_"):
            raise AttributeError(name)
        return getattr(self._observed_content, name)
