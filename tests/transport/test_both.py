"""Requests without an answer, in both transports: whether the server may have carried them out."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from pandaprobe_otel.transport.headers import api_key_headers
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.http_async import AsyncHttpTransport
from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer, Outcome, Request
from pandaprobe_otel.transport.socket_transport import SocketTransport
from raw_answers import answering
from strict_pandaprobe import Reply, StrictPandaProbe

Kind = type[SocketTransport] | type[HttpTransport]
BODY = b'{"trace_id":"a","name":"n","spans":[]}'
kinds = pytest.mark.parametrize("kind", [SocketTransport, HttpTransport])


def post(kind: Kind, url: str) -> Outcome:
    """Send one POST /traces."""
    transport = kind(url, {})
    try:
        return transport.send(Request(method="POST", path="/traces", body=b"{}", timeout_s=60.0))
    finally:
        transport.close()


def look(kind: Kind, url: str) -> Outcome:
    """Send one GET of an unknown trace."""
    transport = kind(url, {})
    try:
        return transport.send(Request(method="GET", path="/traces/x", timeout_s=60.0))
    finally:
        transport.close()


@kinds
def test_nobody_listening_is_not_an_unknown_outcome(kind: Kind) -> None:
    """A refused connection cannot have carried a request, so the outcome is known."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    answer = post(kind, url)

    assert isinstance(answer, NoAnswer)
    assert not answer.may_have_arrived
    assert "refused" in answer.reason


@kinds
def test_a_reset_after_the_body_is_an_unknown_outcome(kind: Kind) -> None:
    """If the connection is reset after the body, the server may have carried out the request."""
    with StrictPandaProbe() as server:
        server.script.append(Reply(reset="accepted"))
        answer = post(kind, server.url)

    assert isinstance(answer, NoAnswer)
    assert answer.may_have_arrived


@kinds
@pytest.mark.parametrize("raw", [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"])
def test_an_answer_that_is_none_is_an_unknown_outcome(kind: Kind, raw: bytes) -> None:
    """After a broken answer, the server may have carried out the request."""
    with answering(raw) as url:
        answer = post(kind, url)

    assert isinstance(answer, NoAnswer)
    assert answer.may_have_arrived


@kinds
def test_answers_tell_whether_their_connection_carried_another_request(kind: Kind) -> None:
    """Only the first answer of a connection is surely about its request."""
    with StrictPandaProbe() as server:
        transport = kind(server.url, api_key_headers("sk_pp_x", "shop"))
        request = Request(method="POST", path="/traces", body=BODY, timeout_s=60.0)
        answers = [transport.send(request) for _ in range(2)]
        transport.close()
        answers.append(transport.send(request))
        transport.close()

    assert [isinstance(answer, Answer) and answer.is_first for answer in answers] == [True, False, True]


@kinds
def test_a_request_that_is_late_is_not_sent(kind: Kind) -> None:
    """A request without time left is not sent; the time is checked after connecting, right before the first byte."""
    accepted: list[socket.socket] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(20)

        def no_time_left() -> float:
            accepted.append(listener.accept()[0])
            return 0.0

        transport = kind(f"http://127.0.0.1:{listener.getsockname()[1]}", {})
        late = transport.send(Request(method="POST", path="/traces", body=b"{}", time_left_s=no_time_left))
        transport.close()

    assert isinstance(late, NoAnswer)
    assert (late.is_late, late.may_have_arrived) == (True, False)
    (connection,) = accepted
    with connection:
        assert connection.recv(100) == b""


def test_an_app_that_has_another_version_of_httpx_alone_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """With httpx2 alone installed, requests over httpx fail with a reason, and those over a socket are sent."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "httpx"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "pandaprobe_otel.transport.httpx_outcomes", raising=False)
    monkeypatch.setitem(sys.modules, "httpx", None)
    with StrictPandaProbe() as server:
        asked = Request(method="GET", path="/traces/x")
        by_httpx = look(HttpTransport, server.url), asyncio.run(AsyncHttpTransport(server.url, {}).send(asked))
        directly = look(SocketTransport, server.url)

    for outcome in by_httpx:
        assert isinstance(outcome, NoAnswer)
        assert not outcome.may_have_arrived
        assert "httpx" in outcome.reason
    assert isinstance(directly, Answer)


@kinds
def test_an_answer_is_read_as_far_as_it_is_of_use(kind: Kind) -> None:
    """Only the needed part of an answer is read, since PandaProbe answers a PATCH with the whole trace."""
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 100_000, hang_up=False) as url:
        transport = kind(url, {})
        answer = transport.send(Request(method="PATCH", path="/traces/x", body=b"{}", most_read=50_000, timeout_s=60.0))
        transport.close()

    assert isinstance(answer, Answer)
    assert answer.status == 200
    assert 50_000 <= len(answer.body) <= 100_000


@kinds
def test_an_answer_that_never_ends_is_given_up(kind: Kind) -> None:
    """An answer larger than the bound of memory makes the request fail."""
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * ((64 << 20) + 1)
    with answering(endless, hang_up=False) as url:
        answer = look(kind, url)

    assert isinstance(answer, NoAnswer)
    assert "too large" in answer.reason
