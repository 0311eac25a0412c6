"""Slow senders: an incomplete body delays no other request, and is ended."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
import uvicorn
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from otlp_senders import agent_trace, body_of, post
from pandaprobe_otel.gateway import Gateway
from pandaprobe_otel.gateway.arrivals import IDLE_S, WITHIN_S, Arrivals, Room
from pandaprobe_otel.gateway.errors import RefusedError
from pandaprobe_otel.gateway.idle_connections import MOST_SILENT, connections
from pandaprobe_otel.local import LocalServer

BODY = body_of(agent_trace(3))
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
HEAD = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 100000\r\n\r\n"
SLOW = 300
"""A number of requests above the most in progress, for either protocol."""


def begin(gateway: Gateway) -> socket.socket:
    """Send the head of a request and one byte of its body."""
    sender = socket.create_connection(("127.0.0.1", gateway.http_port or 0), timeout=60)
    sender.sendall(HEAD + b"\x0a")
    return sender


def answer_of(sender: socket.socket) -> bytes:
    """Return all bytes until the gateway closes the connection."""
    received = bytearray()
    while chunk := sender.recv(65_536):
        received += chunk
    return bytes(received)


def test_slow_uploads_do_not_stop_other_requests(gateway: Gateway) -> None:
    """With hundreds of slow requests, the first one gets 503 with Retry-After, and other requests are answered."""
    with ExitStack() as stack:
        slow = [stack.enter_context(begin(gateway)) for _ in range(SLOW)]
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
    assert f"no part of the body arrived for {IDLE_S:g} s".encode() in answer


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


class Body:
    """One body, whose parts arrive when the test sends them."""

    def __init__(self, arrivals: Arrivals, *, idle_s: float = WITHIN_S) -> None:
        self.parts: asyncio.Queue[int] = asyncio.Queue()
        self.room: Room | None = None
        self.done = asyncio.Event()
        self.task = asyncio.create_task(self._run(arrivals, idle_s))

    async def _run(self, arrivals: Arrivals, idle_s: float) -> None:
        with arrivals.room() as self.room:
            async with arrivals.arriving(self.room, idle_s=idle_s):
                while size := await self.parts.get():
                    arrivals.grew(self.room, size)
            await self.done.wait()

    async def send(self, *sizes: int) -> None:
        """Send parts of these sizes; a last size of 0 ends the body."""
        for size in sizes:
            self.parts.put_nowait(size)
        for _ in range(10):  # runs every task that is ready or becomes ready
            await asyncio.sleep(0)

    async def status(self) -> int | None:
        """Return the status of the refusal, or None if the body was read to its end."""
        self.done.set()
        await asyncio.wait([self.task])
        error = self.task.exception()
        assert error is None or isinstance(error, RefusedError)
        return None if error is None else error.http_status


@pytest.fixture
def room_for() -> Arrivals:
    """Return arrivals with small bounds: two in progress, four in all, 100 bytes."""
    return Arrivals(most_arriving=2, most=4, most_bytes=100)


async def test_the_oldest_makes_room_for_a_third(room_for: Arrivals) -> None:
    """If a third body arrives, the oldest of those in progress is refused, however much of it has arrived."""
    bodies = [Body(room_for) for _ in range(3)]
    for body in bodies:
        await body.send(10)
    await bodies[1].send(10, 0)
    await bodies[2].send(0)
    assert [await body.status() for body in bodies] == [503, None, None]


async def test_bytes_are_bounded_together(room_for: Arrivals) -> None:
    """The bound on bytes counts complete bodies too, which are kept; a body in progress is refused instead."""
    waiting = Body(room_for)
    await waiting.send(60, 0)
    second = Body(room_for)
    await second.send(30)
    third = Body(room_for)
    await third.send(20, 0)
    late = Body(room_for)
    await late.send(30)
    assert await second.status() == 503
    assert await late.status() == 503
    assert [await waiting.status(), await third.status()] == [None, None]
    again = Body(room_for)
    await again.send(100, 0)
    assert await again.status() is None


async def test_those_that_wait_are_bounded(room_for: Arrivals) -> None:
    """With four requests waiting, a fifth is refused, and another is accepted once one of the four is finished."""
    waiting: list[Body] = []
    for _ in range(4):
        waiting.append(Body(room_for))
        await waiting[-1].send(1, 0)
    fifth = Body(room_for)
    await fifth.send()
    assert await fifth.status() == 503
    assert await waiting[0].status() is None
    sixth = Body(room_for)
    await sixth.send(1, 0)
    assert await sixth.status() is None
    assert [await body.status() for body in waiting[1:]] == [None, None, None]


async def test_one_whose_time_is_over_makes_room_as_well() -> None:
    """A request that was refused but has not left yet does not take the place of a new one."""
    arrivals = Arrivals(most_arriving=1, most=4, most_bytes=100)
    late = Body(arrivals, idle_s=0)
    await asyncio.sleep(0)  # the body begins
    await asyncio.sleep(0)  # its time is over
    with arrivals.room() as room:
        async with arrivals.arriving(room):
            arrivals.grew(room, 1)
    assert await late.status() == 503


async def test_who_sends_nothing_is_too_slow(room_for: Arrivals) -> None:
    """A body that sends nothing gets 408 after its time, by the loop's clock."""
    body = Body(room_for, idle_s=0.01)
    await asyncio.wait([body.task])
    assert await body.status() == 408
