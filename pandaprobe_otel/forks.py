"""Loading modules in background threads, safely for processes that fork.

A fork that happens while another thread imports a module leaves that module's import lock held for ever in the
child. So background threads import under `loading()`, and a fork waits until none does. It does not wait for ever: a
child that was forked in spite of it loads nothing, and so cannot send; its spans are counted as dropped.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

LONGEST_WAIT_S: Final = 20.0
"""Loading takes a third of a second, and more than 5 on a machine with fifteen processes for each core (measured)."""


class ForkedWhileLoadingError(OSError):
    """This process was forked while another thread was loading modules: to import one of them would hang for ever."""

    def __init__(self) -> None:
        super().__init__("this process was forked while pandaprobe-otel was loading modules, so it cannot send")


_is_broken = False
_lock = threading.RLock()
_held_for_fork = threading.local()


@contextmanager
def loading() -> Generator[None]:
    """Hold back forks while modules are imported in this thread.

    Raises:
        ForkedWhileLoadingError: a fork was not held back, and this is its child.
    """
    if _is_broken:
        raise ForkedWhileLoadingError
    with _lock:
        yield


def _before() -> None:
    _held_for_fork.yes = _lock.acquire(timeout=LONGEST_WAIT_S)


def _after_in_parent() -> None:
    if _held_for_fork.yes:
        _lock.release()


def _after_in_child() -> None:
    global _lock, _is_broken
    _lock = threading.RLock()
    _is_broken = _is_broken or not _held_for_fork.yes


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
