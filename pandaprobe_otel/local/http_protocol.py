"""uvicorn's HTTP protocol, extended so that a request can reach its own connection and a fault can drop it."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from pandaprobe_otel.local.middleware import TRANSPORT


class LocalProtocol(H11Protocol):
    """HTTP/1.1 with the transport in each request's state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the transport of a new connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}
