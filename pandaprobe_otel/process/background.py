"""Threads, locks, waits and descriptors that the app cannot break.

Ctrl-C, or an exception that a signal handler raises, strikes between two instructions of the main thread. Code in
Python that takes a lock, as `threading.Condition` does, may then leave it held for ever. So the app's threads take no
lock of ours for their spans. They hand work to a thread of ours, where no signal strikes, and wait with a time.

Code that makes a daemon of a process, or cleans up before it goes on, closes every descriptor by number. The numbers
then belong to the app's next files and connections. So compare before each use, and leave a number alone that has
another file: neither write to it nor close it.
"""

from __future__ import annotations

import _thread
import os
import stat
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from pandaprobe_otel.process.guard import failed, pass_on

_R = TypeVar("_R")

LATE_S: Final = 0.25
"""Time for which the caller of `in_background` waits beyond the deadline of the work itself."""


class Alarm:
    """Event for one waiting thread, which it resets. `set` is one call in C, so that no interrupt can divide it."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wake the thread that waits, or the next that does."""
        if self._lock.locked():
            try:
                self._lock.release()
            except RuntimeError as error:  # another thread was faster
                pass_on(error)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the event is set, and reset it; return False after the timeout."""
        return self._lock.acquire(timeout=-1 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX))

    def clear(self) -> None:
        """Reset the event."""
        self._lock.acquire(blocking=False)


class LockMaker:
    """Record of the class of locks in use at creation; eventlet and gevent both replace `threading.Lock`.

    gunicorn's gevent workers patch `threading` after their fork. With --preload, the locks already exist. A greenlet
    that waits for a lock of real threads stops all greenlets of the process for good. So code that starts a thread
    checks first.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock

    @property
    def is_outdated(self) -> bool:
        """True if `threading.Lock` has been replaced since: recreate the locks that no thread waits for."""
        return threading.Lock is not self._lock


def start_thread(run: Callable[[], object], name: str) -> None:
    """Start a daemon thread with one call in C: `Thread.start` waits for the thread, and an interrupt could block it.

    Raises RuntimeError if no thread can be started, as when the interpreter ends.
    """
    _thread.start_new_thread(_start_named, (run, name))


def _start_named(run: Callable[[], object], name: str) -> None:
    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError:  # it can no longer be started, so this one does the work
        run()


def in_background(work: Callable[[], _R], *, name: str, timeout_s: float, late: _R) -> _R:
    """Return the result of work that is done in a thread of its own; `late` if it takes longer.

    If the caller is interrupted, the work goes on. At the end of the interpreter, the caller does the work itself.
    """
    alarm, results = Alarm(), list[_R]()

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001 - a fault of ours must not reach the app; counted and logged
            failed(name, error)
        finally:
            alarm.set()

    try:
        start_thread(run, f"pandaprobe-{name}")
    except RuntimeError as error:
        pass_on(error)
        run()
    alarm.wait(timeout_s + LATE_S)
    return results[0] if results else late


class Descriptor:
    """Number of a descriptor, and the identity of its file. Costs a system call for each check."""

    __slots__ = ("_identity", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self._identity = _identity(number)

    @property
    def is_intact(self) -> bool:
        """True if the number still has this file, and where that cannot be known: a socket of Windows is no file."""
        return self._identity is None or self._identity == _identity(self.number)


def descriptors_of(paths: Iterable[Path]) -> list[Descriptor]:
    """Return this process's descriptors of these files; none if the system does not list a process's descriptors."""
    wanted: set[tuple[int, int]] = set()
    found: list[Descriptor] = []
    with suppress(OSError):
        for path in paths:
            about = os.stat(path)
            wanted.add((about.st_dev, about.st_ino))
    with suppress(OSError):
        for name in os.listdir("/dev/fd"):
            with suppress(OSError):  # the descriptor of the listing is closed by now
                about = os.fstat(int(name))
                if (about.st_dev, about.st_ino) in wanted:
                    found.append(Descriptor(int(name)))
    return found


def _identity(number: int) -> tuple[int, int, int] | None:
    try:
        about = os.fstat(number)
    except OSError:
        return None
    return about.st_dev, about.st_ino, stat.S_IFMT(about.st_mode)
