"""The HTTP transport against real sockets."""

from __future__ import annotations

import logging
import socket

import pytest

from pandaprobe_otel.transport.headers import api_key_headers
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer, Request
from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import environment, run_python
from waiting import wait_until

BODY = b'{"trace_id":"a","name":"n","spans":[]}'


def post(url: str, *, timeout_s: float = 60.0) -> Answer | NoAnswer:
    """Send one POST /traces."""
    transport = HttpTransport(url, api_key_headers("sk_pp_x", "shop"))
    try:
        return transport.send(Request(method="POST", path="/traces", body=BODY, timeout_s=timeout_s))
    finally:
        transport.close()


def test_key_project_and_content_type_go_out_and_nothing_else_authenticates() -> None:
    """Key, project and content type are sent, and no bearer header, which would change the key of the limit."""
    with StrictPandaProbe() as server:
        answer = post(server.url)
        headers = server.posts()[0].headers

    assert isinstance(answer, Answer)
    assert answer.status == 202
    assert headers["x-api-key"] == "sk_pp_x"
    assert headers["x-project-name"] == "shop"
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("pandaprobe-otel/")
    assert "authorization" not in headers


def test_a_server_that_never_answers_ends_at_the_timeout() -> None:
    """A request to a server that never answers ends at the timeout."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        answer = post(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.3)

    assert isinstance(answer, NoAnswer)
    assert answer.may_have_arrived


def test_a_redirect_is_an_answer_and_the_key_does_not_follow_it() -> None:
    """A redirect is returned as an answer, and its target gets no request."""
    with StrictPandaProbe() as elsewhere, StrictPandaProbe() as server:
        server.script.append(Reply(status=307, headers={"Location": f"{elsewhere.url}/traces"}))
        answer = post(server.url)

        assert isinstance(answer, Answer)
        assert answer.status == 307
        assert elsewhere.log == []


def test_a_connection_that_the_server_closed_meanwhile_is_replaced() -> None:
    """A connection closed by the server is noticed before the next request, and a new one is opened."""
    accepted = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}"
    with StrictPandaProbe() as server:
        server.script.append(Reply(wire=lambda connection: connection.sendall(accepted)))
        transport = HttpTransport(server.url, api_key_headers("k", "p"))
        first = transport.send(Request(method="POST", path="/traces", body=BODY))
        wait_until(lambda: server.connections_closed)
        second = transport.send(Request(method="POST", path="/traces", body=BODY))
        transport.close()

    assert [answer.status for answer in (first, second) if isinstance(answer, Answer)] == [202, 202]


def test_our_requests_leave_no_line_in_the_apps_log(caplog: pytest.LogCaptureFixture) -> None:
    """Requests of this library are not logged by httpx, even if the app's level is DEBUG."""
    with StrictPandaProbe() as server, caplog.at_level(logging.DEBUG):
        post(server.url)

    assert [record.name for record in caplog.records if record.name.startswith("http")] == []


def test_the_apps_own_httpx_requests_are_still_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The app's own httpx requests are logged as before."""
    import httpx

    with StrictPandaProbe() as server, caplog.at_level(logging.INFO, logger="httpx"):  # another library may set it
        post(server.url)
        httpx.get(f"{server.url}/traces/x", timeout=60)

    assert [record.name for record in caplog.records if record.name == "httpx"] == ["httpx"]


def test_a_request_imports_nothing_once_connected() -> None:
    """A connected transport imports no module: a child forked during an import would have a locked module."""
    with StrictPandaProbe() as server:
        code = f"""
        import sys
        from pandaprobe_otel.transport.http import HttpTransport
        from pandaprobe_otel.transport.request_outcome import Request
        transport = HttpTransport({server.url.replace("127.0.0.1", "localhost")!r}, {{}})
        transport._connected()
        connected = set(sys.modules)
        transport.send(Request(method="GET", path="/traces/x"))
        transport.close()
        print(sorted(set(sys.modules) - connected))
        """
        result = run_python(code, environment(), set_up=False)

    assert (result.stdout, result.stderr) == ("[]\n", "")
