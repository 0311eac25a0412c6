"""Tasks that let each other go first, in an order that no clock decides."""

from __future__ import annotations

import asyncio


async def turns(count: int) -> None:
    """Let the event loop go round so many times."""
    for _ in range(count):
        await asyncio.sleep(0)
