"""Waits for a condition or for rounds of an event loop, so that no test waits for a fixed time."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 120.0
"""Timeout that only a hanging test reaches, even on a slow machine."""
_LOOK_EVERY_S: Final = 0.005


def wait_until(condition: Callable[[], object], *, what: str = "", patience_s: float = PATIENCE_S) -> None:
    """Check repeatedly until the condition is true; fail with `what` if it does not become true."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience_s:g} s: {what or condition}"
        time.sleep(_LOOK_EVERY_S)


def answer_over(path: Path, route: str) -> int:
    """Send a GET over a Unix socket until it is answered, since a worker may be being replaced; return the status."""
    found: list[bytes] = []

    def is_answered() -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(path))
            connection.sendall(f"GET {route} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            found[:] = connection.recv(100).split()[:2]  # the protocol and the status
        return bool(found)

    wait_until(is_answered, what=f"an answer to {route}")
    return int(found[1])


async def turns(count: int) -> None:
    """Run the event loop for this many rounds, in which other tasks run."""
    for _ in range(count):
        await asyncio.sleep(0)
