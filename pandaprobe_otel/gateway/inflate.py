"""Decompression of OTLP/HTTP bodies within a bound, since a small body may contain gigabytes of zeros."""

from __future__ import annotations

import zlib
from typing import Final

from pandaprobe_otel.gateway.errors import RefusedError, TooLargeError

_WINDOW_BITS: Final = {"gzip": 31, "deflate": 15}


def inflate(body: bytes | bytearray, encoding: str, max_bytes: int) -> bytes | bytearray:
    """Return the body without its Content-Encoding. Raises RefusedError if it is damaged, too large or unknown."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        if len(body) > max_bytes:
            raise TooLargeError(max_bytes)
        return body
    bits = _WINDOW_BITS.get(name)
    if bits is None:
        raise RefusedError(f"Content-Encoding {name:.40} is not supported; use gzip or deflate", http_status=415)
    inflater = zlib.decompressobj(bits)
    try:
        plain = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise RefusedError(f"the body is not {name}: {error}", http_status=400) from error
    if len(plain) > max_bytes:
        raise TooLargeError(max_bytes)
    if not inflater.eof:
        raise RefusedError(f"the {name} body ends too early", http_status=400)
    if inflater.unused_data:
        raise RefusedError(f"there are bytes after the {name} body", http_status=400)
    return plain
