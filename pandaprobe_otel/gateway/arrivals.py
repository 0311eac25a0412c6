"""Request bodies that are arriving. Slow ones are refused, and the oldest are refused if new ones need room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

from pandaprobe_otel.gateway.errors import busy, too_slow

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
            raise too_slow(
                f"no part of the body arrived for {idle_s:g} s, or not all of it within {WITHIN_S:g} s"
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
