"""Reading along with the bodies that botocore and aiobotocore return: the objects stay, what they read from is told.

A body reads from the HTTP library's response below it. That object keeps its class; it gets methods of its own that
do what those of its class do, and tell. They refer to it weakly, so that a forgotten body goes as it always did.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from typing import Any

from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._streams import sse
from pandaprobe_otel_integrations._streams.body import ObservedBody
from pandaprobe_otel_integrations._streams.reading import AsyncReading, Reading


def observe_events(stream: Any, body: ObservedBody) -> None:
    """The events of an EventStream, each with its name."""
    events = stream._event_generator  # pyright: ignore[reportPrivateUsage]
    asynchronous = hasattr(events, "__anext__")
    reading = AsyncReading if asynchronous else Reading
    stream._event_generator = reading(events, body, _event)  # pyright: ignore[reportPrivateUsage]
    running = "ag_running" if asynchronous else "gi_running"
    _observe_close(stream._raw_stream, body, lambda: bool(getattr(events, running, False)))  # pyright: ignore[reportPrivateUsage]


def observe_bytes(streaming_body: Any, body: ObservedBody) -> None:
    """The bytes of a StreamingBody."""
    # Before aiobotocore 3 the body is a proxy of the response.
    raw: Any = getattr(streaming_body, "_raw_stream", None) or streaming_body.__wrapped__
    content: Any = getattr(raw, "content", None)
    source = _Source(raw, body)
    if inspect.iscoroutinefunction(getattr(content, "read", None)):
        raw.content = _Content(content, body)
    else:
        raw.read = source.read
    _observe_close(raw, body, lambda: source.busy)


def _event(event: Any) -> bytes:
    headers: Any = event.headers
    name = headers.get(":event-type") or headers.get(":exception-type") or headers.get(":error-code") or "error"
    return sse.written(event.payload, name)


def _observe_close(raw: Any, body: ObservedBody, is_busy: Callable[[], bool]) -> None:
    this = weakref.ref(raw)
    kind: Any = raw.__class__

    def close(*args: Any, **kwargs: Any) -> Any:
        # In the middle of a read it is the HTTP library that closes, and an exception follows.
        if not is_busy():
            body.end("closed")
        return kind.close(this(), *args, **kwargs)

    raw.close = close


class _Source:
    """Reads as the class of `raw` does, and tells."""

    def __init__(self, raw: Any, body: ObservedBody) -> None:
        self._raw = weakref.ref(raw)
        self._kind: Any = raw.__class__
        self._body = body
        self.busy = False

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """In place of the method of that name."""
        self.busy = True
        try:
            chunk = self._kind.read(self._raw(), *args, **kwargs)
        except BaseException as error:
            self._body.end("failed", error)
            raise
        finally:
            self.busy = False
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
