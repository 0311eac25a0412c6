"""Byte streams that pass on what they read and show it to an ObservedBody.

An HTTP response reads its `stream` in one of two ways: as an iterable with `close()`, or as an async iterable with
`aclose()`. Ours has the same base class as the stream it stands in for (the response checks it with isinstance,
httpx and httpx2 each with their own class), so it is made from that class when it is first seen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from .body import ObservedBody
from .reading import AsyncReading, Reading

_BASE_NAMES: Final = frozenset({"SyncByteStream", "AsyncByteStream"})


def observed(stream: Any, body: ObservedBody) -> Any:
    """Return a stream that stands in for `stream`: same bytes, same errors, same attributes, and `body` sees all."""
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
        # anthropic asks for this at every event; to say there that there is none takes longer than all else here.
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
        # httpx2 reads `elapsed` from the stream; anything else that the original has is there as well.
        if name.startswith("_observed_"):
            raise AttributeError(name)
        return getattr(self._observed_stream, name)
