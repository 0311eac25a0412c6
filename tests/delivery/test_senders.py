"""The sender threads: faults of a transport, and the end of the threads."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.budget import Lease, LeasedBucket
from pandaprobe_otel.process.guard import failures
from pandaprobe_otel.transport.outcome import Answer, NoAnswer, Outcome, Request
from pandaprobe_otel.transport.socket_transport import SocketTransport
from simulated_world import trace_request
from spools import Service
from waiting import wait_until

MEMORY_DISK = "/dev/shm" if os.path.isdir("/dev/shm") else None
SENDERS = 4
REFUSED = NoAnswer(reason="refused", may_have_arrived=False)


def fail(*_: object) -> NoReturn:
    """Raise an error of ours."""
    raise ZeroDivisionError


def accept(request: Request) -> Outcome:
    """Accept every request."""
    return Answer(status=202)


def service(
    server: Callable[[Request], Outcome], traces: int, *, folder: Path | None = None, **options: object
) -> Service:
    """Return a delivery that has got this many traces."""
    made = Service(folder, server, **options)  # type: ignore[arg-type]
    made.put(*(trace_request(number) for number in range(traces)))
    return made


class Stalled:
    """A server that answers the first few requests, and then none until the test is over."""

    def __init__(self, answers: int = 0) -> None:
        self._answers = iter(range(answers))
        self._lock = threading.Lock()
        self.received = 0
        self.over = threading.Event()

    def __call__(self, request: Request) -> Outcome:
        """Accept the request, or wait."""
        with self._lock:
            self.received += 1
            is_answered = next(self._answers, None) is not None
        if not is_answered:
            self.over.wait(60)
        return Answer(status=202)


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
    server, total = Stalled(answers=answered), answered + stalled
    with TemporaryDirectory(dir=MEMORY_DISK) as scratch, pytest.MonkeyPatch.context() as patched:
        end = Exit()
        ours = service(server, total, folder=Path(scratch) if is_spooled else None, monotonic=end.monotonic)
        wait_until(lambda: server.received >= answered + min(stalled, SENDERS))
        wait_until(lambda: ours.ledger.read().delivered == answered)
        end.begin(patched)
        dropped = ours.delivery.close(end.monotonic() + timeout_s)
        server.over.set()

    assert dropped is not None
    assert end.waited_s <= max(timeout_s, 0.1) + 0.25
    assert (dropped.spans, ours.delivery.left_behind) == ((0, stalled) if is_spooled else (stalled, 0))


@pytest.mark.parametrize(
    ("traces", "share", "has_failed_before"), [(1, 0.0, False), (20, 1.0, False), (1, 1.0, True), (20, 0.0, True)]
)
def test_a_process_that_ends_waits_for_a_server_that_is_back_soon(
    traces: int, share: float, has_failed_before: bool
) -> None:
    """However long the wait until the next try was drawn, a server that is back within a second gets every trace."""
    began = time.monotonic()
    ours = service(
        lambda request: REFUSED if time.monotonic() < began + 0.8 else Answer(status=202),
        traces,
        uniform=lambda low, high: low + share * (high - low),
    )
    if has_failed_before:
        wait_until(lambda: ours.delivery.policy.blockage.unreachable)

    assert ours.close(10) == 0
    assert ours.ledger.read().delivered == traces


def test_a_try_at_the_end_has_no_more_time_than_the_patience_for_an_unreachable_server() -> None:
    """A server that swallows packets does not hold the end of a process, however long the shutdown timeout is."""
    times_given_s: list[float] = []
    is_silent = threading.Event()

    def server(request: Request) -> Outcome:
        if is_silent.is_set():
            times_given_s.append(request.timeout_s)
        return REFUSED

    ours = service(server, 20)
    wait_until(lambda: ours.delivery.policy.blockage.is_outage)
    is_silent.set()

    assert ours.close(60) == 20
    assert 0 < max(times_given_s) <= 1.5


def test_connections_are_closed_when_their_answers_come_after_the_end() -> None:
    """Senders that wait past the end close their connections, without any help of the garbage collector."""
    go_on, ends = threading.Event(), list[bytes]()
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(SENDERS) as pool:
        received: list[bytes] = []

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                received.append(connection.recv(1 << 16))
                go_on.wait(60)
                connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
                ends.append(connection.recv(1))

        for _ in range(SENDERS):
            pool.submit(serve)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        ours = service(accept, SENDERS, transport=SocketTransport(url, {}))
        wait_until(lambda: len(received) == SENDERS)
        ours.delivery.close(time.monotonic())
        assert not ends
        go_on.set()
        wait_until(lambda: ends == [b""] * SENDERS)


def test_a_fault_of_a_transport_costs_one_trace_and_no_sender() -> None:
    """An exception in a transport drops and counts one trace, and the others are sent."""
    faults = iter([fail])
    ours = service(lambda request: next(faults, accept)(request), 10)
    assert ours.flush()
    ours.close()

    counts = ours.ledger.read()
    assert (counts.delivered, counts.dropped) == (9, {"internal_error": 1})


def test_a_look_that_fails_costs_no_sender() -> None:
    """An exception in the look after the first trace is counted, and everything is sent."""
    before = failures().get("transport", 0)
    ours = service(accept, 3, look=fail)
    wait_until(lambda: ours.flush() and failures().get("transport", 0) > before)
    ours.close()

    assert (ours.ledger.read().delivered, failures()["transport"]) == (3, before + 1)


def test_a_fault_while_choosing_costs_neither_a_trace_nor_a_sender(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception in choosing the next request is logged once, and everything is sent."""
    acquire, faults = LeasedBucket.acquire, iter([fail, fail])

    def failing(bucket: LeasedBucket, now: float, *, leave: int = 0) -> Lease | None:
        next(faults, lambda: None)()
        return acquire(bucket, now, leave=leave)

    monkeypatch.setattr(LeasedBucket, "acquire", failing)
    ours = service(accept, 3)
    assert ours.flush()
    ours.close()

    assert ours.ledger.read().delivered == 3
    (line,) = (record for record in caplog.records if record.levelno > logging.DEBUG)
    assert "please report this" in line.getMessage()


def test_a_lock_that_is_held_delays_neither_flush_nor_the_end() -> None:
    """A lock held by a stuck thread delays neither flush nor shutdown, and shutdown returns no count of drops."""
    ours = service(Stalled(), 0)
    is_held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with ours.delivery._changed:
            is_held.set()
            over.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_held.wait(60)
    is_flushed = ours.flush(0.1)
    dropped = ours.delivery.close(time.monotonic() + 0.1)
    over.set()
    holder.join()

    assert not is_flushed
    assert dropped is None
