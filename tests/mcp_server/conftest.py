"""A local PandaProbe, a client of it whose requests are noted, and MCP's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mcp_server.options import ServerOptions
from pandaprobe_otel.mcp_server.searching import SearchingClient
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.request_outcome import Outcome, Request

if TYPE_CHECKING:
    from mcp import Client as McpClient

Connect = Callable[..., "McpClient"]


@dataclass
class Asked:
    """The requests that were sent, as method and path."""

    requests: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    @property
    def writes(self) -> list[tuple[str, str]]:
        """Those that are no GET."""
        return [request for request in self.requests if request[0] != "GET"]


@pytest.fixture(scope="module")
def pandaprobe() -> Iterator[LocalServer]:
    """A local PandaProbe without limits."""
    with LocalServer(limit=None, scripted_judge=True) as running:
        yield running


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """All requests that leave this process through the client."""
    noted, send = Asked(), HttpTransport.send

    def noting(transport: HttpTransport, request: Request) -> Outcome:
        noted.requests.append((request.method, request.path.partition("?")[0]))
        return send(transport, request)

    monkeypatch.setattr(HttpTransport, "send", noting)
    return noted


@pytest.fixture
def client(pandaprobe: LocalServer, asked: Asked) -> Iterator[SearchingClient]:
    """A client with a project of its own."""
    with SearchingClient("sk_pp_mcp", f"p-{uuid4()}", pandaprobe.url) as made:
        yield made


@pytest.fixture
def connect(client: SearchingClient) -> Connect:
    """Connect MCP's client to a server in this process, with these options."""

    from mcp import Client as McpClient  # a second of CPU, which only those who run these tests pay

    from pandaprobe_otel.mcp_server.server import server_of
    from pandaprobe_otel.mcp_server.trace_reader import Reading

    def connected(*, mode: str = "auto", elicitation_callback: Any = None, **options: Any) -> McpClient:
        server = server_of(Reading(client), ServerOptions(**options))
        return McpClient(server, mode=mode, elicitation_callback=elicitation_callback)

    return connected
