"""The server over HTTP: on this machine, or with a token."""

from __future__ import annotations

import secrets
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def http_app(server: MCPServer, host: str, token: str | None) -> ASGIApp:
    """Return the server as an app. With a token, requests without it are refused before they are read.

    Without a token, the SDK answers only requests whose Host and Origin are this machine.
    """
    security = None if is_loopback(host) else TransportSecuritySettings(enable_dns_rebinding_protection=False)
    app: Any = server.streamable_http_app(host=host, transport_security=security)
    return app if token is None else _Guarded(app, token)


class _Guarded:
    """An app that requires the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._wanted = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not secrets.compare_digest(given, self._wanted):
                from starlette.responses import PlainTextResponse

                response = PlainTextResponse(
                    "a token is required: Authorization: Bearer TOKEN", 401, headers={"www-authenticate": "Bearer"}
                )
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
