"""A way for tasks to wait for each other, in an order that no clock decides."""

from __future__ import annotations

import asyncio


async def turns(count: int) -> None:
    """Run the event loop for this many rounds."""
    for _ in range(count):
        await asyncio.sleep(0)
