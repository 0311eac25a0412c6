"""Waits for a condition or for rounds of an event loop, so that no test waits for a fixed time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 120.0
"""Timeout that only a hanging test reaches, even on a slow machine."""
_LOOK_EVERY_S: Final = 0.005


def wait_until(condition: Callable[[], object], *, what: str = "") -> None:
    """Check repeatedly until the condition is true; fail with `what` if it does not become true."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what or condition}"
        time.sleep(_LOOK_EVERY_S)


async def turns(count: int) -> None:
    """Run the event loop for this many rounds, in which other tasks run."""
    for _ in range(count):
        await asyncio.sleep(0)
