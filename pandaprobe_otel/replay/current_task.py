"""Identity of running code: its thread and task."""

from __future__ import annotations

import asyncio
import threading

Flow = tuple[int, int]


def flow_here() -> Flow:
    """Return the current thread, and the current task in it."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop is running in this thread
        task = None
    return threading.get_ident(), id(task) if task is not None else 0
