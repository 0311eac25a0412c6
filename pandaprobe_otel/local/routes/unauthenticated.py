"""Routes that need no credentials."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pandaprobe_otel.local.routing import ApiRoute, answer
from pandaprobe_otel.local.services import services_of
from pandaprobe_otel.local.settings import SERVER_VERSION
from pandaprobe_otel.local.times import iso
from pandaprobe_otel.transport.local_server import LIVE_VERSION

router = APIRouter(route_class=ApiRoute, tags=["health"])


@router.get("/health", response_model=dict[str, Any])
def health_check(request: Request) -> Response:
    """Report that the server is running."""
    return answer(
        {
            "status": "healthy",
            "version": SERVER_VERSION,
            "environment": "development",
            "timestamp": iso(services_of(request).now()),
            "local": {"live": LIVE_VERSION, "trace_page": "/ui/traces/{trace_id}"},
        }
    )


@router.get("/", response_model=dict[str, Any])
def root(request: Request) -> Response:
    """Describe the server, or redirect a browser to the pages."""
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/ui", status_code=303)
    return answer(
        {
            "name": "PandaProbe",
            "version": SERVER_VERSION,
            "status": "healthy",
            "docs": "/docs",
            "scalar": "/scalar",
        }
    )


@router.get("/docs", include_in_schema=False)
@router.get("/scalar", include_in_schema=False)
def documentation() -> Response:
    """Redirect to the API description, since pages that display it load scripts from the network."""
    return RedirectResponse("/openapi.json")
