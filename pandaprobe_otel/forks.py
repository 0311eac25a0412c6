"""Loading modules in background threads, safely for processes that fork.

A fork that happens while another thread imports a module leaves that module's import lock held for ever in the
child. So background threads import under `loading()`, and a fork waits until none does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

_LONGEST_WAIT_S: Final = 5.0

_lock = threading.RLock()
_held_for_fork = threading.local()


@contextmanager
def loading() -> Generator[None]:
    """Hold back forks while modules are imported in this thread."""
    with _lock:
        yield


def _before() -> None:
    _held_for_fork.yes = _lock.acquire(timeout=_LONGEST_WAIT_S)


def _after_in_parent() -> None:
    if _held_for_fork.yes:
        _lock.release()


def _after_in_child() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
