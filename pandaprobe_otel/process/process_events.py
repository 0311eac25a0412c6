"""Events of a process that a pipeline must handle: forks, the end, and SIGTERM.

A process ends through `atexit`, through the finalizers of `multiprocessing`, by `os._exit`, or by a signal's default
action. Python runs nothing before the last two. RQ ends the process of each job by `os._exit`. uvicorn ends its
processes by a signal: it handles SIGTERM itself, shuts down, restores the earlier handler and raises the signal again.
So do many handlers of apps.
"""

from __future__ import annotations

import _thread
import atexit
import functools
import logging
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from inspect import currentframe
from typing import Any, Final, NoReturn, ParamSpec, Protocol

from pandaprobe_otel.process.forks import Watcher, watch_forks

P = ParamSpec("P")

_logger = logging.getLogger("pandaprobe_otel")

_ENDING: Final = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGBREAK") if hasattr(signal, name)
)
"""Signals that a process sends to itself in order to end."""
_MARGIN_S: Final = 2.0
"""Longest time of an end beyond the time for its deliveries."""
_raise_signal = signal.raise_signal
_exit = os._exit


class Ended(Watcher, Protocol):
    """Object that is notified of forks and of the end of the process."""

    def shutdown(self, timeout: float | None = None) -> bool:
        """Finish the work, because the process ends."""
        ...

    def report_end(self) -> None:
        """Tell the user what was delivered, after the last delivery of the process."""


_watched: list[tuple[weakref.ref[Ended], float]] = []
"""Pipelines that deliver at the end of the process, each with its longest time in seconds."""
_is_watching = False


def watch_process(pipeline: Ended, *, at_exit_too: bool, patience_s: float) -> None:
    """Deliver at the end of the process and start over in forked children. Holds the pipeline weakly.

    An exporter passes `at_exit_too=False`: its batch processor announces the end. It hands over its last spans when its
    provider shuts down, perhaps after our exit handler.
    """
    if at_exit_too:
        _watched[:] = [each for each in _watched if each[0]() is not None]
        _watched.append((weakref.ref(pipeline), patience_s))
        _watch_ends()
    watch_forks(pipeline)


def _watch_ends() -> None:
    """Watch the ends of this process, once."""
    global _is_watching
    if not _is_watching:
        _is_watching = True
        atexit.register(_at_exit)
        signal.raise_signal = _delivering_first(_raise_signal, "signal")
        os.kill = _delivering_first(os.kill, "os")
        os._exit = _exit_delivering_jobs
    _outlive_hypercorn()


def _at_exit() -> None:
    with signals_wait():
        _deliver_all()
    _end_as_interrupted()


def _deliver_all() -> None:
    for ref, _ in reversed(_watched):
        if (alive := ref()) is not None:
            alive.shutdown()
            alive.report_end()


def _end_as_interrupted() -> None:
    """Restore the exit status of a process that Ctrl-C ends, which the last delivery may have reset.

    CPython notes an unhandled KeyboardInterrupt, but clears the note on the next `exec` of a string, which every
    imported dataclass runs. An `exec` that raises KeyboardInterrupt again restores the note. Without it, a shell loop
    would continue after Ctrl-C.
    """
    if getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1") and not sys.flags.interactive:
        with suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")


def finish_with_multiprocessing(pipeline: Ended) -> None:
    """Deliver at the end of a multiprocessing child, which runs its own finalizers, but not those of `atexit`.

    Celery's pool workers run no finalizers at all, only Celery's signal. Call this with the first span of a process,
    because a child clears its list of finalizers after the fork.
    """
    ref = weakref.ref(pipeline)

    def finish(**_: Any) -> None:
        if (alive := ref()) is not None:
            with signals_wait():
                alive.shutdown()

    if (signals := sys.modules.get("celery.signals")) is not None:
        signals.worker_process_shutdown.connect(finish, weak=False)
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None:
        return
    from multiprocessing.util import Finalize

    Finalize(None, finish, exitpriority=0)


@functools.wraps(_exit)
def _exit_delivering_jobs(status: int) -> NoReturn:
    """Deliver first if RQ ends the process of a job. All other callers end the process at once, as they expect."""
    try:
        frame = currentframe()
        caller = None if frame is None else frame.f_back
        if caller is not None and str(caller.f_globals.get("__name__")).startswith("rq."):
            with signals_wait():
                _deliver_all()
    finally:
        _exit(status)


_exit_delivering_jobs.__module__ = "os"  # where pickle looks for it


def _delivering_first(send: Callable[P, None], module: str) -> Callable[P, None]:
    """Wrap `raise_signal` or `kill`, so that a process delivers before it ends itself. It still ends by that signal."""

    @functools.wraps(send)
    def sending(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            if _end_this_process(args):
                with signals_wait():
                    _deliver_in_thread()
        finally:  # also if the handler of another signal raises: this one ends the process
            send(*args, **kwargs)

    sending.__module__ = module  # where pickle looks for it
    return sending


def _end_this_process(arguments: tuple[object, ...]) -> bool:
    """Return whether these arguments (perhaps a process, and a signal) end this process by the signal's default action.

    The first process of a container ignores it.
    """
    *process, number = arguments or (None,)
    return (
        isinstance(number, int)
        and number in _ENDING
        and process in ([], [os.getpid()])
        and signal.getsignal(number) is signal.SIG_DFL
        and os.getpid() != 1
    )


def _deliver_in_thread() -> None:
    """Deliver in a new thread, and wait for it no longer than the pipelines may take.

    This thread may be in a signal handler, and hold any lock of the code that the handler has interrupted. So do not
    even use `threading.Thread`, which takes a lock too.
    """
    done = _thread.allocate_lock()
    done.acquire()

    def deliver() -> None:
        try:
            _deliver_all()
        finally:
            done.release()

    try:
        _thread.start_new_thread(deliver, ())
    except RuntimeError as error:
        _logger.warning("pandaprobe-otel: waiting traces are lost, because the process ends now (%s).", error)
        return
    longest_s = sum(patience_s for ref, patience_s in _watched if ref() is not None) + _MARGIN_S
    done.acquire(timeout=min(longest_s, _thread.TIMEOUT_MAX))


@contextmanager
def signals_wait() -> Generator[None]:
    """Let signals that ask for the end take effect after this block, which is the last delivery of the process.

    Servers send such signals to workers that are ending already, and systemd sends SIGTERM to every process of a
    service. The default action of SIGTERM would end the process at once, and handlers of servers raise SystemExit.
    KeyboardInterrupt still cuts the delivery: somebody waits at the terminal.
    """
    arrived: list[int] = []
    before: dict[int, Any] = {}
    try:
        for number in _ENDING:
            if (handler := _replaced(number, lambda number, _: arrived.append(number), of=_would_cut)) is not None:
                before[number] = handler
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(arrived):
            handler = before[number]
            if handler is signal.SIG_DFL:
                _die_by_sigterm()
            elif handler is not _end:  # which only ends the process, too
                handler(number, None)


def _would_cut(handler: Any, number: int) -> bool:
    """Return whether this handler ends the process, or raises, while another end is under way."""
    if callable(handler):
        return handler is not signal.default_int_handler
    return handler is signal.SIG_DFL and number == signal.SIGTERM


def _replaced(number: int, handler: Callable[[int, Any], None], *, of: Callable[[Any, int], bool]) -> Any:
    """Set the handler of a signal and return the one before; None if `of` refuses that, or threads and C code do."""
    before: Any = signal.getsignal(number)
    if threading.current_thread() is not threading.main_thread() or not of(before, number):
        return None
    try:
        return signal.signal(number, handler)
    except ValueError:  # in another interpreter than the main one
        return None


def _die_by_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _raise_signal(signal.SIGTERM)


def _is_ours(handler: Any, _: int) -> bool:
    return handler is signal.SIG_DFL or handler is _deliver_and_end or handler is _end


def _outlive_hypercorn() -> None:
    """Make SIGTERM deliver before it ends a worker of hypercorn.

    Such a worker does not handle SIGTERM, and when one worker has ended, hypercorn sends it to the others. A handler of
    Python runs at once there, because the main thread runs an event loop.
    """
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None:
        return
    if sys.modules.keys().isdisjoint(("hypercorn.asyncio.run", "hypercorn.trio.run")):
        return
    before = _replaced(signal.SIGTERM, _deliver_and_end, of=lambda handler, _: handler is signal.SIG_DFL)
    if before is not None and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_leave_hypercorn)


def _leave_hypercorn() -> None:
    """Restore the default action in a process that a worker forks: it may be busy in C code, and run no handler."""
    if signal.getsignal(signal.SIGTERM) is _deliver_and_end:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _deliver_and_end(number: int, frame: object) -> None:
    try:
        with signals_wait():
            _deliver_in_thread()
    finally:
        _die_by_sigterm()


def end_on_sigterm() -> None:
    """Make SIGTERM run the exit handlers, so that traces are delivered, unless something else handles SIGTERM."""
    if _replaced(signal.SIGTERM, _end, of=_is_ours) is None:
        _logger.warning(
            "pandaprobe-otel: handle_sigterm has no effect: the app handles SIGTERM, or init() runs in a thread."
        )


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
