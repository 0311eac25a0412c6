"""Faults of a network and of the devices in it, with real sockets and the whole pipeline."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from pandaprobe_otel.delivery.budget import REQUEST_TIMEOUT_S, UNANSWERED_EXTRA_S, WINDOW_S
from pandaprobe_otel.transport.outcome import NoAnswer
from simulated_world import Fate, simulation, trace_request
from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import environment, run_python
from traced_app import TracedApp, traced_app
from waiting import wait_until

LARGE_SPANS, LARGE_VALUE = 30, "x" * 100_000


def endless(until: threading.Event, *, head: bytes = b"", byte: bytes = b"") -> Reply:
    """Return an answer that sends its byte repeatedly, or nothing, until the test sets the event."""

    def write(connection: socket.socket) -> None:
        connection.sendall(head)
        while not until.wait(0.02):
            with suppress(OSError):  # the client may have disconnected
                connection.sendall(byte)

    return Reply(wire=write)


def endless_answers(until: threading.Event) -> list[Reply]:
    """Return answers that never end in a header, in the body, or before the first byte."""
    head = b"HTTP/1.1 202 Accepted\r\nContent-Length: 90000\r\n\r\n"
    in_a_header = b"HTTP/1.1 202 Accepted\r\nX-Endless: "
    return [endless(until, head=in_a_header, byte=b"x"), endless(until, head=head, byte=b" "), endless(until)]


@pytest.fixture
def looks_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the wait before an unanswered trace is looked up, from five seconds to 0.1."""
    monkeypatch.setattr("pandaprobe_otel.delivery.policy.CHECK_AFTER_S", 0.1)


@pytest.mark.usefixtures("looks_soon")
def test_answers_that_never_end_hold_up_nothing_but_themselves() -> None:
    """Answers that trickle or stay silent delay no other trace, and each trace arrives once."""
    others_arrived = threading.Event()
    with StrictPandaProbe() as server, traced_app(server.url) as app:
        server.script.extend(endless_answers(others_arrived))
        for number in range(20):
            app.trace(f"trace {number}")
        wait_until(lambda: len(server.traces) == 17)
        assert not [each for each in app.transport.exchanges if isinstance(each.outcome, NoAnswer)]
        others_arrived.set()
        assert app.flush()

        assert len(server.accepted_at) == len(server.traces) == 20
        assert app.is_balanced


def test_the_token_of_an_abandoned_request_stays_out_until_the_server_cannot_count_it() -> None:
    """After a hundred requests without an answer, the next one is sent 65 s after the client gave them up."""
    world, server, process = simulation(senders=100)
    process.fate = lambda request, now: Fate.NO_ANSWER if now < 1 else Fate.PASSES
    for number in range(101):
        process.put(trace_request(number))
    world.run(200)
    sent = [at for at, request in process.sent if request.method == "POST"]

    assert sent[99] == 0
    assert sent[100] >= REQUEST_TIMEOUT_S + UNANSWERED_EXTRA_S + WINDOW_S
    assert server.posts(status=429) == []


def raw(answer: bytes, *, carried_out: bool = True) -> Reply:
    """Return a reply of exactly these bytes, after which the connection is closed."""
    return Reply(wire=lambda connection: connection.sendall(answer), carried_out=carried_out)


BROKEN = {
    "reset after the body": Reply(reset="unread"),
    "reset after it was carried out": Reply(reset="accepted"),
    "truncated answer": raw(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{"),
    "truncated head": raw(b"HTTP/1.1 202 Acc"),
    "garbage": raw(b"\x16\x03\x01 SSH-2.0-what\r\n\r\n"),
    "garbage, not carried out": raw(b"220 mail.example ESMTP\r\n\r\n", carried_out=False),
    "a page": Reply(status=200, body=b"<html>Please sign in</html>"),
    "100 and nothing else": raw(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "502": Reply(status=502, body=b"bad gateway"),
    "504 although carried out": Reply(status=504, body=b"gateway timeout", carried_out=True),
}


@pytest.mark.usefixtures("looks_soon")
def test_a_broken_answer_costs_a_look_and_never_a_second_trace() -> None:
    """A broken answer costs one GET, and a second POST only if the first did not arrive; one trace is stored."""
    with ExitStack() as stack:
        runs: dict[str, tuple[StrictPandaProbe, TracedApp]] = {}
        for kind, reply in BROKEN.items():
            server = stack.enter_context(StrictPandaProbe())
            server.script.append(reply)
            runs[kind] = (server, stack.enter_context(traced_app(server.url)))
            runs[kind][1].trace(kind)
        for kind, (server, app) in runs.items():
            assert app.flush(), kind
            arrived = BROKEN[kind].carried_out or BROKEN[kind].reset == "accepted"
            assert len(server.requests("GET")) == 1, kind
            assert len(server.posts()) == (1 if arrived else 2), kind
            assert len(server.accepted_at) == len(server.traces) == 1, kind
            assert app.is_balanced, kind


@pytest.mark.usefixtures("looks_soon")
@pytest.mark.parametrize(
    ("receive_buffer", "looks"), [(4096, {0}), (None, {0, 1})], ids=["known", "taken over by the system"]
)
def test_a_reset_within_the_body_costs_no_second_trace(receive_buffer: int | None, looks: set[int]) -> None:
    """A reset within the body stores one trace, whether the request is sent again at once or looked up first.

    The request is sent again at once if the system certainly kept a part of the body. Usually the system has accepted
    all 3 MB of the body when the reset comes. The client cannot know then how much the server read, and looks up the
    trace.
    """
    cuts = iter([True])
    with StrictPandaProbe(receive_buffer=receive_buffer) as server, traced_app(server.url) as app:
        server.cuts_body = lambda method, path: next(cuts, False)
        with app.tracer.start_as_current_span("root", attributes={"gen_ai.operation.name": "invoke_agent"}):
            for _ in range(LARGE_SPANS):
                app.trace("chat", **{"gen_ai.input.messages": LARGE_VALUE})
        assert app.flush()

        assert len(server.requests("GET")) in looks
        assert len(server.posts()) == len(server.traces) == 1
        assert len(server.span_ids()) == LARGE_SPANS + 1
        assert app.is_balanced


# -- unreachable endpoints --------------------------------------------------------------------------------------------


@contextmanager
def black_hole() -> Iterator[str]:
    """Yield the address of a socket with a full backlog, which neither accepts nor refuses a connection."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def tls_server(
    host: str, ca: trustme.CA, *, begins: datetime.datetime | None = None, ends: datetime.datetime | None = None
) -> Iterator[str]:
    """Yield a server with a certificate for this host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(host, not_before=begins, not_after=ends).configure_cert(context)
    with StrictPandaProbe(tls=context) as server:
        yield server.url


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """Return a certificate authority that clients trust."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return ca


@pytest.fixture
def apps_without_a_way(authority: trustme.CA) -> Iterator[dict[str, TracedApp]]:
    """Yield apps with one trace and a bad endpoint: unknown host, black hole, and three invalid certificates."""
    then, later = (datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (2001, 2002))
    with ExitStack() as stack:
        endpoints = [
            "http://no-such-host.invalid",
            stack.enter_context(black_hole()),
            stack.enter_context(tls_server("elsewhere.example", authority)),
            stack.enter_context(tls_server("127.0.0.1", authority, begins=then, ends=later)),
            stack.enter_context(tls_server("127.0.0.1", trustme.CA())),
        ]
        apps = {
            url: stack.enter_context(traced_app(url, request_timeout_s=0.2, shutdown_timeout_s=0)) for url in endpoints
        }
        for app in apps.values():
            app.trace("a")
        yield apps


def test_unreachable_endpoints_cost_one_line_each(
    apps_without_a_way: dict[str, TracedApp], caplog: pytest.LogCaptureFixture
) -> None:
    """An unreachable endpoint is retried, loses no trace, and is logged once."""
    wait_until(lambda: all(len(app.transport.exchanges) >= 2 for app in apps_without_a_way.values()))
    for url, app in apps_without_a_way.items():
        outcomes = [each.outcome for each in app.transport.exchanges]
        assert all(isinstance(each, NoAnswer) and not each.may_have_arrived for each in outcomes), url
        assert app.status().spans_pending == 1, url
        assert app.is_balanced, url
    lines = [record for record in caplog.records if "cannot be reached" in record.message]
    assert len(lines) == len(apps_without_a_way)


@pytest.mark.outer
def test_unreachable_endpoints_cost_no_cpu(apps_without_a_way: dict[str, TracedApp]) -> None:
    """All apps with unreachable endpoints together use less than a quarter of a core."""
    wait_until(lambda: all(app.transport.exchanges for app in apps_without_a_way.values()))
    begun, used = time.monotonic(), time.process_time()
    time.sleep(2.0)
    share = (time.process_time() - used) / (time.monotonic() - begun)

    assert share < 0.25
    assert max(len(app.transport.exchanges) for app in apps_without_a_way.values()) <= 12


def test_a_proxy_that_wants_credentials_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a proxy's 407 the trace is kept, and is sent once the proxy allows it."""
    refusals = iter([Reply(status=407, body=b"who are you?")] * 2)
    with StrictPandaProbe() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        # A proxy gets the whole URL; the test server accepts any path that it does not know.
        proxy.answer = lambda method, path: next(refusals, Reply(status=202, body={}))
        with traced_app("http://pandaprobe.example") as app:
            app.trace("a")
            assert app.flush()
            assert (app.status().spans_delivered, app.status().spans_dropped) == (1, {})
        statuses = [entry.status for entry in proxy.requests("POST", "http://pandaprobe.example/traces")]

    assert statuses == [407, 407, 202]


def test_a_name_server_that_hangs_does_not_hold_the_end() -> None:
    """A process whose DNS look-up never returns still ends, and logs its lost spans."""
    code = """
    import socket, threading
    started = threading.Event()
    def hang(*arguments, **options):
        started.set()
        threading.Event().wait()
    socket.getaddrinfo = hang
    one("a")
    assert started.wait(60)
    handle.shutdown(0.5)
    """
    result = run_python(code, environment("http://pandaprobe.example"))

    assert result.returncode == 0, result.stderr
    assert result.stderr.count("2 spans were not delivered") == 1


# -- answers that a server writes into an idle connection, as some do before they close it --


PUSHED = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.outer
def test_a_trace_behind_a_pushed_answer_is_posted_once() -> None:
    """An answer that was on its way before the second trace was posted neither repeats nor loses that trace."""

    def push(connection: socket.socket) -> None:
        connection.sendall(PUSHED + b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}")

    with StrictPandaProbe() as server, traced_app(server.url) as app:
        app.trace("first")
        assert app.flush()
        server.script.append(Reply(wire=push, carried_out=True))
        app.trace("second")
        assert app.flush()

        assert app.status().spans_dropped == {}
        assert (app.status().spans_delivered, app.status().spans_pending) == (2, 0)
        assert len(server.posts()) == len(server.traces) == 2


@pytest.mark.outer
def test_a_score_behind_a_pushed_answer_is_stored_once() -> None:
    """The score counts as one whose outcome is unknown, since it would be recorded twice if it were sent again."""
    answers = [Reply(wire=lambda connection: connection.sendall(PUSHED), carried_out=True)]
    scored = ("POST", "/evaluations/trace-scores")

    with StrictPandaProbe() as server, traced_app(server.url) as app:
        server.answer = lambda *request: answers.pop() if request == scored and answers else None
        app.trace("first")
        assert app.flush()
        trace_id = next(iter(server.traces))
        app.pipeline.put_score({"trace_id": trace_id, "name": "quality", "value": "0.5", "data_type": "NUMERIC"})
        wait_until(lambda: not answers)
        assert app.flush()
        assert (app.status().scores_dropped, app.status().spans_dropped) == ({"outcome_unknown": 1}, {})
        assert [(one["name"], one["value"]) for one in server.scores] == [("quality", "0.5")]
