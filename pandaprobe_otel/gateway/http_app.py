"""OTLP over HTTP: `POST /v1/traces`, protobuf or JSON (OTLP specification 1.5, "OTLP/HTTP")."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, Final, cast

from google.protobuf.json_format import MessageToJson
from google.rpc.status_pb2 import Status
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from pandaprobe_otel.gateway.access import Access
from pandaprobe_otel.gateway.intake import IDLE_S, Arrivals, Intake, Room, Taken
from pandaprobe_otel.gateway.otlp_json import read_json
from pandaprobe_otel.gateway.otlp_protobuf import read_protobuf
from pandaprobe_otel.gateway.refusals import RefusedError, TooLargeError

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

_ARRIVING: Final = 256
_WAITING: Final = 512


def make_app(intake: Intake, access: Access, *, counts: Callable[[], dict[str, Any]]) -> Starlette:
    """Return the application. `counts` returns the answer of `GET /health` for authorised senders.

    Call its `state.end` when the server stops. Incomplete bodies then get status 503.
    """
    traces = _Traces(intake, access)

    async def health(request: Request) -> Response:
        may_know = access.knows(_authorization(request))
        return JSONResponse({"status": "ok", **(counts() if may_know else {})})

    async def not_traces(request: Request) -> Response:
        return _answer(
            RefusedError("PandaProbe accepts traces only: send them to /v1/traces.", http_status=404), _kind(request)
        )

    app = Starlette(
        routes=[
            Route("/v1/traces", traces.post, methods=["POST"]),
            Route("/v1/metrics", not_traces, methods=["POST"]),
            Route("/v1/logs", not_traces, methods=["POST"]),
            Route("/health", health, methods=["GET"]),
        ]
    )
    app.state.end = traces.arrivals.end
    return app


class _Traces:
    """The endpoint for traces."""

    def __init__(self, intake: Intake, access: Access) -> None:
        self._intake = intake
        self._access = access
        self.arrivals = Arrivals(most_arriving=_ARRIVING, most=_WAITING, most_bytes=8 * intake.max_body)

    async def post(self, request: Request) -> Response:
        kind = _kind(request)
        with self.arrivals.room() as room:
            try:
                self._access.check(_authorization(request))
                if kind not in (PROTOBUF, JSON):
                    raise RefusedError(f"Content-Type must be {PROTOBUF} or {JSON}", http_status=415)
                self._intake.check_room()
                taken = await self._take(request, kind, room)
                return Response(_encoded(taken.answer(), kind), media_type=kind)
            except RefusedError as error:
                answer = _answer(error, kind)
                if room.gave_way or error.http_status == 408:
                    answer.headers["Connection"] = "close"  # Otherwise, the server waits for the rest of the body.
                return answer
            except ClientDisconnect:
                return Response(status_code=400)

    async def _take(self, request: Request, kind: str, room: Room) -> Taken:
        body = await self._body(request, room)
        encoding = request.headers.get("content-encoding", "")
        return await self._intake.take(body, encoding, read_json if kind == JSON else read_protobuf)

    async def _body(self, request: Request, room: Room) -> bytearray:
        most = self._intake.max_body
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > most:
            raise TooLargeError(most)
        body = bytearray()
        async with self.arrivals.arriving(room, idle_s=IDLE_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise TooLargeError(most)
                self.arrivals.grew(room, len(chunk))
        return body


def _authorization(request: Request) -> str:
    return request.headers.get("authorization", "")


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _answer(error: RefusedError, kind: str) -> Response:
    headers = {} if error.retry_after_s is None else {"Retry-After": str(math.ceil(error.retry_after_s))}
    status = Status(code=error.code, message=f"pandaprobe-otel: {error}")
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    kind = kind if kind == JSON else PROTOBUF
    return Response(_encoded(status, kind), status_code=error.http_status, headers=headers, media_type=kind)


def _encoded(message: Any, kind: str) -> bytes:
    if kind == JSON:
        return MessageToJson(message, indent=None).encode()
    encoded: bytes = message.SerializeToString()
    return encoded


# -- silent connections: closed after a time, the oldest also if new ones need room ------------------------------------

SILENT_S: Final = 10.0
"""Maximum seconds between two requests, and from the connection to the headers of its first request."""
MOST_SILENT: Final = 300
"""Maximum number of silent connections. A process may open about a thousand files by default."""

_Base: Any = AutoHTTPProtocol


def connections(*, silent_s: float = SILENT_S, most_silent: int = MOST_SILENT) -> type[asyncio.Protocol]:
    """Return Uvicorn's protocol with these bounds, for one server."""
    silent: dict[Any, asyncio.TimerHandle] = {}  # oldest first

    class Connection(_Base):
        """A connection, which is silent except while the app handles its request."""

        app: Any
        loop: Any
        transport: Any

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            _Base.__init__(self, *args, **kwargs)
            self._served = self.app
            self.app = self._serve

        def connection_made(self, transport: Any) -> None:
            """Start waiting for a request."""
            _Base.connection_made(self, transport)
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            """Stop waiting."""
            self._stop_waiting()
            _Base.connection_lost(self, exc)

        async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
            self._stop_waiting()
            try:
                await self._served(scope, receive, send)
            finally:
                if not self.transport.is_closing():
                    self._wait()

        def _wait(self) -> None:
            silent[self] = self.loop.call_later(silent_s, self.transport.close)
            if len(silent) > most_silent:
                oldest = next(iter(silent))
                oldest._stop_waiting()
                oldest.transport.close()

        def _stop_waiting(self) -> None:
            timer = silent.pop(self, None)
            if timer is not None:
                timer.cancel()

    return cast("type[asyncio.Protocol]", Connection)
