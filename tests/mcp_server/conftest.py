"""A local PandaProbe, a client whose requests are recorded, and MCP's own client."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mcp_server.searching import SearchingClient
from pandaprobe_otel.mcp_server.writer_tools import ServerOptions
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.outcome import Outcome, Request

if TYPE_CHECKING:
    from mcp import Client as McpClient

Connect = Callable[..., "McpClient"]


@dataclass
class SentRequests:
    """The sent requests, as method and path."""

    requests: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    @property
    def writes(self) -> list[tuple[str, str]]:
        """Return the requests that are not GET."""
        return [request for request in self.requests if request[0] != "GET"]


@pytest.fixture(scope="module")
def pandaprobe() -> Iterator[LocalServer]:
    """Yield a local PandaProbe without limits."""
    with LocalServer(limit=None, scripted_judge=True) as running:
        yield running


@pytest.fixture
def sent_requests(monkeypatch: pytest.MonkeyPatch) -> SentRequests:
    """Record all requests that this process sends through the client."""
    noted, send = SentRequests(), HttpTransport.send

    def noting(transport: HttpTransport, request: Request) -> Outcome:
        noted.requests.append((request.method, request.path.partition("?")[0]))
        return send(transport, request)

    monkeypatch.setattr(HttpTransport, "send", noting)
    return noted


@pytest.fixture
def client(pandaprobe: LocalServer, sent_requests: SentRequests) -> Iterator[SearchingClient]:
    """Yield a client with its own project."""
    with SearchingClient("sk_pp_mcp", f"p-{uuid4()}", pandaprobe.url) as made:
        yield made


@pytest.fixture
def connect(client: SearchingClient) -> Connect:
    """Return a function that connects MCP's client to a server in this process with the given options."""

    from mcp import Client as McpClient  # a second of CPU, only for the tests that use this fixture

    from pandaprobe_otel.mcp_server.server import server_of
    from pandaprobe_otel.mcp_server.trace_reader import Reading

    def connected(**options: Any) -> McpClient:
        return McpClient(server_of(Reading(client), ServerOptions(**options)))

    return connected


@pytest.fixture
def serve(client: SearchingClient) -> Iterator[Callable[..., str]]:
    """Yield a function that serves MCP over HTTP until the test ends, with the given options, and returns its URL."""
    import uvicorn

    from pandaprobe_otel.mcp_server.server import http_app, server_of
    from pandaprobe_otel.mcp_server.trace_reader import Reading

    with ExitStack() as running:

        def served(**options: Any) -> str:
            app = http_app(server_of(Reading(client), ServerOptions(**options)), "127.0.0.1", None)
            server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
            listening = socket.create_server(("127.0.0.1", 0))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            running.callback(thread.join, 60)
            running.callback(setattr, server, "should_exit", True)
            return f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"

        yield served
