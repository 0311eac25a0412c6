"""The background thread of evaluations: it executes runs one after the other and starts those of due monitors.

Runs are rows of the store. If a process ends during a run, the next process starts that run again.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Final

from pandaprobe_otel.local.evaluation.execution import Execution

_log = logging.getLogger(__name__)

_LONGEST_WAIT_S: Final = 5.0
"""Longest wait, because a monitor may be changed or the clock set in the meantime."""

_STOP: Final = ""


class Worker:
    """A worker that evaluates in its own thread, which starts with the first task."""

    def __init__(self, execution: Execution, start_due_monitors: Callable[[], float | None]) -> None:
        self._execution = execution
        self._start_due_monitors = start_due_monitors
        self._runs: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def resume(self, run_ids: list[str], *, monitors: bool) -> None:
        """Continue runs that an earlier process left, and watch monitors if there are any."""
        for run_id in run_ids:
            self._runs.put(run_id)
        if run_ids or monitors:
            self._ensure_thread()

    def submit(self, run_id: str) -> None:
        """Evaluate a stored run."""
        self._runs.put(run_id)
        self._ensure_thread()

    def watch(self) -> None:
        """Watch monitors from now on."""
        self._ensure_thread()

    def stop(self, timeout_s: float) -> None:
        """End the thread after its current target. The next process continues."""
        self._stopping.set()
        self._runs.put(_STOP)
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _ensure_thread(self) -> None:
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._work, name="pandaprobe-local-evaluation", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while not self._stopping.is_set():
            wait_s = self._monitors_tick()
            try:
                run_id = self._runs.get(timeout=wait_s)
            except queue.Empty:
                continue
            if run_id != _STOP:
                self._evaluate(run_id)

    def _monitors_tick(self) -> float:
        try:
            due_in_s = self._start_due_monitors()
        except sqlite3.Error:
            _log.warning("pandaprobe local: monitors could not be read", exc_info=True)
            due_in_s = None
        return _LONGEST_WAIT_S if due_in_s is None else min(max(due_in_s, 0.01), _LONGEST_WAIT_S)

    def _evaluate(self, run_id: str) -> None:
        try:
            self._execution.run(run_id, self._stopping)
        except Exception as error:  # noqa: BLE001 - one run must not end the thread; the run carries the message
            _log.warning("pandaprobe local: evaluation run %s failed", run_id, exc_info=True)
            self._execution.fail(run_id, error)
