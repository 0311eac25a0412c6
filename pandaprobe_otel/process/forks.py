"""Imports in background threads that are safe in processes that fork.

If a process forks while another thread imports a module, that module's import lock stays held for ever in the child.
So background threads import under `loading()`, and a fork waits until no thread does. The wait is bounded. A child that
is forked during an import nevertheless loads nothing and cannot send; its spans are counted as dropped.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Protocol

LONGEST_WAIT_S: Final = 20.0
"""Longest wait. Loading takes a third of a second, but over 5 s with fifteen processes per core (measured)."""


class ForkedWhileLoadingError(OSError):
    """This process was forked while another thread was loading modules: importing one of them would hang."""

    def __init__(self) -> None:
        super().__init__("this process was forked while pandaprobe-otel was loading modules, so it cannot send")


_is_broken = False
_lock = threading.RLock()
_held_for_fork = threading.local()


@contextmanager
def loading() -> Generator[None]:
    """Hold back forks while modules are imported in this thread.

    Raises:
        ForkedWhileLoadingError: this process was forked during such an import.
    """
    if _is_broken:
        raise ForkedWhileLoadingError
    with _lock:
        yield


class Watcher(Protocol):
    """Object that is notified of forks. Its methods never raise."""

    def before_fork(self) -> None:
        """Prepare for a fork; called in the parent when no thread is loading modules."""

    def after_fork_in_parent(self) -> None:
        """Go on after a fork; called in the parent."""

    def reset_after_fork(self) -> None:
        """Start over after a fork; called in the child."""


_watchers: list[weakref.ref[Watcher]] = []


def watch_forks(watcher: Watcher) -> None:
    """Notify an object of forks as long as it lives.

    A separate registration for each object would run before the fork has waited for imports. Then an object created
    during those imports would miss the fork.
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
