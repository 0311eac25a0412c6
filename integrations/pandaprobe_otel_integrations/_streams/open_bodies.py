"""The bodies that are still being read, and how the forgotten ones end.

A forgotten stream is noticed by the garbage collector, which may run in any thread at any allocation: also while
a span processor or a logging handler holds its lock. Ending a span there would wait for a lock that this very
thread holds. So an end that may come from the collector looks at the stack: inside such code it hands the work
to a thread of our own, everywhere else it is done on the spot.
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
# A SimpleQueue is reentrant by documentation, so it may be filled from a finalizer.
_handed_over: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
_start_lock = threading.Lock()
_reaper: threading.Thread | None = None
_hooks_set = False


def add(body: ObservedBody) -> None:
    """`body` is being read from now on."""
    if _reaper is None:
        _start()
    _open[id(body)] = body


def remove(body: ObservedBody) -> None:
    """`body` has ended."""
    _open.pop(id(body), None)


def open_count() -> int:
    """Return the number of bodies that are being read."""
    return len(_open)


def run_unlocked(work: Callable[..., Any], *args: Any) -> None:
    """Do `work` here, or in the reaper when this may be the middle of code that holds a lock."""
    if _reaper is not None and _may_hold_a_lock():
        _handed_over.put(partial(work, *args))
    else:
        work(*args)


def end_all() -> None:
    """End everything that is still open; the process is about to exit."""
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
    # At the first stream rather than at import: the exit hook must run before the provider's, and those run last
    # in, first out. A thread cannot be started from a finalizer, hence it waits here already.
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
            return  # the interpreter is shutting down, or out of threads; ends are worked on where they happen
        _reaper = reaper


def _forget_all() -> None:
    # The streams of the parent end there; a child that ended them too would report every call twice.
    global _reaper, _handed_over, _start_lock
    for body in tuple(_open.values()):
        body.abandon()
    _open.clear()
    _handed_over = queue.SimpleQueue()
    _start_lock = threading.Lock()
    _reaper = None
