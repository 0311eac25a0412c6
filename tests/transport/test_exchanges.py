"""Requests over each transport, against real sockets: what leaves, what is read, and what may have arrived."""

from __future__ import annotations

import logging
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

import raw_answers
from pandaprobe_otel.process.background import Descriptor
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.outcome import Answer, NoAnswer, NotHttpError, Outcome, Request, api_key_headers
from pandaprobe_otel.transport.socket_transport import Connection, SocketTransport, delivery_transport
from raw_answers import Kind, Send, answering, by, by_asyncio, by_httpx, by_socket
from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import environment, run_python

BODY = b'{"trace_id":"a","name":"n","spans":[]}'
HEADERS = api_key_headers("sk_pp_x", "shop")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"


def post(url: str, *, send: Send | None = None, timeout_s: float = 60.0, body: bytes = BODY) -> Outcome:
    """Send one POST /traces."""
    return (send or by_socket)(url, Request(method="POST", path="/traces", body=body, timeout_s=timeout_s))


every_way = pytest.mark.parametrize("send", [by_socket, by_httpx, by_asyncio])
both_kinds = pytest.mark.parametrize("kind", [SocketTransport, HttpTransport])


@every_way
def test_key_project_and_content_go_out_and_nothing_else_authenticates(send: Send) -> None:
    """Key, project, type, length and host are sent, and no bearer header, which would change the key of the limit."""
    with StrictPandaProbe() as server:
        answer = post(server.url, send=send)
        headers = server.posts()[0].headers

    assert isinstance(answer, Answer)
    assert answer.status == 202
    assert headers["host"] == server.url.removeprefix("http://")
    assert (headers["x-api-key"], headers["x-project-name"]) == ("sk_pp_x", "shop")
    assert (headers["content-type"], headers["content-length"]) == ("application/json", str(len(BODY)))
    assert headers["user-agent"].startswith("pandaprobe-otel/")
    assert "authorization" not in headers


@every_way
def test_nobody_listening_is_not_an_unknown_outcome(send: Send) -> None:
    """A refused connection, or a host that does not exist, cannot have carried a request, so the outcome is known."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        answer = post(f"http://127.0.0.1:{unused.getsockname()[1]}", send=send)
    nowhere = post("http://pandaprobe.invalid", send=send)  # never exists (RFC 2606)

    assert isinstance(answer, NoAnswer)
    assert isinstance(nowhere, NoAnswer)
    assert not answer.may_have_arrived
    assert not nowhere.may_have_arrived
    assert send is by_asyncio or "refused" in answer.reason


@every_way
def test_a_reset_after_the_body_is_an_unknown_outcome(send: Send) -> None:
    """If the connection is reset after the body, the server may have carried out the request."""
    with StrictPandaProbe() as server:
        server.script.append(Reply(reset="accepted"))
        answer = post(server.url, send=send)

    assert isinstance(answer, NoAnswer)
    assert answer.may_have_arrived


@every_way
def test_a_redirect_is_an_answer_and_the_key_does_not_follow_it(send: Send) -> None:
    """A redirect is returned as an answer, and its target gets no request."""
    with StrictPandaProbe() as elsewhere, StrictPandaProbe() as server:
        server.script.append(Reply(status=307, headers={"Location": f"{elsewhere.url}/traces"}))
        answer = post(server.url, send=send)

        assert isinstance(answer, Answer)
        assert answer.status == 307
        assert elsewhere.log == []


@pytest.mark.parametrize("send", [by_httpx, by_asyncio])
def test_only_our_requests_are_kept_out_of_the_log(send: Send, caplog: pytest.LogCaptureFixture) -> None:
    """Requests of this library are not logged by httpx; the app's own are, even if they run at the same time."""
    both = threading.Barrier(2, timeout=60)
    with (
        StrictPandaProbe(delay=lambda: both.wait() * 0.0) as server,
        ThreadPoolExecutor(1) as pool,
        caplog.at_level(logging.DEBUG),
    ):
        ours = pool.submit(post, server.url, send=send)
        httpx.get(f"{server.url}/own", timeout=60)
        ours.result()

    lines = [record.getMessage() for record in caplog.records if record.name.startswith("http")]
    assert any("/own" in line for line in lines)
    assert not any("/traces" in line for line in lines)


@pytest.mark.parametrize("send", [by_httpx, by_asyncio])
@pytest.mark.parametrize(
    ("value", "words"), [("garbage://127.0.0.1:1", "garbage"), ("socks5://127.0.0.1:1", "SOCKS"), ("http://[", "")]
)
def test_a_proxy_that_cannot_be_used_is_no_exception(
    send: Send, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unusable proxy gives an outcome, although httpx raises; an exception would end the sender thread."""
    monkeypatch.setenv("ALL_PROXY", value)
    monkeypatch.setitem(sys.modules, "socksio", None)
    answer = post("https://127.0.0.1:9", send=send)

    assert isinstance(answer, NoAnswer)
    assert not answer.may_have_arrived
    assert words in answer.reason


_own = pytest.mark.skipif(version("httpx").startswith("0.27."), reason="httpx 0.27 uses its own certificates then")


@pytest.mark.parametrize("send", [by_socket, pytest.param(by_httpx, marks=_own), pytest.param(by_asyncio, marks=_own)])
def test_certificates_that_are_not_there_are_named(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason for a missing certificate file has the variable and the path, which Python's message lacks."""
    monkeypatch.setenv("SSL_CERT_FILE", "/none/such.pem")
    answer = post("https://127.0.0.1:9", send=send)

    assert isinstance(answer, NoAnswer)
    assert not answer.may_have_arrived
    assert answer.reason == "FileNotFoundError: [Errno 2] No such file or directory; SSL_CERT_FILE=/none/such.pem"


def test_with_another_version_of_httpx_alone_the_reason_names_it() -> None:
    """With httpx2 alone installed, requests over httpx fail with a reason, and those over a socket are sent."""
    code = f"""
    import os, sys
    sys.modules["httpx"] = None
    sys.path.insert(0, {str(Path(raw_answers.__file__).parent)!r})
    from raw_answers import Request, by_asyncio, by_httpx, by_socket
    request = Request(method="POST", path="/traces", body={BODY!r})
    for send in (by_httpx, by_asyncio, by_socket):
        print(send(os.environ["PANDAPROBE_ENDPOINT"], request))
    """
    with StrictPandaProbe() as server:
        result = run_python(code, environment(server.url), set_up=False, fresh=True)

    assert result.returncode == 0, result.stderr
    *failed, sent = result.stdout.splitlines()
    assert len(failed) == 2
    assert all("httpx" in line and "may_have_arrived=False" in line for line in failed)
    assert sent.startswith("Answer(")


@both_kinds
def test_a_request_that_is_late_is_not_sent(kind: Kind) -> None:
    """A request without time left is not sent; the time is checked after connecting, right before the first byte."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def no_time_left() -> float:
            accepted.append(listener.accept()[0])
            return 0.0

        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        late = by(kind, url, Request(method="POST", path="/traces", body=b"{}", time_left_s=no_time_left))

    assert isinstance(late, NoAnswer)
    assert (late.is_late, late.may_have_arrived) == (True, False)
    (connection,) = accepted
    with connection:
        assert connection.recv(100) == b""


def test_the_connection_of_a_request_that_is_late_is_kept() -> None:
    """After a request without time left, its connection is used for the next one."""
    left = iter([0.0, 20.0])
    request = Request(method="POST", path="/traces", body=BODY, time_left_s=lambda: next(left))
    with StrictPandaProbe() as server:
        then = by_socket(server.url, request, request)

        assert len(server.posts()) == 1
        assert server.connections_closed <= 1
    assert isinstance(then, Answer)


@every_way
@pytest.mark.parametrize(("most_read", "sent"), [(50_000, 100_000), (None, (1 << 20) + 1)])
def test_an_answer_is_read_as_far_as_it_is_of_use(
    send: Send, most_read: int | None, sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the needed part of an answer is read; an answer larger than the bound of memory makes the request fail."""
    for kind in (SocketTransport, HttpTransport):
        monkeypatch.setattr(f"{kind.__module__}.LARGEST_BODY", 1 << 20)  # 64 MiB: a test would keep four copies
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * sent
    with answering(endless, hang_up=False) as url:
        answer = send(url, Request(method="GET", path="/traces/x", most_read=most_read, timeout_s=60.0))

    if most_read is None:
        assert isinstance(answer, NoAnswer)
        assert "too large" in answer.reason
    else:
        assert isinstance(answer, Answer)
        assert (answer.status, most_read <= len(answer.body) <= sent) == (200, True)


@both_kinds
def test_a_connection_that_the_server_closed_is_replaced(kind: Kind) -> None:
    """A closed connection is noticed before the next request, whose outcome would be unknown over it."""
    with answering(ACCEPTED) as url:
        transport = kind(url, {})
        request = Request(method="POST", path="/traces", body=BODY, timeout_s=60.0)
        first = transport.send(request)
    second = transport.send(request)
    transport.close()

    assert isinstance(first, Answer)
    assert isinstance(second, NoAnswer)
    assert not second.may_have_arrived


# -- forms of answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "status", "body", "headers"),
    [
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nabc", 202, b"abc", {"content-length": "3"}),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\nA\r\n0123456789\r\n0\r\nT:1\r\n\r\n",
            200,
            b"abc0123456789",
            {"transfer-encoding": "chunked", "t": "1"},
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", 200, b"to the end", {}),
        (b"HTTP/1.1 204 No Content\r\nRetry-After:  7 \r\nX-A: 1\r\nx-a: 2\r\n\r\n", 204, b"",
         {"retry-after": "7", "x-a": "1, 2"}),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", 202, b"",
         {"content-length": "0"}),
        (b"HTTP/1.1 307\r\nLocation: http://a/\r\n\r\n", 307, b"", {"location": "http://a/"}),
    ],
    ids=["length", "chunked", "to the end", "no content", "interim", "no reason"],
)  # fmt: skip
def test_every_form_of_an_answer_is_read(raw: bytes, status: int, body: bytes, headers: dict[str, str]) -> None:
    """Every form of answer in RFC 9112 is read; header names are in lower case, and repeated headers are joined."""
    with answering(raw) as url:
        answer = post(url)

    assert isinstance(answer, Answer)
    assert (answer.status, answer.body, answer.headers) == (status, body, headers)


BROKEN = {
    "garbage": b"garbage\r\n\r\n",
    "status": b"HTTP/1.1 2x2 OK\r\n\r\n",
    "header": b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
    "short": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
    "negative": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "huge": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
    "chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "endless head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    "cut status": b"HTTP/1.1 202",
    "cut head": b"HTTP/1.1 202 Accepted\r\nContent-Le",
    "nothing": b"",
}


@pytest.mark.parametrize(
    ("form", "send"), [*((each, by_socket) for each in BROKEN), ("garbage", by_httpx), ("short", by_httpx)]
)
def test_an_answer_that_is_none_is_an_unknown_outcome(form: str, send: Send) -> None:
    """After a broken answer, the server may have carried out the request."""
    with answering(BROKEN[form]) as url:
        answer = post(url, send=send)

    assert isinstance(answer, NoAnswer)
    assert answer.may_have_arrived


def test_bytes_after_an_answer_end_the_connection() -> None:
    """Bytes after an answer end the connection, since they would be read as the next answer."""
    with answering(ACCEPTED + b"HTTP/1.1 200 OK\r\n\r\n", hang_up=False) as url:
        transport = SocketTransport(url, {})
        first, second = (
            transport.send(Request(method="POST", path="/traces", body=BODY, timeout_s=timeout_s))
            for timeout_s in (60.0, 0.2)
        )
        transport.close()

    assert isinstance(first, Answer)
    assert isinstance(second, NoAnswer)


@every_way
@pytest.mark.parametrize(
    "piece",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"],
    ids=["0", "head", "body"],
)
def test_a_server_that_stalls_ends_at_the_timeout(piece: bytes, send: Send) -> None:
    """A request ends at the timeout, however much of the answer has arrived."""
    with answering(piece, hang_up=False) as url:
        answer = post(url, send=send, timeout_s=0.3)

    assert isinstance(answer, NoAnswer)
    assert answer.may_have_arrived


@every_way
def test_an_answer_that_trickles_in_ends_at_the_timeout(send: Send) -> None:
    """An answer that arrives byte by byte ends at the timeout, which is for the whole exchange."""
    is_over = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        with suppress(OSError):
            while not is_over.wait(0.02):
                connection.sendall(b"x")

    with StrictPandaProbe() as server:
        server.script.append(Reply(wire=trickle))
        answer = post(server.url, send=send, timeout_s=0.3)
        is_over.set()

    assert isinstance(answer, NoAnswer)
    assert answer.may_have_arrived
    assert "timed out" in answer.reason


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_large_body_that_did_not_leave_whole_cannot_have_been_acted_on(is_answered: bool) -> None:
    """A request whose body was not sent whole was not carried out; an answer that came before counts."""
    with socket.socket() as listener, ThreadPoolExecutor(1) as pool:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:  # unread bytes turn its end into a reset
                connection.recv(1000)
                if is_answered:
                    connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        pool.submit(serve)
        answer = post(f"http://127.0.0.1:{listener.getsockname()[1]}", body=b"x" * (32 << 20))

    if is_answered:
        assert isinstance(answer, Answer)
        assert answer.status == 413
    else:
        assert isinstance(answer, NoAnswer)
        assert not answer.may_have_arrived


ODD_LINES = (
    *(b"", b"-1", b"-5", b"0", b"5", b"f" * 15, b"f" * 400, b"a:", b" x: y", b"X" * 70_000),
    *(b"Content-Length: 9", b"Content-Length: -1", b"Content-Length: " + b"9" * 5000),
    *(b"Transfer-Encoding: chunked", b"HTTP/1.1 103 Early Hints", b"Connection: close"),
)


@settings(max_examples=150)
@given(
    head=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
    lines=st.lists(st.one_of(st.binary(max_size=20), st.sampled_from(ODD_LINES)), max_size=6),
)
def test_any_bytes_are_an_answer_or_an_unknown_outcome(head: bytes, lines: list[bytes]) -> None:
    """Any bytes from a server give an answer or an unknown outcome, within the time."""
    ours, theirs = socket.socketpair()

    def write_and_hang_up() -> None:
        with suppress(OSError):
            theirs.sendall(head + b"\r\n".join(lines))
            theirs.shutdown(socket.SHUT_WR)

    with theirs, ThreadPoolExecutor(1) as pool:
        pool.submit(write_and_hang_up)
        connection = Connection(ours, Descriptor(ours.fileno()))
        try:
            answer = connection.exchange(b"POST /traces HTTP/1.1\r\n\r\n", b"", time.monotonic() + 20)
        except (OSError, NotHttpError):
            answer = None
        connection.hang_up()

    assert answer is None or 200 <= answer.status <= 999


# -- TLS, proxies and special endpoints -------------------------------------------------------------------------------


def certified(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """Return the context of a server on localhost, and the file of its authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    return context, tmp_path / "authority.pem"


def test_tls_is_verified_and_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS works with a trusted authority, and without it no request is sent."""
    context, bundle = certified(tmp_path)
    with StrictPandaProbe(tls=context) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        refused = post(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        accepted = post(url)

    assert isinstance(refused, NoAnswer)
    assert not refused.may_have_arrived
    assert "CERTIFICATE_VERIFY_FAILED" in refused.reason
    assert "SSL_CERT_FILE" in refused.reason, "names the setting"
    assert isinstance(accepted, Answer)
    assert accepted.status == 202


@pytest.mark.parametrize("has_poll", [True, False], ids=["poll", "select"])
@pytest.mark.parametrize("is_tls", [True, False], ids=["tls", "plain"])
def test_large_requests_and_answers_pass_in_pieces(
    is_tls: bool, has_poll: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body larger than all buffers is sent as the server reads it, and its large answer is read whole."""
    sent, answered = b"s" * (8 << 20) + b"end", b"a" * (400 << 10)
    if not has_poll:  # as on Windows
        monkeypatch.delattr("select.poll")
    context, bundle = certified(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    read = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            accepted, _ = listener.accept()
            with context.wrap_socket(accepted, server_side=True) if is_tls else accepted as connection:
                while not read.endswith(b"end") and (piece := connection.recv(100_000)):
                    read.extend(piece)
                connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n" % len(answered) + answered)

        with ThreadPoolExecutor(1) as pool:
            served = pool.submit(serve)
            url = f"{'https' if is_tls else 'http'}://localhost:{listener.getsockname()[1]}"
            answer = post(url, body=sent)
            served.result()

    assert isinstance(answer, Answer), answer
    assert answer.body == answered
    assert read.endswith(sent)


@pytest.mark.parametrize(
    "endpoint",
    ["https://user:word@api.example", "https://pandaprobé.example", "ftp://api.example", "https://", "http://a:b"],
)
def test_special_endpoints_are_left_to_httpx(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint with credentials, other alphabets or an invalid URL is left to httpx, as is one behind a proxy."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)

    assert isinstance(delivery_transport(endpoint, {}), HttpTransport)
    assert isinstance(delivery_transport("https://api.example", {}), SocketTransport)
    assert isinstance(delivery_transport("https://api.example", {"X-Project-Name": "a\r\nb: c"}), HttpTransport)
    for name in PROXIES:
        monkeypatch.setenv(name, "http://127.0.0.1:3128")
        assert isinstance(delivery_transport("https://api.example", {}), HttpTransport)
        monkeypatch.delenv(name)
