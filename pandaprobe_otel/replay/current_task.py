"""The identity of what runs: a thread, and a task of it."""

from __future__ import annotations

import asyncio
import threading

Flow = tuple[int, int]


def flow_here() -> Flow:
    """Return the thread, and the task in it, that this code runs in."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        task = None
    return threading.get_ident(), id(task) if task is not None else 0
