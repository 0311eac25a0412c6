"""OTLP over HTTP: `POST /v1/traces`, as in a gateway."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pandaprobe_otel.local.auth import LOCAL_API_KEY, check_sender, valid_name
from pandaprobe_otel.local.services import services_of

router = APIRouter(include_in_schema=False)

_DEFAULT_PROJECT: Final = "default"


class _Passed(Response):
    """An answer produced by another application."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to the application."""
        await self._app(scope, receive, send)


@router.post("/v1/traces")
@router.post("/v1/metrics")
@router.post("/v1/logs")
def receive(request: Request) -> Response:
    """Receive OTLP. The headers `x-api-key` and `x-project-name` are the same as for `POST /traces`."""
    services = services_of(request)
    key = request.headers.get("x-api-key") or LOCAL_API_KEY
    check_sender(services, key)
    project = request.headers.get("x-project-name", "").strip() or _DEFAULT_PROJECT
    if len(project) > 255 or not valid_name(project):
        raise HTTPException(400, "x-project-name is not the name of a project")
    host, port = request.scope["server"]
    return _Passed(services.otlp.app(f"http://{_reachable(host)}:{port}", key, project))


def _reachable(host: str) -> str:
    """Return an address to connect to. For a server on all addresses, it is a loopback address."""
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
