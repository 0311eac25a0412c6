"""Scheduling of the work on requests: decompressing, reading, passing on. Small requests never wait for large ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from pandaprobe_otel.gateway.bounds import Allowance
from pandaprobe_otel.gateway.errors import TooLargeError
from pandaprobe_otel.gateway.inflate import inflate
from pandaprobe_otel.gateway.intake import Intake, Taken
from pandaprobe_otel.gateway.otlp_spans import Found

Read = Callable[[bytes | bytearray, Allowance], Iterator[Found]]

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
