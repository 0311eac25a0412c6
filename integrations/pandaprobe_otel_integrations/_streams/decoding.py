"""Undoing Content-Encoding chunk by chunk, even if a body breaks off."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, Final

from pandaprobe_otel.process.guard import counted

_GZIP_WINDOW: Final = zlib.MAX_WBITS | 16


def decoded(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the chunks with every Content-Encoding undone, one (possibly empty) result per chunk.

    Chunks with an unsupported encoding are empty: the times stay right, but the content is unknown.
    """
    steps = [name.strip().lower() for name in encoding.split(",") if name.strip()]
    decoders = [_decoder(name) for name in reversed(steps) if name != "identity"]
    for chunk in chunks:
        for decode in decoders:
            chunk = decode(chunk)
        yield chunk


def _decoder(name: str) -> Callable[[bytes], bytes]:
    if name in ("gzip", "x-gzip"):
        return _tolerant(zlib.decompressobj(_GZIP_WINDOW).decompress)
    if name == "deflate":
        return _Deflate().decode
    if name == "br":
        return _from_module(("brotlicffi", "brotli"), lambda module: _brotli(module.Decompressor()))
    if name == "zstd":
        return _from_module(("compression.zstd",), lambda module: module.ZstdDecompressor().decompress, _zstandard)
    return _nothing


def _tolerant(decode: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def decode_or_nothing(chunk: bytes) -> bytes:
        try:
            return decode(chunk)
        except Exception as error:  # noqa: BLE001 - each codec has its own error class; broken data is no content
            counted("the decoding of an answer", error)
            return b""

    return decode_or_nothing


def _from_module(
    names: tuple[str, ...],
    make: Callable[[Any], Callable[[bytes], bytes]],
    otherwise: Callable[[], Callable[[bytes], bytes]] | None = None,
) -> Callable[[bytes], bytes]:
    for name in names:
        try:
            return _tolerant(make(import_module(name)))
        except ImportError:
            continue
    return otherwise() if otherwise is not None else _nothing


def _brotli(decompressor: Any) -> Callable[[bytes], bytes]:
    decode: Any = getattr(decompressor, "decompress", None) or decompressor.process
    return decode  # type: ignore[no-any-return]


def _zstandard() -> Callable[[bytes], bytes]:
    return _from_module(("zstandard",), lambda module: module.ZstdDecompressor().decompressobj().decompress)


def _nothing(_chunk: bytes) -> bytes:
    return b""


class _Deflate:
    """A `deflate` body, which is a zlib stream by the standard, but a raw one from some servers."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj()
        self._started = False

    def decode(self, chunk: bytes) -> bytes:
        started, self._started = self._started, self._started or bool(chunk)
        try:
            return self._decompressor.decompress(chunk)
        except zlib.error:
            if started:
                return b""
            self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
            return _tolerant(self._decompressor.decompress)(chunk)
