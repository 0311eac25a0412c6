"""OTLP over HTTP: `POST /v1/traces`, protobuf or JSON (OTLP specification 1.5, "OTLP/HTTP")."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.json_format import MessageToJson
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pandaprobe_otel.gateway.errors import RefusedError, busy
from pandaprobe_otel.gateway.inflate import inflate, too_large
from pandaprobe_otel.gateway.intake import Intake, Taken
from pandaprobe_otel.gateway.otlp_request import read_json, read_protobuf

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

_AT_ONCE: Final = 8
"""Requests whose bodies are in memory. With their bound, that of the gateway's memory."""
_WAITING: Final = 256
_BODY_WITHIN_S: Final = 30.0
_RETRY_BUSY_S: Final = 1.0


def make_app(intake: Intake, *, max_body: int, counts: Callable[[], dict[str, Any]]) -> Starlette:
    """The application. `counts` is what `GET /health` answers with."""
    traces = _Traces(intake, max_body)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", **counts()})

    async def not_traces(request: Request) -> Response:
        return _answer(
            RefusedError("PandaProbe keeps traces only: send them to /v1/traces.", http_status=404), _kind(request)
        )

    return Starlette(
        routes=[
            Route("/v1/traces", traces.post, methods=["POST"]),
            Route("/v1/metrics", not_traces, methods=["POST"]),
            Route("/v1/logs", not_traces, methods=["POST"]),
            Route("/health", health, methods=["GET"]),
        ]
    )


class _Traces:
    """The one endpoint that matters."""

    def __init__(self, intake: Intake, max_body: int) -> None:
        self._intake = intake
        self._max_body = max_body
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def post(self, request: Request) -> Response:
        kind = _kind(request)
        try:
            if kind not in (PROTOBUF, JSON):
                raise RefusedError(f"Content-Type is neither {PROTOBUF} nor {JSON}", http_status=415)
            return _success(await self._in_turn(request, kind), kind)
        except RefusedError as error:
            return _answer(error, kind)
        except ClientDisconnect:
            return Response(status_code=400)

    async def _in_turn(self, request: Request, kind: str) -> Taken:
        self._intake.check_room()
        if self._waiting >= _WAITING:
            raise busy("too many requests at once", _RETRY_BUSY_S)
        self._waiting += 1
        try:
            async with self._turns:
                body = await self._body(request)
                encoding = request.headers.get("content-encoding", "")
                return await asyncio.to_thread(self._take, body, encoding, kind)
        finally:
            self._waiting -= 1

    def _take(self, body: bytes, encoding: str, kind: str) -> Taken:
        plain = inflate(body, encoding, self._max_body)
        read: Callable[[bytes], ExportTraceServiceRequest] = read_json if kind == JSON else read_protobuf
        return self._intake.take(read(plain))

    async def _body(self, request: Request) -> bytes:
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._max_body:
            raise too_large(self._max_body)
        body = bytearray()
        try:
            async with asyncio.timeout(_BODY_WITHIN_S):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self._max_body:
                        raise too_large(self._max_body)
        except TimeoutError as error:
            raise RefusedError(f"the body did not arrive within {_BODY_WITHIN_S:g} s", http_status=408) from error
        return bytes(body)


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _success(taken: Taken, kind: str) -> Response:
    answer = ExportTraceServiceResponse()
    if taken.rejected:
        answer.partial_success.rejected_spans = taken.rejected
        answer.partial_success.error_message = taken.message
    return Response(_encoded(answer, kind), media_type=kind)


def _answer(error: RefusedError, kind: str) -> Response:
    headers = {} if error.retry_after_s is None else {"Retry-After": str(math.ceil(error.retry_after_s))}
    status = Status(code=error.code, message=f"pandaprobe-otel: {error}")
    kind = kind if kind == JSON else PROTOBUF
    return Response(_encoded(status, kind), status_code=error.http_status, headers=headers, media_type=kind)


def _encoded(message: Any, kind: str) -> bytes:
    if kind == JSON:
        return MessageToJson(message, indent=None).encode()
    encoded: bytes = message.SerializeToString()
    return encoded
