"""Slow senders: an incomplete body delays no other request, and is ended."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
import uvicorn
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from otlp_senders import agent_trace, body_of, post
from pandaprobe_otel.gateway import Gateway
from pandaprobe_otel.gateway.http_app import MOST_SILENT, connections
from pandaprobe_otel.local import LocalServer

BODY = body_of(agent_trace(3))
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
HEAD = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 999999\r\n\r\n"


def begin(gateway: Gateway, size: int = 1) -> socket.socket:
    """Send the head of a request and some bytes of its body."""
    sender = socket.create_connection(("127.0.0.1", gateway.http_port or 0), timeout=60)
    sender.sendall(HEAD + b"\x0a" * size)
    return sender


def answer_of(sender: socket.socket) -> bytes:
    """Return all bytes until the gateway closes the connection, also with bytes of ours unread (a reset)."""
    received = bytearray()
    with suppress(ConnectionResetError):
        while chunk := sender.recv(65_536):
            received += chunk
    return bytes(received)


@pytest.mark.parametrize(("senders", "size"), [(300, 1), (12, 900_000)], ids=["many requests", "many bytes"])
def test_slow_uploads_do_not_stop_other_requests(gateway: Gateway, senders: int, size: int) -> None:
    """Beyond the bounds on slow requests, the first gets 503 with Retry-After, and other requests are answered."""
    with ExitStack() as stack:
        slow = [stack.enter_context(begin(gateway, size)) for _ in range(senders)]
        first = answer_of(slow[0])
        assert post(gateway.url, BODY).status_code == 200
        with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
            channel.unary_unary(EXPORT)(BODY, timeout=60)
        assert first.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in first.lower()
        assert b"arrived too slowly while other requests needed" in first


def test_a_body_that_stops_is_answered(gateway: Gateway) -> None:
    """A request whose body stops for five seconds gets 408, and the connection is closed."""
    with begin(gateway) as sender:
        answer = answer_of(sender)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"no part of the body arrived for 5 s" in answer


def test_half_sent_heads_do_not_stop_other_requests(gateway: Gateway) -> None:
    """Beyond the allowed number of half-sent heads, the oldest connection is closed; other requests are answered."""
    with ExitStack() as stack:
        silent: list[socket.socket] = []
        for _ in range(MOST_SILENT + 1):
            silent.append(stack.enter_context(socket.create_connection(("127.0.0.1", gateway.http_port or 0), 60)))
            silent[-1].sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nX: ")
        assert answer_of(silent[0]) == b""
        assert post(gateway.url, BODY).status_code == 200


@pytest.fixture
async def impatient() -> AsyncIterator[int]:
    """Yield the port of a server that closes silent connections almost at once."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.05)  # longer than the server waits for a request
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    config = uvicorn.Config(app, http=connections(silent_s=0.02), ws="none", lifespan="off", log_config=None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield listener.getsockname()[1]
        server.should_exit = True
        await serving


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHo", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_silent_connections_are_closed(impatient: int, sent: bytes) -> None:
    """A connection is closed if it is silent before a head, within it, or after an answer; the app may take longer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient)
    writer.write(sent)
    received = await reader.read()
    assert received.startswith(b"HTTP/1.1 200 " if sent.endswith(b"\r\n\r\n") else b"")
    assert bool(received) == sent.endswith(b"\r\n\r\n")
    writer.close()


@pytest.fixture
def silent_calls(gateway: Gateway) -> Iterator[list[Any]]:
    """Make more gRPC calls without a message than may be in progress."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(60)
        yield from ()

    with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
        yield [channel.stream_unary(EXPORT).future(nothing(), timeout=60) for _ in range(40)]
        over.set()


def test_silent_calls_do_not_stop_other_calls(gateway: Gateway, silent_calls: list[Any]) -> None:
    """With too many silent gRPC calls, one gets RESOURCE_EXHAUSTED with RetryInfo at once, and other calls succeed."""
    ended: SimpleQueue[Any] = SimpleQueue()
    for call in silent_calls:
        call.add_done_callback(ended.put)
    with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
        channel.unary_unary(EXPORT)(BODY, timeout=60)
    assert post(gateway.url, BODY).status_code == 200
    error = ended.get(timeout=60).exception(timeout=60)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    details = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    assert details.details[0].Unpack(RetryInfo())


def test_slow_senders_get_a_retryable_error_when_the_gateway_stops(
    shared_server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Slow senders get a retryable error over both protocols if the gateway stops, and no error is logged."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(60)
        yield from ()

    gateway = Gateway(endpoint=shared_server.url, api_key=shared_server.api_key).start()
    with begin(gateway) as sender, grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
        call = channel.stream_unary(EXPORT).future(nothing(), timeout=60)
        channel.unary_unary(EXPORT)(BODY, timeout=60)
        assert post(gateway.url, BODY).status_code == 200  # by now the gateway has read the slow requests
        gateway.stop()
        assert answer_of(sender).startswith(b"HTTP/1.1 503 ")
        error = call.exception(timeout=60)
        over.set()
    assert error.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    # All gateways of a process share gRPC's queue of events. The loop of another one may get an event of this one after
    # its loop has ended, which asyncio then logs.
    assert [error for error in errors if "PollerCompletionQueue" not in error] == []


def test_a_call_without_a_message(gateway: Gateway) -> None:
    """A gRPC call without a message gets INVALID_ARGUMENT, and a second message is ignored."""
    with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.stream_unary(EXPORT)(iter(()), timeout=60)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        channel.stream_unary(EXPORT)(iter((BODY, b"\xff")), timeout=60)
