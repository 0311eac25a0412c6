"""A wait in which other tasks run, and which does not depend on a clock."""

from __future__ import annotations

import asyncio


async def turns(count: int) -> None:
    """Run the event loop for this many rounds."""
    for _ in range(count):
        await asyncio.sleep(0)
