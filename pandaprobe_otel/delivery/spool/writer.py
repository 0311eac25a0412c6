"""The spool's thread: the one that touches the disk. It starts with the first span, or the first thing asked of it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pandaprobe_otel.delivery.spool.commands import Barrier, Command, Done, Insert
from pandaprobe_otel.forks import loading
from pandaprobe_otel.late_patches import LockMaker

if TYPE_CHECKING:
    from pandaprobe_otel.delivery.spool.keeper import Keeper

SCAN_EVERY_S: Final = 5.0
"""How often files of processes that have died meanwhile are looked for."""
MAX_BACKLOG: Final = 16 << 20
"""Bytes of parcels that may wait for the disk; beyond, parcels stay in memory alone until it has caught up."""
_GATHER_S: Final = 0.05
"""Removals may wait this long for others: what is removed late is only looked up once more after a crash."""
_MOMENT_S: Final = 0.1
_FORK_WAIT_S: Final = 1.0

_logger = logging.getLogger("pandaprobe_otel")


class SpoolWriter:
    """Takes commands from any thread, without I/O, and has a `Keeper` carry them out in its own."""

    def __init__(
        self,
        make_keeper: Callable[[], Keeper],
        *,
        on_fault: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
        scan_every_s: float = SCAN_EVERY_S,
    ) -> None:
        self._make_keeper = make_keeper
        self._on_fault = on_fault
        self._monotonic = monotonic
        self._scan_every_s = scan_every_s
        self._commands: deque[Command] = deque()
        self._make_locks()
        self._urgent = False
        self._thread: threading.Thread | None = None
        self._keeper: Keeper | None = None
        self._next_scan = 0.0
        self._closed = False
        self._is_busy = False
        self._asked_bytes = self._written_bytes = 0  # each is changed by one side only: += is not atomic
        self._lagged = False

    def _make_locks(self) -> None:
        self._lock_maker = LockMaker()
        self._wake = threading.Event()
        self._start_lock = threading.Lock()
        self._work_lock = threading.Lock()
        self._fork = threading.local()

    @property
    def parked(self) -> int:
        """Parcels that are on disk and not in memory."""
        return 0 if self._keeper is None or self._closed else self._keeper.parked.parcels

    @property
    def parked_spans(self) -> int:
        """The spans in them."""
        return 0 if self._keeper is None or self._closed else self._keeper.parked.spans

    @property
    def fill(self) -> float:
        """The share of the bound that the files take; from 0 to 1."""
        return 0.0 if self._keeper is None or self._closed else self._keeper.fill

    @property
    def has_more(self) -> bool:
        """Whether files of dead processes wait to be adopted until one of those in use is empty."""
        return self._keeper is not None and not self._closed and self._keeper.has_more

    @property
    def quiet(self) -> bool:
        """Whether nothing that was asked waits."""
        return not self._commands and not self._is_busy

    def lags(self) -> bool:
        """Whether so much waits for the disk that no more may be asked of it."""
        if self._asked_bytes - self._written_bytes <= MAX_BACKLOG:
            return False
        self._lagged = True
        return True

    def begin(self) -> None:
        """Start the thread, if it has not been started."""
        if self._thread is None and not self._closed:
            self._start()

    def ask(self, command: Command) -> None:
        """Have something done, later. Parcels are handed over under the lock of the delivery."""
        if self._closed:
            return
        if isinstance(command, Insert):
            self._asked_bytes += command.place.size
        self._commands.append(command)
        if not isinstance(command, Done):
            self._urgent = True
        self.begin()
        self._wake.set()

    def settle(self, deadline: float) -> bool:
        """Wait until everything asked so far is on disk; False when it is not by the deadline (a monotonic time).

        It is given a moment even when the deadline has passed, so that the answer is about the disk, not the time.
        """
        if self._closed:
            return False
        barrier = Barrier()
        self.ask(barrier)
        if self._thread is None or not self._thread.is_alive():
            self._work_here(deadline)
        barrier.passed.wait(max(deadline - self._monotonic(), _MOMENT_S))
        return barrier.held == [True]

    def close(self, deadline: float) -> None:
        """Do what has been asked, close the files and stop."""
        self.settle(deadline)
        was_closed, self._closed = self._closed, True
        if not was_closed and self._work_lock.acquire(timeout=max(deadline - self._monotonic(), _MOMENT_S)):
            try:
                self._guarded(self._leave)
            finally:
                self._work_lock.release()
        self._wake.set()

    def _leave(self) -> bool:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            self._carry_out(keeper)
            keeper.leave()
        return False

    # -- forks --------------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Hold the thread still and close the databases: a connection that crosses a fork breaks them."""
        held = self._fork.held = self._work_lock.acquire(timeout=_FORK_WAIT_S)  # several threads may fork at once
        if held and self._keeper is not None:
            self._keeper.close_connections()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if getattr(self._fork, "held", False):
            self._fork.held = False
            self._work_lock.release()

    def abandon(self) -> None:
        """In a forked child: let go of everything of the parent's without touching it."""
        self._closed = True
        if self._keeper is not None:
            self._keeper.abandon()

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._lock_maker.is_outdated:
            self._make_locks()
        with self._start_lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="pandaprobe-spool", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return  # the interpreter is shutting down: settle() and close() do the work in the thread that calls
            self._thread = thread

    def _run(self) -> None:
        more = True
        while not self._closed:
            if not more:
                self._wake.wait(self._pause())
                if not self._urgent:
                    time.sleep(_GATHER_S)
            self._wake.clear()
            self._urgent = False
            with self._work_lock:
                if not self._closed:
                    more = self._guarded(self._round)

    def _pause(self) -> float:
        at = self._next_scan if self._keeper is None else min(self._next_scan, self._keeper.wake_at())
        return max(at - self._monotonic(), 0.0)

    def _work_here(self, deadline: float) -> None:
        if self._work_lock.acquire(timeout=max(deadline - self._monotonic(), _MOMENT_S)):
            try:
                self._guarded(self._round)
            finally:
                self._work_lock.release()

    def _guarded(self, work: Callable[[], bool]) -> bool:
        """Do something; whether more is to be done at once."""
        try:
            return work()
        except Exception:  # the guard of the thread: a fault of ours turns the spool off, and is said once
            _logger.exception("The spool failed inside pandaprobe-otel and is not used any more; please report this")
            self._closed = True
            self._on_fault()
            for command in self._commands:
                if isinstance(command, Barrier):
                    command.passed.set()
            self._commands.clear()
            return False

    def _round(self) -> bool:
        keeper = self._keeper
        if keeper is None:
            with loading():
                keeper = self._keeper = self._make_keeper()
        keeper.try_again()
        now = self._monotonic()
        if now >= self._next_scan:
            self._next_scan = now + self._scan_every_s
            keeper.scan()
        self._carry_out(keeper)
        if keeper.drop_empty():
            self._next_scan = 0.0
        keeper.evict()
        return keeper.refill()

    def _carry_out(self, keeper: Keeper) -> None:
        self._is_busy = True
        commands = [self._commands.popleft() for _ in range(len(self._commands))]
        held = keeper.apply(commands)
        self._is_busy = False
        for command in commands:
            if isinstance(command, Insert):
                self._written_bytes += command.place.size
            elif isinstance(command, Barrier):
                command.held.append(held)
                command.passed.set()
        if self._lagged and self._asked_bytes == self._written_bytes:
            self._lagged = False
            keeper.save_all()
