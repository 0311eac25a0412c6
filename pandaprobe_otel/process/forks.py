"""Loading modules in background threads, safely for processes that fork.

A fork that happens while another thread imports a module leaves that module's import lock held for ever in the
child. So background threads import under `loading()`, and a fork waits until none does. It does not wait for ever: a
child that was forked in spite of it loads nothing, and so cannot send; its spans are counted as dropped.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Protocol

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


class Watcher(Protocol):
    """Someone who is told of forks. No call raises."""

    def before_fork(self) -> None:
        """In the parent, before a fork, when no thread is loading modules."""
        ...

    def after_fork_in_parent(self) -> None:
        """In the parent, after a fork."""
        ...

    def reset_after_fork(self) -> None:
        """In a forked child."""
        ...


_watchers: list[weakref.ref[Watcher]] = []


def watch_forks(watcher: Watcher) -> None:
    """Tell an object of forks, as long as it lives.

    Not by a registration of its own, which would be called before modules have been waited for: what comes into being
    together with them would cross the fork unseen.
    """
    _watchers[:] = [ref for ref in _watchers if ref() is not None]
    _watchers.append(weakref.ref(watcher))


def _living() -> list[Watcher]:
    return [watcher for ref in _watchers if (watcher := ref()) is not None]


def _before() -> None:
    _held_for_fork.yes = _lock.acquire(timeout=LONGEST_WAIT_S)
    for watcher in _living():
        watcher.before_fork()


def _after_in_parent() -> None:
    for watcher in _living():
        watcher.after_fork_in_parent()
    if _held_for_fork.yes:
        _lock.release()


def _after_in_child() -> None:
    global _lock, _is_broken
    _lock = threading.RLock()
    _is_broken = _is_broken or not _held_for_fork.yes
    for watcher in _living():
        watcher.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
