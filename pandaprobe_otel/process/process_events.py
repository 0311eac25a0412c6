"""Events of a process that a pipeline must handle: forks, the end, and SIGTERM."""

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
    """Object that is notified of forks and of the end of the process."""

    def shutdown(self, timeout: float | None = None) -> bool:
        """Finish the work, because the process ends."""
        ...

    def tell_end(self) -> None:
        """Tell the user what was delivered, after the last delivery of the process."""


def watch_process(pipeline: Ended, *, at_exit_too: bool) -> None:
    """Deliver at the end of the process and start over in forked children. Holds the pipeline weakly.

    An exporter passes `at_exit_too=False`: its batch processor announces the end. It hands over its last spans when its
    provider shuts down, perhaps after our exit handler.
    """
    ref = weakref.ref(pipeline)

    def at_exit() -> None:
        if (alive := ref()) is not None:
            alive.shutdown()
            alive.tell_end()
            _end_as_interrupted()

    if at_exit_too:
        atexit.register(at_exit)
        weakref.finalize(pipeline, atexit.unregister, at_exit).atexit = False
    watch_forks(pipeline)


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
            alive.shutdown()

    if (signals := sys.modules.get("celery.signals")) is not None:
        signals.worker_process_shutdown.connect(finish, weak=False)
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None:
        return
    from multiprocessing.util import Finalize

    Finalize(None, finish, exitpriority=0)


def end_on_sigterm() -> None:
    """Make SIGTERM run the exit handlers, so that traces are delivered, unless something else handles SIGTERM."""
    if signal.getsignal(signal.SIGTERM) is _end:
        return
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        _logger.warning(
            "pandaprobe-otel: handle_sigterm has no effect: the app handles SIGTERM, or init() runs in a thread."
        )
        return
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
