"""The transport over a socket: its requests, and every form of answer."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.transport.headers import api_key_headers
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.http_connection import Connection
from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer, NotHttpError, Outcome, Request
from pandaprobe_otel.transport.socket_transport import SocketTransport, delivery_transport
from raw_answers import answering
from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment, run_python

BODY = b'{"trace_id":"a","name":"n","spans":[]}'
POST = Request(method="POST", path="/traces", body=BODY, timeout_s=60.0)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


def post(url: str, *, timeout_s: float = 5.0, body: bytes = BODY) -> Outcome:
    """Send one POST /traces."""
    transport = SocketTransport(url, api_key_headers("sk_pp_x", "shop"))
    try:
        return transport.send(Request(method="POST", path="/traces", body=body, timeout_s=timeout_s))
    finally:
        transport.close()


def test_key_project_length_and_host_go_out_and_nothing_else_authenticates() -> None:
    """Key, project, length and host are sent, and no bearer header, which would change the key of the limit."""
    with StrictPandaProbe() as server:
        answer = post(server.url)
        headers = server.posts()[0].headers

    assert isinstance(answer, Answer)
    assert answer.status == 202
    assert headers["host"] == server.url.removeprefix("http://")
    assert headers["x-api-key"] == "sk_pp_x"
    assert headers["x-project-name"] == "shop"
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(BODY))
    assert "authorization" not in headers


def test_one_connection_carries_many_requests() -> None:
    """One connection carries several requests, whose answers end at their declared length."""
    with answering(*[b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"] * 3, hang_up=False) as url:
        transport = SocketTransport(url, {})
        answers = [transport.send(POST) for _ in range(3)]
        transport.close()

    assert [(answer.status, answer.body) for answer in answers if isinstance(answer, Answer)] == [(202, b"{}")] * 3


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nabc", 202, b"abc"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\nA\r\n0123456789\r\n0\r\nT:1\r\n\r\n",
            200,
            b"abc0123456789",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", 200, b"to the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", 202, b""),
        (b"HTTP/1.1 307\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n", 307, b""),
    ],
    ids=["length", "chunked", "to the end", "no content", "interim", "no reason"],
)
def test_every_form_of_an_answer_is_read(raw: bytes, status: int, body: bytes) -> None:
    """Every form of answer in RFC 9112 is read."""
    with answering(raw) as url:
        answer = post(url)

    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (status, body)


def test_header_names_are_in_lower_case_and_repeated_ones_joined() -> None:
    """Header names are returned in lower case, and repeated headers are joined."""
    with answering(b"HTTP/1.1 429 Too\r\nRetry-After:  7 \r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n") as url:
        answer = post(url)

    assert isinstance(answer, Answer)
    assert answer.headers == {"retry-after": "7", "x-a": "1, 2", "content-length": "0"}


@pytest.mark.parametrize(
    "raw",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 2x2 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 202",
        b"HTTP/1.1 202 Accepted\r\nContent-Le",
        b"",
    ],
    ids=[
        *("garbage", "status", "header", "short", "negative", "huge", "chunk size", "chunk", "endless head"),
        *("cut status", "cut head", "nothing"),
    ],
)
def test_an_answer_that_is_none_is_an_unknown_outcome(raw: bytes) -> None:
    """After a broken answer, the server may have carried out the request."""
    with answering(raw) as url:
        answer = post(url)

    assert isinstance(answer, NoAnswer)
    assert answer.may_have_arrived


def test_a_host_that_does_not_exist_is_not_an_unknown_outcome() -> None:
    """A host that does not exist cannot have received the request; `.invalid` never exists (RFC 2606)."""
    answer = post("http://pandaprobe.invalid")

    assert isinstance(answer, NoAnswer)
    assert not answer.may_have_arrived


def test_a_body_that_did_not_leave_whole_cannot_have_been_acted_on() -> None:
    """A request whose body was not sent whole cannot have been carried out."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            connection.recv(10)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        answer = post(f"http://127.0.0.1:{listener.getsockname()[1]}", body=b"x" * (32 << 20))
        thread.join(60)

    assert isinstance(answer, NoAnswer)
    assert not answer.may_have_arrived


def test_an_answer_that_comes_before_the_body_is_read_counts() -> None:
    """An answer that comes before the body is read is returned: a proxy refuses a large body and closes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            connection.close()  # unread bytes turn this into a reset

        thread = threading.Thread(target=serve)
        thread.start()
        answer = post(f"http://127.0.0.1:{listener.getsockname()[1]}", body=b"x" * (32 << 20))
        thread.join(60)

    assert isinstance(answer, Answer)
    assert answer.status == 413


@pytest.mark.parametrize("piece", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
def test_a_server_that_stalls_ends_at_the_timeout(piece: bytes) -> None:
    """A request ends at the timeout, however much of the answer has arrived."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(piece)
                connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        answer = post(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.3)
        thread.join(60)

    assert isinstance(answer, NoAnswer)
    assert answer.may_have_arrived


def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    """A closed connection is not used again, since a request over it would have an unknown outcome."""
    with answering(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n") as url:
        transport = SocketTransport(url, {})
        first = transport.send(POST)
    second = transport.send(POST)

    assert isinstance(first, Answer)
    assert isinstance(second, NoAnswer)
    assert not second.may_have_arrived


def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    """Bytes after an answer end the connection, since they would be read as the next answer."""
    with answering(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", hang_up=False) as url:
        transport = SocketTransport(url, {})
        first = transport.send(POST)
        second = transport.send(Request(method="POST", path="/traces", body=BODY, timeout_s=0.2))
        transport.close()

    assert isinstance(first, Answer)
    assert isinstance(second, NoAnswer)


def test_tls_is_verified_and_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS works with a trusted authority, and without it no request is sent."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
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
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
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
            answer = post(url, timeout_s=60, body=sent)
            served.result()

    assert isinstance(answer, Answer), answer
    assert answer.body == answered
    assert read.endswith(sent)


@pytest.mark.parametrize(
    "endpoint",
    ["https://user:word@api.example", "https://pandaprobé.example", "ftp://api.example", "https://", "http://a:b"],
)
def test_special_endpoints_are_left_to_httpx(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint with credentials, other alphabets or an invalid URL is left to httpx."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)

    assert isinstance(delivery_transport(endpoint, {}), HttpTransport)
    assert isinstance(delivery_transport("https://api.example", {}), SocketTransport)
    assert isinstance(delivery_transport("https://api.example", {"X-Project-Name": "a\r\nb: c"}), HttpTransport)


@pytest.mark.parametrize("name", PROXIES)
def test_behind_a_proxy_httpx_is_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a proxy httpx is used, with any of the proxy variables."""
    for other in PROXIES:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "http://127.0.0.1:3128")

    assert isinstance(delivery_transport("https://api.example", {}), HttpTransport)


def test_a_transport_imports_nothing_later_and_httpx_never() -> None:
    """Requests import no module, because a forked child could have a locked one; httpx costs too much to load."""
    with StrictPandaProbe() as server:
        code = f"""
        import sys
        from pandaprobe_otel.transport.socket_transport import SocketTransport
        from pandaprobe_otel.transport.request_outcome import Request
        transport = SocketTransport({server.url.replace("127.0.0.1", "localhost")!r}, {{}})
        known = set(sys.modules)
        transport.send(Request(method="GET", path="/traces/x"))
        transport.close()
        print(sorted(set(sys.modules) - known), "httpx" in sys.modules)
        """
        result = run_python(code, environment(), set_up=False)

    assert (result.stdout, result.stderr) == ("[] False\n", "")


def test_an_answer_that_trickles_in_ends_at_the_timeout() -> None:
    """An answer that arrives byte by byte ends at the timeout, which is for the whole exchange."""
    is_over = threading.Event()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
                while not is_over.wait(0.02):
                    connection.sendall(b"x")

        thread = threading.Thread(target=serve)
        thread.start()
        answer = post(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.3)
        is_over.set()
        thread.join(60)

    assert isinstance(answer, NoAnswer)
    assert answer.may_have_arrived
    assert "timed out" in answer.reason


ODD_LINES = (
    *(b"", b"-1", b"-5", b"0", b"5", b"f" * 15, b"f" * 400, b"a:", b" x: y", b"X" * 70_000),
    *(b"Content-Length: 9", b"Content-Length: -1", b"Content-Length: " + b"9" * 5000),
    *(b"Transfer-Encoding: chunked", b"HTTP/1.1 103 Early Hints", b"Connection: close"),
)


@settings(max_examples=150)
@given(
    head=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
    lines=st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.sampled_from(ODD_LINES),
        ),
        max_size=6,
    ),
)
def test_any_bytes_are_an_answer_or_an_unknown_outcome(head: bytes, lines: list[bytes]) -> None:
    """Any bytes from a server give an answer or an unknown outcome, within the time."""
    ours, theirs = socket.socketpair()
    with theirs, ThreadPoolExecutor(1) as pool:
        pool.submit(_write_and_hang_up, theirs, head + b"\r\n".join(lines))
        connection = Connection(ours)
        try:
            answer = connection.exchange(b"POST /traces HTTP/1.1\r\n\r\n", b"", time.monotonic() + 20)
        except (OSError, NotHttpError):
            answer = None
        connection.hang_up()

    assert answer is None or 200 <= answer.status <= 999


def _write_and_hang_up(connection: socket.socket, raw: bytes) -> None:
    with suppress(OSError):
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)


def test_a_request_that_is_late_is_not_sent_and_its_connection_kept() -> None:
    """A request without time left is not sent, and its connection is used for the next one."""
    with StrictPandaProbe() as server:
        transport = SocketTransport(server.url, {})
        left = iter([0.0, 20.0])
        late = transport.send(Request(method="POST", path="/traces", body=BODY, time_left_s=lambda: next(left)))
        then = transport.send(Request(method="POST", path="/traces", body=BODY, time_left_s=lambda: next(left)))
        transport.close()

        assert len(server.posts()) == 1
    assert isinstance(late, NoAnswer)
    assert (late.is_late, late.may_have_arrived) == (True, False)
    assert isinstance(then, Answer)
