"""The asyncio transport against real sockets, with the tests of test_http.py."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading

import httpx
import pytest

from pandaprobe_otel.transport.headers import api_key_headers
from pandaprobe_otel.transport.http_async import AsyncHttpTransport
from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer, Request
from scripted_api import RESET, ScriptedApi, Told
from waiting import PATIENCE_S


async def get(url: str, *, timeout_s: float = PATIENCE_S) -> Answer | NoAnswer:
    """Send one GET /traces."""
    transport = AsyncHttpTransport(url, api_key_headers("sk_pp_x", "shop"))
    try:
        return await transport.send(Request(method="GET", path="/traces?a=1", timeout_s=timeout_s))
    finally:
        await transport.close()


async def test_an_answer_of_any_status_is_an_answer() -> None:
    """An answer is returned with its headers, whatever its status; the request had the key and project."""
    with ScriptedApi() as api:
        api.tell("GET /traces", Told(status=418, body={"a": 1}, headers={"X-Request-ID": "r"}))
        answer = await get(api.url)
        sent = api.asked[0]

    assert isinstance(answer, Answer)
    assert (answer.status, answer.body, answer.headers["x-request-id"]) == (418, b'{"a": 1}', "r")
    assert (sent.query, sent.headers["x-api-key"], sent.headers["x-project-name"]) == ("a=1", "sk_pp_x", "shop")


async def test_nobody_listening_is_not_an_unknown_outcome() -> None:
    """A refused connection cannot have carried a request, so the outcome is known."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    answer = await get(url)

    assert isinstance(answer, NoAnswer)
    assert not answer.may_have_arrived


async def test_a_reset_after_the_request_is_an_unknown_outcome() -> None:
    """After a reset, the server may have carried out the request."""
    with ScriptedApi() as api:
        api.tell("GET /traces", RESET)
        answer = await get(api.url)

    assert isinstance(answer, NoAnswer)
    assert answer.may_have_arrived


async def test_a_silent_server_ends_at_the_timeout() -> None:
    """A request to a silent server ends at the timeout."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        answer = await get(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.2)

    assert isinstance(answer, NoAnswer)
    assert answer.may_have_arrived


async def test_redirects_are_not_followed() -> None:
    """A redirect is not followed, since its target would get the key."""
    with ScriptedApi() as api:
        api.tell("GET /traces", Told(status=307, headers={"Location": f"{api.url}/elsewhere"}))
        answer = await get(api.url)

    assert isinstance(answer, Answer)
    assert (answer.status, len(api.asked)) == (307, 1)


async def test_only_our_requests_are_kept_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Only requests of this library are kept out of the log, even if the app's run in the same thread."""
    with ScriptedApi() as api, caplog.at_level(logging.INFO, logger="httpx"):  # another library may set it
        both = threading.Barrier(2, timeout=PATIENCE_S)
        api.tell("GET /traces", Told(after=both.wait))
        api.tell("GET /own", Told(after=both.wait))
        async with httpx.AsyncClient() as app:
            await asyncio.gather(get(api.url), app.get(f"{api.url}/own"))

    lines = [record.getMessage() for record in caplog.records if record.name == "httpx"]
    assert len(lines) == 1
    assert "/own" in lines[0]
