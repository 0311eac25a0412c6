"""OTLP over gRPC (OTLP specification 1.5, "OTLP/gRPC")."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from pandaprobe_otel.gateway.access import Access
from pandaprobe_otel.gateway.intake import Arrivals, Intake, Taken
from pandaprobe_otel.gateway.otlp_protobuf import read_protobuf
from pandaprobe_otel.gateway.refusals import RefusedError, unreadable

_SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
_ARRIVING: Final = 32
"""Maximum number of messages that may be arriving. The library buffers them until they are complete, without reporting
a count.
"""
_WAITING: Final = 256
_HANDSHAKE_MS: Final = 10_000
_IDLE_MS: Final = 60_000
"""Milliseconds after which a connection without calls is closed. Senders open another one for their next call."""
_CODES: Final = {status.value[0]: status for status in cast("Any", grpc).StatusCode}


@asynccontextmanager
async def grpc_server(intake: Intake, address: str, access: Access, *, within_s: float) -> AsyncGenerator[int]:
    """Listen on an address and yield the port; stop within `within_s` seconds. Raises OSError if the port is in use."""
    options = (
        ("grpc.max_receive_message_length", intake.max_body),
        ("grpc.so_reuseport", 0),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
        ("grpc.max_connection_idle_ms", _IDLE_MS),
    )
    server: Any = grpc.aio.server(options=options)
    # The single message is read as a stream, which allows a limit on the wait. It is decoded here, so that malformed
    # bytes are the sender's error and not the server's.
    exports = _Exports(intake, access)
    handler = cast("Any", grpc).stream_unary_rpc_method_handler(exports.export)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Export": handler}),))
    certificate = access.certificate()
    try:
        port: int = (
            server.add_insecure_port(address)
            if certificate is None
            else server.add_secure_port(address, grpc.ssl_server_credentials([certificate]))
        )
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address} for gRPC: {error}") from error
    if not port:
        raise OSError(f"cannot listen on {address} for gRPC")
    await server.start()
    try:
        yield port
    finally:
        exports.arrivals.end()
        await server.stop(within_s)


class _Exports:
    """The only method of the service."""

    def __init__(self, intake: Intake, access: Access) -> None:
        self._intake = intake
        self._access = access
        self.arrivals = Arrivals(most_arriving=_ARRIVING, most=_WAITING, most_bytes=8 * intake.max_body)

    async def export(self, messages: AsyncIterator[bytes], context: Any) -> bytes:
        """Answer one request."""
        try:
            metadata: dict[str, Any] = dict(context.invocation_metadata() or ())
            self._access.check(metadata.get("authorization", ""))
            self._intake.check_room()
            taken = await self._take(messages)
        except RefusedError as error:
            await _refuse(error, context)
            raise  # never reached: abort() raises
        encoded: bytes = taken.answer().SerializeToString()
        return encoded

    async def _take(self, messages: AsyncIterator[bytes]) -> Taken:
        with self.arrivals.room() as room:
            async with self.arrivals.arriving(room):
                body = await anext(aiter(messages), None)
                self.arrivals.grew(room, len(body or b""))
            if body is None:
                raise unreadable("the request has no message")
            return await self._intake.take(body, "", read_protobuf)


async def _refuse(error: RefusedError, context: Any) -> None:
    text = f"pandaprobe-otel: {error}"
    status = Status(code=error.code, message=text)
    if error.retry_after_s is not None:
        delay = RetryInfo(retry_delay=Duration(seconds=math.ceil(error.retry_after_s)))
        status.details.add().Pack(delay)
    details = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(_CODES[error.code], text, details)
