"""Scheduling of the work on requests: decompressing, reading, passing on. Small requests never wait for large ones."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from pandaprobe_otel.gateway.bounds import Allowance
from pandaprobe_otel.gateway.errors import RefusedError, TooLargeError
from pandaprobe_otel.gateway.intake import Intake, Taken
from pandaprobe_otel.gateway.otlp_spans import Found

Read = Callable[[bytes | bytearray, Allowance], Iterator[Found]]

_WINDOW_BITS: Final = {"gzip": 31, "deflate": 15}
_SMALL: Final = 1 << 20
"""Largest small body in bytes, after decompression. It takes at most a tenth of a second of CPU."""
_SMALL_AT_ONCE: Final = 4
_LARGE_AT_ONCE: Final = 1
"""Maximum number of large requests at once. More would only delay small ones: reading holds the interpreter lock."""


class RequestThreads:
    """Threads that process requests, of any protocol and from any loop."""

    def __init__(self, intake: Intake, *, max_body: int) -> None:
        self.intake = intake
        self.max_body = max_body
        self._small = ThreadPoolExecutor(_SMALL_AT_ONCE, thread_name_prefix="pandaprobe-small")
        self._large = ThreadPoolExecutor(_LARGE_AT_ONCE, thread_name_prefix="pandaprobe-large")

    async def take(self, body: bytes | bytearray, encoding: str, read: Read) -> Taken:
        """Process a request when it is its turn. Raises RefusedError if it is refused."""
        loop = asyncio.get_running_loop()
        small = min(_SMALL, self.max_body)
        if len(body) <= small:
            try:
                return await loop.run_in_executor(self._small, self._take, body, encoding, read, small)
            except TooLargeError:
                if small == self.max_body:
                    raise
        return await loop.run_in_executor(self._large, self._take, body, encoding, read, self.max_body)

    def close(self) -> None:
        """Stop after the current requests."""
        self._small.shutdown(cancel_futures=True)
        self._large.shutdown(cancel_futures=True)

    def _take(self, body: bytes | bytearray, encoding: str, read: Read, most: int) -> Taken:
        return self.intake.take(partial(read, inflate(body, encoding, most)))


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
