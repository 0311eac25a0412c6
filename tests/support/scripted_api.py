"""An HTTP server that gives scripted answers, each once, and records its requests."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self


@dataclass(frozen=True, kw_only=True)
class Told:
    """An answer. A string body is sent as it is, any other body as JSON."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    after: Callable[[], object] = lambda: None
    """Called before the answer is sent; it may wait, which delays the answer."""
    reset: bool = False
    """True if the connection is reset after the request was read, instead of an answer."""


RESET: Final = Told(reset=True)
FAILED: Final = Told(status=500, body="Internal Server Error", headers={"Content-Type": "text/plain"})


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request; `at` is monotonic, in seconds, and header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Any
    at: float


class ScriptedApi:
    """The server, as a context manager; `url` is the endpoint.

    `tell("GET /me", answer, ...)` sets the answers of a route; the last one is repeated.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[str, list[Told]] = defaultdict(list)
        self.asked: list[Asked] = []
        self.clock_ahead_s = 0.0
        """Lead of the clock that its Date headers show."""

    def tell(self, route: str, *answers: Told | Any) -> Self:
        """Answer a route with these answers in turn; a plain value is sent as JSON with status 200."""
        with self._lock:
            self._answers[route] = [each if isinstance(each, Told) else Told(body=each) for each in answers]
        return self

    def requests(self, route: str) -> list[Asked]:
        """Return the requests of a route, in order."""
        with self._lock:
            return [asked for asked in self.asked if f"{asked.method} {asked.path}" == route]

    def answer(self, asked: Asked) -> Told:
        """Return the answer to a request."""
        with self._lock:
            self.asked.append(asked)
            answers = self._answers.get(f"{asked.method} {asked.path}")
            if not answers:
                return Told(status=404, body={"detail": "Not Found"})
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.api = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    api: ScriptedApi

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: connections that are reset are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        path, _, query = self.path.partition("?")
        told = self.server.api.answer(
            Asked(
                method=self.command,
                path=path,
                query=query,
                headers={name.lower(): value for name, value in self.headers.items()},
                body=json.loads(raw) if raw else None,
                at=time.monotonic(),
            )
        )
        time.sleep(told.delay_s)
        told.after()
        if told.reset:
            # SO_LINGER with zero seconds makes close() a reset instead of an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        content = b"" if told.status == 204 else _content(told.body)
        self.send_response(told.status)
        for name, value in {"Content-Type": "application/json", **told.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_DELETE = _serve

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time of the server's clock."""
        return super().date_time_string(time.time() + self.server.api.clock_ahead_s)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the server has its own record."""


def _content(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()
