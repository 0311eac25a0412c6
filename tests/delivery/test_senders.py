"""The sender threads: faults of a transport, and the end of the threads."""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.budget import Lease, LeasedBucket
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.delivery.outcome_effects import Dropped
from pandaprobe_otel.delivery.policy import DeliveryPolicy
from pandaprobe_otel.delivery.sender_pool import MAX_SENDERS, SenderPool
from pandaprobe_otel.process.guard import failures
from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer, Outcome, Request, Transport
from pandaprobe_otel.transport.socket_transport import SocketTransport
from simulated_delivery import create
from spools import open_store
from waiting import wait_until

MEMORY_DISK = "/dev/shm" if os.path.isdir("/dev/shm") else None


class Stalled:
    """A server that answers the first few requests, and then none."""

    def __init__(self, answers: int = 0) -> None:
        self._answers = iter(range(answers))
        self._lock = threading.Lock()
        self.asked = 0
        self.over = threading.Event()

    def send(self, request: Request) -> Outcome:
        """Accept the request, or wait until the test is over."""
        with self._lock:
            self.asked += 1
            is_answered = next(self._answers, None) is not None
        if not is_answered:
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


def pool_by(
    transport: Transport,
    ledger: Ledger,
    folder: Path | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    uniform: Callable[[float, float], float] = random.uniform,
    look: Callable[[Transport], None] | None = None,
) -> SenderPool:
    """Return senders with an outbox in memory, or in a spool."""
    notices = Notices(monotonic)

    def policy() -> DeliveryPolicy:
        store = None if folder is None else open_store(folder, notices=notices, recover=lambda rows, states: ())
        return DeliveryPolicy(
            outbox=Outbox(1 << 20, store),
            bucket=LeasedBucket(),
            ledger=ledger,
            notices=notices,
            project="shop",
            uniform=uniform,
        )

    return SenderPool(policy=policy, transport=transport, look=look, monotonic=monotonic)


class Exit:
    """The end of a process: the time for which its thread waits is skipped, and counted."""

    def __init__(self) -> None:
        self.waited_s = 0.0

    def begin(self, patched: pytest.MonkeyPatch) -> None:
        """Skip the waits of this thread from now on."""
        self._thread = threading.current_thread()
        wait, join = threading.Condition.wait, threading.Thread.join

        def skipped_wait(condition: threading.Condition, timeout: float | None = None) -> bool:
            if threading.current_thread() is not self._thread:
                return wait(condition, timeout)
            is_told = wait(condition, 0.001)
            self.waited_s += 0.0 if is_told else 3600.0 if timeout is None else timeout
            return is_told

        def skipped_join(thread: threading.Thread, timeout: float | None = None) -> None:
            join(thread, 0.001)
            self.waited_s += 0.0 if not thread.is_alive() else 3600.0 if timeout is None else timeout

        patched.setattr(threading.Condition, "wait", skipped_wait)
        patched.setattr(threading.Thread, "join", skipped_join)

    def monotonic(self) -> float:
        """Return the time, including the skipped waits."""
        return time.monotonic() + self.waited_s


@settings(max_examples=8)
@given(
    answered=st.integers(0, 5),
    stalled=st.integers(0, 30),
    timeout_s=st.sampled_from([0.0, 0.1, 1.0, 5.5]),
    is_spooled=st.booleans(),
)
def test_the_end_beside_a_stalled_server_takes_no_longer_than_its_timeout(
    answered: int, stalled: int, timeout_s: float, is_spooled: bool
) -> None:
    """Four stuck senders together delay the end by a fifth of a second, and every remaining request is reported."""
    transport, ledger, total = Stalled(answers=answered), Ledger(), answered + stalled
    with TemporaryDirectory(dir=MEMORY_DISK) as folder, pytest.MonkeyPatch.context() as patched:
        end = Exit()
        delivery = pool_by(transport, ledger, Path(folder) if is_spooled else None, end.monotonic)
        for number in range(total):
            ledger.ended(1)
            delivery.put([create(number)])
        wait_until(lambda: transport.asked >= answered + min(stalled, MAX_SENDERS))
        wait_until(lambda: ledger.read().delivered == answered)
        end.begin(patched)
        dropped = delivery.close(end.monotonic() + timeout_s)
        transport.over.set()

    assert dropped is not None
    assert end.waited_s <= max(timeout_s, 0.1) + 0.25
    assert (dropped.spans, delivery.left_behind) == ((0, stalled) if is_spooled else (stalled, 0))


class BackSoon(Stalled):
    """A server that refuses connections until a time after its first request."""

    def __init__(self, after_s: float) -> None:
        super().__init__()
        self._after_s = after_s
        self._back_at = 0.0

    def send(self, request: Request) -> Outcome:
        """Refuse the connection until the time has come."""
        with self._lock:
            self._back_at = self._back_at or time.monotonic() + self._after_s
        if time.monotonic() < self._back_at:
            return NoAnswer(reason="refused", may_have_arrived=False)
        return Answer(status=202)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("traces", [1, 20])
@pytest.mark.parametrize("has_failed_before", [False, True])
def test_a_process_that_ends_waits_for_a_server_that_is_back_soon(
    traces: int, share: float, has_failed_before: bool
) -> None:
    """However long the wait until the next try was drawn, a server that is back within a second gets every trace."""
    transport = BackSoon(0.8)
    delivery = pool_by(transport, Ledger(), uniform=lambda low, high: low + share * (high - low))
    for number in range(traces):
        delivery.put([create(number)])
    if has_failed_before:
        wait_until(lambda: delivery.policy.blockage.unreachable)

    dropped = delivery.close(time.monotonic() + 10)

    assert dropped == Dropped()
    assert delivery.policy.outbox.is_done


def test_a_process_that_ends_soon_gives_up_a_server_that_does_not_come_back() -> None:
    """An unreachable server is tried until the patience of an ending process is over, and no longer."""
    transport, begun = BackSoon(60.0), time.monotonic()
    delivery = pool_by(transport, Ledger())
    for number in range(20):
        delivery.put([create(number)])

    dropped = delivery.close(begun + 60)

    assert dropped == Dropped(spans=20)
    assert 0.9 < time.monotonic() - begun < 30


class GoneSilent(Stalled):
    """A server that refuses connections until its client ends, and then takes packets without an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.is_silent = False
        self.time_given_s: list[float] = []

    def send(self, request: Request) -> Outcome:
        """Refuse the connection, or note the time that the request has, and use none of it."""
        if self.is_silent:
            self.time_given_s.append(request.timeout_s)
        return NoAnswer(reason="refused", may_have_arrived=False)


def test_a_try_at_the_end_has_no_more_time_than_the_patience_for_an_unreachable_server() -> None:
    """A server that swallows packets does not hold the end of a process, however long the shutdown timeout is."""
    transport = GoneSilent()
    delivery = pool_by(transport, Ledger())
    for number in range(20):
        delivery.put([create(number)])
    wait_until(lambda: delivery.policy.blockage.is_outage)
    transport.is_silent = True

    delivery.close(time.monotonic() + 60)

    assert transport.time_given_s
    assert max(transport.time_given_s) <= 1.5


class SlowServer:
    """A server that answers requests once it is told to, and then waits for the end of their connections."""

    def __init__(self, requests: int) -> None:
        self.go_on = threading.Event()
        self.asked: list[bytes] = []
        self.ends: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._pool = ThreadPoolExecutor(requests)
        self._served = [self._pool.submit(self._serve) for _ in range(requests)]

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            self.asked.append(connection.recv(1 << 16))
            self.go_on.wait(60)
            connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            self.ends.append(connection.recv(1))

    def close(self) -> None:
        """Wait for all connections."""
        self._pool.shutdown()
        self._listener.close()
        for served in self._served:
            served.result()


@pytest.mark.parametrize("senders", [1, MAX_SENDERS])
def test_connections_are_closed_when_their_answers_come_after_the_end(senders: int) -> None:
    """Senders that wait past the end close their connections, without any help of the garbage collector."""
    server = SlowServer(senders)
    delivery = pool_by(SocketTransport(server.url, {}), Ledger())
    for number in range(senders):
        delivery.put([create(number)])
    wait_until(lambda: len(server.asked) == senders)
    delivery.close(time.monotonic())
    assert not server.ends
    server.go_on.set()
    wait_until(lambda: server.ends == [b""] * senders)
    server.close()


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


def test_a_look_that_fails_costs_no_sender() -> None:
    """An exception in the look after the first trace is counted, and everything is sent."""

    def look(_: Transport) -> None:
        raise ZeroDivisionError

    before = failures().get("transport", 0)
    transport, ledger = Faulty(), Ledger()
    transport.faults = iter(())
    ledger.ended(3)
    delivery = pool_by(transport, ledger, look=look)
    for number in range(3):
        delivery.put([create(number)])
    wait_until(lambda: ledger.read().pending == 0 and failures().get("transport", 0) > before)
    delivery.close(time.monotonic() + 5)
    assert (ledger.read().delivered, failures()["transport"]) == (3, before + 1)


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

    (line,) = (record for record in caplog.records if record.levelno > logging.DEBUG)
    assert "please report this" in line.getMessage()


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
