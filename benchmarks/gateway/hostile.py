"""Hostile senders for a gateway, as a separate process.

    python benchmarks/gateway/hostile.py HTTP_PORT GRPC_PORT SLOW MALFORMED

Half of the slow senders send a body over HTTP, one byte per second. The other half call gRPC and send no message. The
malformed senders send bodies from `tests/support/otlp_mutations.py`, one request per second each, and occasionally the
most costly body of the largest allowed size. All continue until the process is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from itertools import chain, repeat
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import grpc.aio
import httpx

from otlp_mutations import PROTOBUF, Mutations, Sent
from otlp_senders import delimited, request_of_span

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
HEAD = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 100000\r\n\r\n"
COSTLY_EACH = 50
"""One in this many requests of a malformed sender is costly."""


def costly() -> bytes:
    """Return 16 MB of empty attributes, as many per span as allowed."""
    span = delimited(1, b"t" * 16) + delimited(2, b"s" * 8) + delimited(9, b"") * 4096
    return request_of_span(span) * (16_000_000 // len(request_of_span(span)))


async def slow_upload(port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD)
            while not writer.is_closing():
                writer.write(b"\0")
                await writer.drain()
                await asyncio.sleep(1)
        await asyncio.sleep(0.1)


async def silent_call(channel: grpc.aio.Channel) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    export = channel.stream_unary(EXPORT)
    while True:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await export(nothing())
        await asyncio.sleep(0.1)


async def malformed(client: httpx.AsyncClient, seed: int, much: bytes) -> None:
    while True:
        some = Mutations(seed).requests(COSTLY_EACH)
        for sent in chain(some, repeat(Sent(0, much, {"Content-Type": PROTOBUF}), 1)):
            with contextlib.suppress(httpx.HTTPError):
                await client.post("/v1/traces", content=sent.body, headers=sent.headers)
            await asyncio.sleep(1)


async def main() -> None:
    http_port, grpc_port, slow, bad = map(int, sys.argv[1:])
    much = costly()
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{http_port}", timeout=60) as client,
        grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
    ):
        uploads = [slow_upload(http_port) for _ in range(slow - slow // 2)]
        calls = [silent_call(channel) for _ in range(slow // 2)]
        await asyncio.gather(*uploads, *calls, *(malformed(client, seed, much) for seed in range(bad)))


if __name__ == "__main__":
    asyncio.run(main())
