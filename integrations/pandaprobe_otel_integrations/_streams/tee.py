"""Byte streams that pass on what they read and show it to an ObservedBody.

An HTTP response reads its `stream` in one of two ways: as an iterable with `close()`, or as an async iterable with
`aclose()`. Ours has the same base class as the stream it stands in for (the response checks it with isinstance,
httpx and httpx2 each with their own class), so it is made from that class when it is first seen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from .body import ObservedBody

_BASE_NAMES: Final = frozenset({"SyncByteStream", "AsyncByteStream"})


def observed(stream: Any, body: ObservedBody) -> Any:
    """A stream that stands in for `stream`: same bytes, same errors, same attributes, and `body` sees all."""
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

    def __iter__(self) -> Iterator[bytes]:
        return _Reading(iter(self._observed_stream), self._observed_body)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _AsyncReading(aiter(self._observed_stream), self._observed_body)

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


class _Reading:
    """An iterator rather than a generator: one frame less per chunk, and nothing that needs to be closed."""

    __slots__ = ("_body", "_chunks")

    def __init__(self, chunks: Iterator[bytes], body: ObservedBody) -> None:
        self._chunks = chunks
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._body.end("read")
            raise
        except BaseException as error:
            self._body.end("failed", error)
            raise
        self._body.keep(chunk)
        return chunk


class _AsyncReading:
    """The async form. It has the methods of an async generator, since httpx2 closes the stream's own one early."""

    __slots__ = ("_body", "_chunks")

    def __init__(self, chunks: AsyncIterator[bytes], body: ObservedBody) -> None:
        self._chunks: Any = chunks
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk: bytes = await anext(self._chunks)
        except StopAsyncIteration:
            self._body.end("read")
            raise
        except BaseException as error:
            self._body.end("failed", error)
            raise
        self._body.keep(chunk)
        return chunk

    async def asend(self, value: Any) -> bytes:
        return await self.__anext__()

    async def athrow(self, *error: Any) -> bytes:
        thrown: bytes = await self._chunks.athrow(*error)
        return thrown

    async def aclose(self) -> None:
        close = getattr(self._chunks, "aclose", None)
        if close is not None:
            await close()
