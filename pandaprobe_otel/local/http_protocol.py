"""HTTP protocol for uvicorn, extended so that requests can access their connection and faults can drop it."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pandaprobe_otel.local.middleware import TRANSPORT


class LocalProtocol(HttpToolsProtocol):
    """HTTP/1.1 with the transport in each request's state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Store the transport of a new connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}
