"""Bodies without compression: people read cassettes, and secrets must be found in compressed bodies too."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

MAX_BYTES: Final = 256 << 20
"""Maximum number of bytes of a decompressed body. A small compressed body can become larger than memory."""

Chunks = Sequence[tuple[float, int]]
Step = Callable[[bytes], bytes]


class UnreadableError(Exception):
    """Error for a body that does not match its encoding, or whose encoding cannot be read here."""


def decompress(body: bytes, encoding: str, chunks: Chunks = ()) -> tuple[bytes, tuple[tuple[float, int], ...]]:
    """Return a body without its encodings, and its chunks with their decompressed lengths.

    An incomplete body is read as far as possible. Raises UnreadableError.
    """
    for name in reversed([part.strip().lower() for part in encoding.split(",")]):
        if name in ("", "identity"):
            continue
        body, chunks = _without(body, name, chunks)
    return body, tuple(chunks)


def _without(body: bytes, name: str, chunks: Chunks) -> tuple[bytes, Chunks]:
    lengths = [length for _, length in chunks]
    if sum(lengths) != len(body):
        lengths, chunks = [len(body)], ()
    step = _step(name, body)
    pieces: list[bytes] = []
    begin = size = 0
    for length in lengths:
        try:
            piece = step(body[begin : begin + length])
        except Exception as error:
            raise UnreadableError(f"it is not {name}: {error}") from error
        begin += length
        size += len(piece)
        if size > MAX_BYTES:
            raise UnreadableError(f"it has more than {MAX_BYTES >> 20} MB")
        pieces.append(piece)
    times = [time for time, _ in chunks]
    return b"".join(pieces), tuple(zip(times, map(len, pieces), strict=True)) if chunks else ()


def _step(name: str, body: bytes) -> Step:
    """Return a decompressor that works piece by piece."""
    if name in ("gzip", "x-gzip"):
        return _bounded(zlib.decompressobj(zlib.MAX_WBITS | 16))
    if name == "deflate":  # With or without zlib's header, since both occur.
        is_zlib = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
        return _bounded(zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS))
    if name == "br":
        decompressor = _first("brotli", "brotlicffi").Decompressor()
        step: Step = getattr(decompressor, "process", None) or decompressor.decompress
        return step
    if name == "zstd":
        if (standard := _first("compression.zstd", "backports.zstd", optional=True)) is not None:
            return _bounded(standard.ZstdDecompressor())
        other: Step = _first("zstandard").ZstdDecompressor().decompressobj().decompress
        return other
    raise UnreadableError(f"its encoding {name!r} is not known")


def _bounded(decompressor: Any) -> Step:
    def step(piece: bytes) -> bytes:
        return bytes(decompressor.decompress(piece, MAX_BYTES + 1))

    return step


def _first(*modules: str, optional: bool = False) -> Any:
    """Return the first of these modules that is installed. The client has one, since it offered the encoding."""
    for name in modules:
        try:
            return import_module(name)
        except ImportError:
            continue
    if optional:
        return None
    raise UnreadableError(f"none of {', '.join(modules)} is installed")
