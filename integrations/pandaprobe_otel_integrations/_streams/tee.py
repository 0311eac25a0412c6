"""Byte streams that pass on their bytes and show them to an ObservedBody.

An HTTP response reads its `stream` as an iterable with `close()`, or as an async iterable with `aclose()`. Our stream
must have the base class of the stream that it replaces: the response checks it with isinstance, httpx and httpx2 each
with their own class. So our class is derived from the original one when that is first seen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from .body import ObservedBody
from .reading import AsyncReading, Reading

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
