"""Reading along with the bodies that botocore and aiobotocore return: the objects stay, what they read from is told.

A body, and the HTTP library's response below it, keep their classes; they get methods of their own that do what those
of their class do, and tell. These refer to the object weakly, so that a forgotten body goes as it always did. None is
one that a finalizer calls: by then the object cannot be referred to any more.
"""

from __future__ import annotations

import inspect
import weakref
from time import time_ns
from typing import Any, Final

from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._streams import sse
from pandaprobe_otel_integrations._streams.body import MAX_BODY_BYTES, ObservedBody
from pandaprobe_otel_integrations._streams.reading import AsyncReading, Reading

_HEADS: Final = {name: b"event: %b\ndata: " % name.encode() for name in ("chunk", "contentBlockDelta")}
"""Of nearly all events. None of them is the last one."""


class ObservedEvents(ObservedBody):
    """Receives the messages of an event stream, which botocore has taken apart, and keeps each as an event."""

    __slots__ = ()

    def keep(self, chunk: Any) -> None:
        """One message was pulled. Most cost two appends and a concatenation."""
        head, payload = _HEADS.get(chunk.headers.get(":event-type")), chunk.payload
        if head is None or payload.find(b"\n") >= 0 or payload.find(b"\r") >= 0:
            super().keep(guarded(_event, chunk) or b"")
            return
        self._times_ns.append(time_ns())
        if self._size <= MAX_BODY_BYTES:
            self._chunks.append(b"%b%b\n\n" % (head, payload))
            self._size += len(payload)


def observe_events(stream: Any, body: ObservedBody) -> None:
    """The events of an EventStream, each with its name."""
    events = stream._event_generator  # pyright: ignore[reportPrivateUsage]
    reading = AsyncReading if hasattr(events, "__anext__") else Reading
    stream._event_generator = reading(events, body)  # pyright: ignore[reportPrivateUsage]
    _observe_close(stream, body)


def observe_bytes(streaming_body: Any, body: ObservedBody) -> None:
    """The bytes of a StreamingBody."""
    raw: Any = getattr(streaming_body, "_raw_stream", None)
    if raw is None:
        raw = streaming_body.__wrapped__  # before aiobotocore 3 the body is a proxy of the response
    else:
        _observe_close(streaming_body, body)
    content: Any = getattr(raw, "content", None)
    read: Any = getattr(content, "read", None)
    if read is not None and inspect.iscoroutinefunction(read):
        raw.content = _Content(content, body)
    else:
        raw.read = _Source(raw, body).read


def _event(event: Any) -> bytes:
    headers: Any = event.headers
    name = headers.get(":event-type") or headers.get(":exception-type") or headers.get(":error-code") or "error"
    return sse.written(event.payload, name)


def _observe_close(owner: Any, body: ObservedBody) -> None:
    this = weakref.ref(owner)
    kind: Any = owner.__class__

    def close(*args: Any, **kwargs: Any) -> Any:
        body.end("closed")
        return kind.close(this(), *args, **kwargs)

    owner.close = close


class _Source:
    """Reads as the class of `raw` does, and tells."""

    def __init__(self, raw: Any, body: ObservedBody) -> None:
        self._raw = weakref.ref(raw)
        self._kind: Any = raw.__class__
        self._body = body

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """In place of the method of that name."""
        try:
            chunk = self._kind.read(self._raw(), *args, **kwargs)
        except BaseException as error:
            self._body.end("failed", error)
            raise
        guarded(_keep, self._body, chunk, args[0] if args else kwargs.get("amt"))
        return chunk


class _Content:
    """Stands in for the reader of an aiohttp response, whose class has no room for more."""

    def __init__(self, content: Any, body: ObservedBody) -> None:
        self._observed_content = content
        self._observed_body = body

    async def read(self, n: int = -1) -> Any:
        """As the reader's own."""
        try:
            chunk = await self._observed_content.read(n)
        except BaseException as error:
            self._observed_body.end("failed", error)
            raise
        guarded(_keep, self._observed_body, chunk, n)
        return chunk

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_observed_"):
            raise AttributeError(name)
        return getattr(self._observed_content, name)


def _keep(body: ObservedBody, chunk: bytes, amount: int | None) -> None:
    if chunk:
        body.keep(bytes(chunk))
    if amount is None or amount < 0 or (not chunk and amount > 0):
        body.end("read")
