"""The bodies that are still being read, and the end of forgotten ones.

The garbage collector notices a forgotten stream. It may run in any thread at any allocation, even while a span
processor or a logging handler holds its lock. Ending a span there would wait for a lock that the same thread holds. So
an end that may come from the collector checks the stack: inside such code, it hands the work to another thread of ours;
everywhere else, it does the work at once.
"""

from __future__ import annotations

import atexit
import os
import queue
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .body import ObservedBody

_LOCKING_MODULES: Final = (
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "pandaprobe_otel.delivery",
    "pandaprobe_otel.sdk",
    "logging",
    "queue",
)
_LOCKING_FUNCTIONS: Final = frozenset({"on_start", "on_end", "export", "force_flush", "shutdown", "emit"})
"""Names of methods by which span processors, exporters and log handlers of any origin are called."""
_MAX_FRAMES: Final = 200

_open: dict[int, ObservedBody] = {}
# A SimpleQueue is reentrant by documentation, so a finalizer may fill it.
_handed_over: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
_start_lock = threading.Lock()
_reaper: threading.Thread | None = None
_hooks_set = False


def add(body: ObservedBody) -> None:
    """Add `body`, which is being read from now on."""
    if _reaper is None:
        _start()
    _open[id(body)] = body


def remove(body: ObservedBody) -> None:
    """Remove `body`, which has ended."""
    _open.pop(id(body), None)


def open_count() -> int:
    """Return the number of bodies that are being read."""
    return len(_open)


def run_unlocked(work: Callable[..., Any], *args: Any) -> None:
    """Do `work` at once, or in the reaper thread if the calling code may hold a lock."""
    if _reaper is not None and _may_hold_a_lock():
        _handed_over.put(partial(work, *args))
    else:
        work(*args)


def end_all() -> None:
    """End everything that is still open, because the process exits."""
    for body in tuple(_open.values()):
        body.end("exit")
    while not _handed_over.empty():
        _handed_over.get()()


def _may_hold_a_lock() -> bool:
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    for _ in range(_MAX_FRAMES):
        if frame.f_code.co_name in _LOCKING_FUNCTIONS:
            return True
        if str(frame.f_globals.get("__name__", "")).startswith(_LOCKING_MODULES):
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return True


def _reap() -> None:
    while True:
        _handed_over.get()()


def _start() -> None:
    # This happens at the first stream rather than at import: the exit hook must run before the provider's, and hooks
    # run last in, first out. A finalizer cannot start a thread, so the thread starts here and waits.
    global _reaper, _hooks_set
    with _start_lock:
        if _reaper is not None:
            return
        if not _hooks_set:
            atexit.register(end_all)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=_forget_all)
            _hooks_set = True
        reaper = threading.Thread(target=_reap, name="pandaprobe-otel-streams", daemon=True)
        try:
            reaper.start()
        except RuntimeError:
            return  # the interpreter is shutting down, or out of threads; ends are handled where they happen
        _reaper = reaper


def _forget_all() -> None:
    # The parent's streams end in the parent; a child that ended them too would report every call twice.
    global _reaper, _handed_over, _start_lock
    for body in tuple(_open.values()):
        body.abandon()
    _open.clear()
    _handed_over = queue.SimpleQueue()
    _start_lock = threading.Lock()
    _reaper = None
