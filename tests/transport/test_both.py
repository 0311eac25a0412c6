"""What both transports tell of requests that got no answer: whether they may have been carried out."""

from __future__ import annotations

import socket

import pytest

from pandaprobe_otel.transport import HttpTransport, NoAnswer, Outcome, Request
from pandaprobe_otel.transport.direct import DirectTransport
from raw_answers import answering
from strict_pandaprobe import Reply, StrictPandaProbe

Kind = type[DirectTransport] | type[HttpTransport]
kinds = pytest.mark.parametrize("kind", [DirectTransport, HttpTransport])


def post(kind: Kind, url: str) -> Outcome:
    """One POST /traces."""
    transport = kind(url, {})
    try:
        return transport.send(Request(method="POST", path="/traces", body=b"{}", timeout_s=60.0))
    finally:
        transport.close()


@kinds
def test_nobody_listening_is_not_an_unknown_outcome(kind: Kind) -> None:
    """A refused connection cannot have carried a request."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    answer = post(kind, url)

    assert isinstance(answer, NoAnswer)
    assert not answer.may_have_arrived
    assert "refused" in answer.reason


@kinds
def test_a_reset_after_the_body_is_an_unknown_outcome(kind: Kind) -> None:
    """The server may have carried it out."""
    with StrictPandaProbe() as server:
        server.script.append(Reply(reset="accepted"))
        answer = post(kind, server.url)

    assert isinstance(answer, NoAnswer)
    assert answer.may_have_arrived


@kinds
@pytest.mark.parametrize("raw", [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"])
def test_an_answer_that_is_none_is_an_unknown_outcome(kind: Kind, raw: bytes) -> None:
    """Whatever comes back broken, the request was read."""
    with answering(raw) as url:
        answer = post(kind, url)

    assert isinstance(answer, NoAnswer)
    assert answer.may_have_arrived
