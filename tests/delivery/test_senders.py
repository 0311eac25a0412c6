"""The sender threads: faults of a transport, and the end of the threads."""

from __future__ import annotations

import threading
import time

import pytest

from pandaprobe_otel.delivery.budget import Lease, LeasedBucket
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.delivery.policy import DeliveryPolicy
from pandaprobe_otel.delivery.sender_pool import SenderPool
from pandaprobe_otel.transport.request_outcome import Answer, Outcome, Request, Transport
from simulated_delivery import create
from waiting import wait_until


class Stalled:
    """A server that never answers."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.over = threading.Event()

    def send(self, request: Request) -> Outcome:
        """Wait until the test is over."""
        self.asked.release()
        self.over.wait(60)
        return Answer(status=202)

    def close(self) -> None:
        """Do nothing, since there is no connection."""

    def reset_after_fork(self) -> None:
        """Do nothing, since there is no connection."""


class Faulty(Stalled):
    """A transport that raises at the first request."""

    def __init__(self) -> None:
        super().__init__()
        self.faults = iter([ZeroDivisionError()])

    def send(self, request: Request) -> Outcome:
        """Fail once."""
        for fault in self.faults:
            raise fault
        return Answer(status=202)


def pool_by(transport: Transport, ledger: Ledger) -> SenderPool:
    """Return senders with an outbox in memory, for this transport."""

    def policy() -> DeliveryPolicy:
        return DeliveryPolicy(
            outbox=Outbox(1 << 20),
            bucket=LeasedBucket(),
            ledger=ledger,
            notices=Notices(time.monotonic),
            project="shop",
        )

    return SenderPool(policy=policy, transport=transport)


def test_senders_that_are_held_up_are_waited_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """At exit, four stuck senders delay the process by a fifth of a second together."""
    transport, ledger = Stalled(), Ledger()
    delivery = pool_by(transport, ledger)
    for number in range(20):
        delivery.put([create(number)])
        if number < 4:
            assert transport.asked.acquire(timeout=60)
    waits: list[float] = []
    join = threading.Thread.join

    def recording(thread: threading.Thread, timeout: float | None = None) -> None:
        waits.append(60.0 if timeout is None else timeout)
        join(thread, timeout)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "join", recording)
        dropped = delivery.close(time.monotonic() + 0.1)
    transport.over.set()

    assert dropped is not None
    assert dropped.spans == 20
    assert len(waits) == 4
    assert sum(waits) < 0.25


def test_a_fault_of_a_transport_costs_one_trace_and_no_sender() -> None:
    """An exception in a transport drops and counts one trace, and the others are sent."""
    ledger = Ledger()
    ledger.ended(10)
    delivery = pool_by(Faulty(), ledger)
    for number in range(10):
        delivery.put([create(number)])
    wait_until(lambda: ledger.read().pending == 0)
    delivery.close(time.monotonic() + 5)

    assert ledger.read().delivered == 9
    assert dict(ledger.read().dropped) == {"internal_error": 1}


def test_a_fault_while_choosing_costs_neither_a_trace_nor_a_sender(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception in choosing the next request is logged once, and everything is sent."""
    transport, ledger = Faulty(), Ledger()
    transport.faults = iter(())
    ledger.ended(3)
    faults = iter([ZeroDivisionError(), KeyError()])
    acquire = LeasedBucket.acquire

    def failing(bucket: LeasedBucket, now: float, *, leave: int = 0) -> Lease | None:
        for fault in faults:
            raise fault
        return acquire(bucket, now, leave=leave)

    monkeypatch.setattr(LeasedBucket, "acquire", failing)
    delivery = pool_by(transport, ledger)
    for number in range(3):
        delivery.put([create(number)])
    wait_until(lambda: ledger.read().delivered == 3)
    delivery.close(time.monotonic() + 5)

    assert len(caplog.records) == 1
    assert "please report this" in caplog.text


def test_a_lock_that_is_not_let_go_of_holds_up_neither_flush_nor_the_end() -> None:
    """A lock held by a stuck thread delays neither flush nor shutdown, and shutdown returns no count of drops."""
    delivery = pool_by(Stalled(), Ledger())
    is_held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with delivery._changed:
            is_held.set()
            over.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_held.wait(60)
    flushed = delivery.wait_idle(time.monotonic() + 0.1)
    dropped = delivery.close(time.monotonic() + 0.1)
    over.set()
    holder.join()

    assert not flushed
    assert dropped is None
