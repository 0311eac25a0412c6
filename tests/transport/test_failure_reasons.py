"""Faults of the environment, which count as a missing answer with the variable's name."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from importlib.metadata import version

import pytest

from pandaprobe_otel.transport.headers import api_key_headers
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.http_async import AsyncHttpTransport
from pandaprobe_otel.transport.request_outcome import NoAnswer, Outcome, Request
from pandaprobe_otel.transport.socket_transport import SocketTransport

ENDPOINT = "https://127.0.0.1:9"
HEADERS = api_key_headers("sk_pp_x", "shop")
ASKED = Request(method="GET", path="/traces", timeout_s=2.0)


def synchronously() -> Outcome:
    """Send one request with httpx."""
    transport = HttpTransport(ENDPOINT, HEADERS)
    try:
        return transport.send(ASKED)
    finally:
        transport.close()


def asynchronously() -> Outcome:
    """Send one request with httpx in an event loop."""

    async def ask() -> Outcome:
        transport = AsyncHttpTransport(ENDPOINT, HEADERS)
        try:
            return await transport.send(ASKED)
        finally:
            await transport.close()

    return asyncio.run(ask())


def directly() -> Outcome:
    """Send one request over a socket."""
    transport = SocketTransport(ENDPOINT, HEADERS)
    try:
        return transport.send(ASKED)
    finally:
        transport.close()


@pytest.mark.parametrize("ask", [synchronously, asynchronously])
@pytest.mark.parametrize(
    ("value", "words"), [("garbage://127.0.0.1:1", "garbage"), ("socks5://127.0.0.1:1", "SOCKS"), ("http://[", "")]
)
def test_a_proxy_that_cannot_be_used_is_no_exception(
    ask: Callable[[], Outcome], value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unusable proxy gives an outcome, although httpx raises; an exception would end the sender thread."""
    monkeypatch.setenv("ALL_PROXY", value)
    monkeypatch.setitem(sys.modules, "socksio", None)
    answer = ask()

    assert isinstance(answer, NoAnswer)
    assert not answer.may_have_arrived
    assert words in answer.reason


_looks = pytest.mark.skipif(version("httpx").startswith("0.27."), reason="httpx 0.27 uses its own then")


@pytest.mark.parametrize(
    "ask", [pytest.param(synchronously, marks=_looks), pytest.param(asynchronously, marks=_looks), directly]
)
def test_certificates_that_are_not_there_are_named(ask: Callable[[], Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason for a missing certificate file has the variable and the path, which Python's message lacks."""
    monkeypatch.setenv("SSL_CERT_FILE", "/none/such.pem")
    answer = ask()

    assert isinstance(answer, NoAnswer)
    assert not answer.may_have_arrived
    assert answer.reason == "FileNotFoundError: [Errno 2] No such file or directory; SSL_CERT_FILE=/none/such.pem"
