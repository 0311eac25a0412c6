"""The way of a request: its body arrives, waits for its turn, and is passed on to the pipeline.

Slow bodies are refused, and the oldest are refused if new ones need room. Small requests never wait for large ones.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan

from pandaprobe_otel.gateway.otlp_spans import Found
from pandaprobe_otel.gateway.refusals import (
    DEADLINE_EXCEEDED,
    Allowance,
    RefusedError,
    Rejected,
    Rejections,
    TooLargeError,
    busy,
    unreadable,
)
from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline

IDLE_S: Final = 5.0
WITHIN_S: Final = 30.0
_RETRY_S: Final = 1.0


@dataclass(eq=False, slots=True)
class Room:
    """Room for one request. The body must arrive before `timeout`."""

    size: int = 0
    gave_way: bool = False
    timeout: asyncio.Timeout | None = None
    idle_s: float = WITHIN_S
    until: float = 0.0


class Arrivals:
    """Requests of one protocol, all in one loop.

    most_arriving: bound on requests whose bodies are incomplete.
    most, most_bytes: bounds on all requests, including those that wait for their turn.
    """

    def __init__(self, *, most_arriving: int, most: int, most_bytes: int) -> None:
        self._most_arriving = most_arriving
        self._most = most
        self._most_bytes = most_bytes
        self._count = 0
        self._bytes = 0
        self._arriving: dict[Room, None] = {}  # oldest first

    @contextmanager
    def room(self) -> Generator[Room]:
        """Reserve room for one request until its body is no longer needed."""
        room = Room()
        self._count += 1
        try:
            yield room
        finally:
            if not room.gave_way:
                self._leave(room)

    @asynccontextmanager
    async def arriving(self, room: Room, *, idle_s: float = WITHIN_S) -> AsyncGenerator[None]:
        """Read the body inside this block. Each part must arrive within `idle_s` seconds, and all within 30. Otherwise
        raise RefusedError.
        """
        now = asyncio.get_running_loop().time()
        room.idle_s, room.until = idle_s, now + WITHIN_S
        try:
            async with asyncio.timeout_at(min(now + idle_s, room.until)) as room.timeout:
                self._arriving[room] = None
                self._make_room()
                yield
        except TimeoutError as error:
            if room.gave_way:
                raise busy("the body arrived too slowly while other requests needed its memory", _RETRY_S) from error
            raise RefusedError(
                f"no part of the body arrived for {idle_s:g} s, or not all of it within {WITHIN_S:g} s",
                http_status=408,
                code=DEADLINE_EXCEEDED,
            ) from error
        finally:
            self._arriving.pop(room, None)

    def grew(self, room: Room, size: int) -> None:
        """Count `size` more bytes of the body."""
        if room.gave_way or room.timeout is None or room.timeout.expired():
            return  # its body is about to be complete
        room.size += size
        self._bytes += size
        now = asyncio.get_running_loop().time()
        room.timeout.reschedule(min(now + room.idle_s, room.until))
        self._make_room()

    def end(self) -> None:
        """Refuse incomplete bodies from now on, because the server is stopping."""
        self._most_arriving = 0
        self._make_room()

    def _make_room(self) -> None:
        while self._arriving and (
            len(self._arriving) > self._most_arriving or self._count > self._most or self._bytes > self._most_bytes
        ):
            oldest = next(iter(self._arriving))
            del self._arriving[oldest]
            self._leave(oldest)
            oldest.gave_way = True
            if oldest.timeout is not None and not oldest.timeout.expired():
                oldest.timeout.reschedule(asyncio.get_running_loop().time())

    def _leave(self, room: Room) -> None:
        self._count -= 1
        self._bytes -= room.size


FULL: Final = 0.9
"""Fill level from which senders must wait, so that no accepted spans are lost."""
RETRY_FULL_S: Final = 30.0
RETRY_SLOW_S: Final = 5.0
_PATIENCE_S: Final = 20.0
_SLICE: Final = 512
"""Spans that are passed on at once. Other requests get their turn in between."""
_SLICE_ELEMENTS: Final = 20_000
"""Attributes and similar elements that are passed on at once. Each is an object of 200 bytes."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Result of a request. OTLP's partial success has the number of rejected spans and the reason."""

    accepted: int
    rejected: int
    message: str = ""
    """Empty if no span was rejected."""

    def answer(self) -> Any:
        """Return the result as OTLP's message."""
        answer = ExportTraceServiceResponse()
        if self.rejected:
            answer.partial_success.rejected_spans = self.rejected
            answer.partial_success.error_message = self.message
        return answer


Read = Callable[[bytes | bytearray, Allowance], Iterator[Found]]

_WINDOW_BITS: Final = {"gzip": 31, "deflate": 15}
_SMALL: Final = 1 << 20
"""Largest small body in bytes, after decompression. It takes at most a tenth of a second of CPU."""
_SMALL_AT_ONCE: Final = 4
_LARGE_AT_ONCE: Final = 1
"""Maximum number of large requests at once. More would only delay small ones: reading holds the interpreter lock."""


class Intake:
    """Intake of requests of any protocol, from any loop. With a spool, accepted spans survive the process.

    max_body: the largest body in bytes, after decompression.
    """

    def __init__(self, pipeline: ExportPipeline, *, max_body: int) -> None:
        self.max_body = max_body
        self._pipeline = pipeline
        self._small = ThreadPoolExecutor(_SMALL_AT_ONCE, thread_name_prefix="pandaprobe-small")
        self._large = ThreadPoolExecutor(_LARGE_AT_ONCE, thread_name_prefix="pandaprobe-large")

    def check_room(self) -> None:
        """Raise RefusedError if senders must wait, before their bodies are read."""
        if (share := self._pipeline.fill()) >= FULL:
            raise busy(
                f"the gateway's queue is {share:.0%} full, since more spans arrive than PandaProbe accepts",
                RETRY_FULL_S,
            )

    async def take(self, body: bytes | bytearray, encoding: str, read: Read) -> Taken:
        """Pass the spans of a request on to the pipeline and, with a spool, to disk, when it is its turn.

        Raises RefusedError if the time was too short, or if all spans were rejected.
        """
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
        plain = inflate(body, encoding, most)
        self.check_room()  # again, since other requests were accepted while this one waited
        deadline = time.monotonic() + _PATIENCE_S
        allowance = Allowance()
        rejections = Rejections()
        accepted = 0
        for spans in _slices(read(plain, allowance), allowance, rejections):
            if not self._pipeline.receive(spans, deadline):
                raise busy("the gateway is busy", RETRY_SLOW_S)
            accepted += len(spans)
        if rejections.count and not accepted:
            raise unreadable(f"no span of the request can be accepted: {rejections.message}")
        return Taken(accepted, rejections.count, rejections.message)


def _slices(all_found: Iterator[Found], allowance: Allowance, rejections: Rejections) -> Iterator[list[ReadableSpan]]:
    spans: list[ReadableSpan] = []
    left = allowance.left
    for found in all_found:
        if isinstance(found, Rejected):
            rejections.add(found)
            continue
        spans.append(found)
        if len(spans) >= _SLICE or left - allowance.left >= _SLICE_ELEMENTS:
            yield spans
            spans, left = [], allowance.left
    if spans:
        yield spans


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
