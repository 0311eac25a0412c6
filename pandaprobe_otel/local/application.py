"""The application: routes, error answers and the outer layer, on top of one set of services."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pandaprobe_otel.local.errors import install_error_handlers
from pandaprobe_otel.local.middleware import TRANSPORT, OuterLayer
from pandaprobe_otel.local.pages import actions, details, lists, overview_page, site
from pandaprobe_otel.local.routes import (
    analytics,
    local_only,
    management,
    metrics,
    monitors,
    runs,
    scores,
    sessions,
    traces,
    unauthenticated,
)
from pandaprobe_otel.local.services import Services
from pandaprobe_otel.local.settings import SERVER_VERSION

# Fixed paths (/traces/analytics) must precede those with a parameter. If a path has several methods, the first router
# determines the `Allow` header of a 405. On the real server, that is POST for /traces.
_ROUTERS = (
    analytics,
    traces,
    sessions,
    metrics,
    runs,
    scores,
    monitors,
    management,
    unauthenticated,
    local_only,
    site,
    actions,
    lists,
    details,
    overview_page,
)


def create_app(services: Services) -> FastAPI:
    """Return the ASGI application of a local server."""
    app = FastAPI(
        title="PandaProbe",
        version=SERVER_VERSION,
        # The interactive documentation loads scripts from the network, which a local server must not cause.
        docs_url=None,
        redoc_url=None,
        # FastAPI may trace requests with the provider of the process. Its spans would then arrive here as traces.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.services = services
    for module in _ROUTERS:
        app.include_router(module.router)
    app.add_exception_handler(site.SignInNeededError, site.to_sign_in)
    app.add_exception_handler(site.MissingPageError, site.show_missing)
    install_error_handlers(app, retry_after=services.settings.retry_after)
    app.add_middleware(OuterLayer, faults=services.faults, allowed_hosts=services.settings.allowed_hosts)
    return app


class LocalProtocol(HttpToolsProtocol):
    """HTTP/1.1 for uvicorn, with the connection in each request's state, so that faults can drop it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Store the transport of a new connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}
