"""Undoing Content-Encoding chunk by chunk, even if a body breaks off."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

from pandaprobe_otel.process.guard import counted


def _installed(*names: str) -> Any:
    """Import the first of these modules that is installed; None if none is."""
    for name in names:
        with suppress(ImportError):
            return import_module(name)
    return None


_GZIP_WINDOW: Final = zlib.MAX_WBITS | 16
# Loaded now, because nothing is imported while an answer is read. The client loads the same modules.
_brotli = _installed("brotlicffi", "brotli")
_zstd = _installed("compression.zstd")
_zstandard = None if _zstd else _installed("zstandard")


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
        return _tolerant(zlib.decompressobj().decompress)
    if name == "br" and _brotli is not None:
        brotli = _brotli.Decompressor()
        return _tolerant(getattr(brotli, "decompress", None) or brotli.process)
    if name == "zstd" and _zstd is not None:
        return _tolerant(_zstd.ZstdDecompressor().decompress)
    if name == "zstd" and _zstandard is not None:
        return _tolerant(_zstandard.ZstdDecompressor().decompressobj().decompress)
    return _nothing


def _tolerant(decode: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def decode_or_nothing(chunk: bytes) -> bytes:
        try:
            return decode(chunk)
        except Exception as error:  # noqa: BLE001 - each codec has its own error class; broken data is no content
            counted("the decoding of an answer", error)
            return b""

    return decode_or_nothing


def _nothing(_chunk: bytes) -> bytes:
    return b""
