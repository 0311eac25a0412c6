"""The life of a process, as a pipeline must know of it: its forks, its end, and the signal that asks for its end."""

from __future__ import annotations

import atexit
import logging
import signal
import sys
import threading
import weakref
from contextlib import suppress
from typing import Any, Protocol

from pandaprobe_otel.process.forks import Watcher, watch_forks

_logger = logging.getLogger("pandaprobe_otel")


class Ended(Watcher, Protocol):
    """What is told of forks and of the end."""

    def shutdown(self, timeout: float | None = None) -> bool:
        """The process ends."""
        ...


def watch_process(pipeline: Ended, *, at_exit_too: bool) -> None:
    """Deliver at the end of the process, and start over in forked children. Holds the pipeline weakly.

    Behind an exporter the end is the batch processor's to announce: it hands over its last spans when its provider
    shuts down, which may be after an exit handler of ours.
    """
    ref = weakref.ref(pipeline)

    def at_exit() -> None:
        if (alive := ref()) is not None:
            alive.shutdown()
            _end_as_interrupted()

    if at_exit_too:
        atexit.register(at_exit)
        weakref.finalize(pipeline, atexit.unregister, at_exit).atexit = False
    watch_forks(pipeline)


def _end_as_interrupted() -> None:
    """Give a process that Ctrl-C ends the exit status of one, which the last delivery may have taken from it.

    CPython notes an unhandled KeyboardInterrupt, and forgets it with the next text that is executed, such as that of
    every dataclass of a module that is imported. A text that raises it again makes the note anew. Without it a shell's
    loop goes on after Ctrl-C.
    """
    if getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1") and not sys.flags.interactive:
        with suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")


def finish_with_multiprocessing(pipeline: Ended) -> None:
    """Children of multiprocessing end by os._exit, without atexit; their own finalizers run, though.

    Those of Celery's pool run nothing but Celery's signal. Called with the first span of a process: a child clears
    its list of finalizers after the fork.
    """
    ref = weakref.ref(pipeline)

    def finish(**_: Any) -> None:
        if (alive := ref()) is not None:
            alive.shutdown()

    if (signals := sys.modules.get("celery.signals")) is not None:
        signals.worker_process_shutdown.connect(finish, weak=False)
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None:
        return
    from multiprocessing.util import Finalize

    Finalize(None, finish, exitpriority=0)


def end_on_sigterm() -> None:
    """Make SIGTERM an orderly end, where nobody else handles it: exit handlers run, so traces are delivered."""
    if signal.getsignal(signal.SIGTERM) is _end:
        return
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        _logger.warning("pandaprobe-otel: SIGTERM is handled already (or init() runs in a thread); it is left alone.")
        return
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
