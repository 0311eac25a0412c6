"""Delivery with a spool: what waits is on disk, and what the process cannot send before its end stays there."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from pandaprobe_otel.delivery.delivery import Delivery
from pandaprobe_otel.delivery.dispatcher import Dispatcher
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Job, MemoryOutbox
from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.delivery.spool.commands import Command
from pandaprobe_otel.delivery.spool.memory_side import Loaded, MemorySide
from pandaprobe_otel.delivery.spool.outbox import SpooledOutbox
from pandaprobe_otel.delivery.spool.rows import Count
from pandaprobe_otel.delivery.spool.writer import SpoolWriter
from pandaprobe_otel.transport.messages import Transport

_PATIENCE_S: Final = 1.0
"""At the end of the process, nothing that is on disk is waited for longer than this without a request under way."""
_LOOK_AGAIN_S: Final = 0.25


class SpooledDelivery(Delivery):
    """A `Delivery` whose outbox is mirrored on disk by a thread of its own; also that thread's `MemorySide`."""

    def __init__(
        self,
        *,
        writer: Callable[[MemorySide, Callable[[], int]], SpoolWriter],
        dispatcher: Callable[[MemoryOutbox], Dispatcher],
        transport: Transport,
        ledger: Ledger,
        notices: Notices,
        max_bytes: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make_writer = writer
        self._ledger = ledger
        self._notices = notices
        self._max_bytes = max_bytes
        super().__init__(dispatcher=lambda: dispatcher(self._outbox), transport=transport, monotonic=monotonic)

    def _start_fresh(self) -> None:
        # Microseconds since the epoch: no earlier run has used these numbers in a file that this one may take over.
        rows = itertools.count(time.time_ns() // 1000).__next__
        self._writer = self._make_writer(self, rows)
        writer = self._writer
        self._outbox = SpooledOutbox(
            self._max_bytes, ask=writer.ask, lags=writer.lags, rows=rows, full=lambda: writer.fill
        )
        self._closing = False
        super()._start_fresh()

    @property
    def bytes_in_memory(self) -> int:
        """Bytes of the parcels that are in memory."""
        return self._outbox.bytes

    def begin(self) -> None:
        """The first span of the process has started: look for what other processes have left."""
        self._writer.begin()

    def put(self, parcel: Parcel) -> None:
        """Take over a parcel; it is on disk a moment later, and sent as soon as the budget allows."""
        self._due_at = 0.0
        super().put(parcel)

    def settle(self, deadline: float) -> bool:
        """Wait until everything is on disk; when the disk has failed, memory is the place, and there is no waiting."""
        return self._writer.settle(deadline) or not self._outbox.saves

    def ask(self, command: Command) -> None:
        """Have the spool's thread do something."""
        self._writer.ask(command)

    def wait_idle(self, deadline: float) -> bool:
        """Wait until nothing is left to send; True when everything is delivered or on disk.

        What is on disk is not waited for when it cannot be sent before the deadline in any case.
        """
        while True:
            on_disk = self._writer.settle(deadline)
            if not self._has_live_sender():
                self._send_until(deadline)
            with self._changed:
                if self._is_done():
                    return True
                now = self._monotonic()
                if now >= deadline or (on_disk and not self._outbox.unsaved and not self._is_worthwhile(now, deadline)):
                    return on_disk and not self._outbox.unsaved
                self._changed.wait(min(deadline - now, _LOOK_AGAIN_S))

    def close(self, deadline: float) -> int:
        """Send what can be sent before the deadline, then stop; what is on disk stays there, the rest is dropped."""
        dropped = super().close(deadline)
        self._writer.close(deadline)
        return dropped

    def before_fork(self) -> None:
        """In the parent, before a fork."""
        self._writer.before_fork()

    def after_fork_in_parent(self) -> None:
        """In the parent, after a fork."""
        self._writer.after_fork_in_parent()

    def reset_after_fork(self) -> None:
        """In a forked child: the files stay the parent's; the child gets one of its own when it needs it."""
        self._writer.abandon()
        super().reset_after_fork()

    def _begin_to_close(self) -> None:
        self._closing = True
        super()._begin_to_close()
        self._dispatcher.closing = not self._outbox.saves  # what is on disk can wait for the next process

    def _drop_rest(self) -> int:
        self._outbox.leave()
        self.left_behind = self._outbox.saved_spans + self._writer.parked_spans
        return super()._drop_rest()

    def _is_done(self) -> bool:
        writer = self._writer
        return self._dispatcher.idle and writer.quiet and not writer.parked and not writer.has_more

    def _is_worthwhile(self, now: float, deadline: float) -> bool:
        """Whether something may be delivered soon enough to wait for it."""
        alive = sum(thread.is_alive() for thread in self._threads)
        comes_from_disk = self._writer.parked or self._writer.has_more
        if alive > self._waiting or (comes_from_disk and self.room() > 0):
            return True  # a request is under way, or something is about to come from the disk
        latest = min(deadline, now + _PATIENCE_S) if self._closing else deadline
        return alive > 0 and self._due_at <= latest

    # -- for the spool's thread ---------------------------------------------------------------------------------------

    def room(self) -> int:
        """Bytes that may be loaded: up to three quarters of the bound, once less than half is used."""
        used = self._outbox.bytes
        return self._max_bytes * 3 // 4 - used if used < self._max_bytes // 2 else 0

    def load(self, parcels: Sequence[Loaded]) -> None:
        """Take parcels into memory."""
        with self._changed:
            now = self._monotonic()
            for loaded in parcels:
                self._outbox.load(loaded, self._dispatcher.put, now)
            self._stir()

    def adopted(self, count: Count, lines: Iterable[str]) -> None:
        """Parcels of a dead process are this one's from now on."""
        with self._changed:
            self._ledger.ended(count.spans)
            self._outbox.adopted(lines)

    def lost(self, reason: str, count: Count, lines: Iterable[str] = ()) -> None:
        """Parcels that were on disk alone are gone."""
        if not count.parcels:
            return
        with self._changed:
            self._outbox.forget_lines(lines)
        self._ledger.dropped(reason, count.spans)
        if reason == "spool_full":
            self._notices.say(
                "spool_full",
                "Traces are dropped: they come faster than PandaProbe takes them, and the spool is full. "
                "The oldest go first, those with errors last.",
            )
        if reason == "expired":
            self._notices.say("expired", "Traces that have waited in the spool for a week are dropped.")

    def unsave(self, jobs: Iterable[Job], parked: Iterable[Parcel]) -> None:
        """The disk did not take these."""
        with self._changed:
            self._outbox.unsave(jobs)
            now = self._monotonic()
            for parcel in parked:
                self._dispatcher.put(parcel, now)
            self._stir()

    def learned_cap(self, size: int) -> None:
        """An earlier process has found that the server takes no larger body than this."""
        with self._changed:
            self._dispatcher.learn_cap(size)

    def gave_up(self) -> None:
        """The spool does not work any more."""
        with self._changed:
            self._outbox.gave_up()

    def forget_places(self, file: int) -> None:
        """A file is gone."""
        with self._changed:
            self._outbox.forget_places(file)

    def save_all(self) -> None:
        """Ask for everything to be kept that is in memory alone."""
        with self._changed:
            self._outbox.save_all()

    def _stir(self) -> None:
        self._due_at = 0.0  # senders that wait have not looked again yet
        if not self._dispatcher.idle and self._waiting == 0 and not self._stopped:
            self._add_sender()
        self._changed.notify_all()
