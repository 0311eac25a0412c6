"""A strict PandaProbe for delivery tests: real HTTP on loopback, the rules of PandaProbe, faults on request.

It records every request.
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from pandaprobe_rules import LIMIT, WINDOW_S, Limiter, Rules


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A scripted answer to one request, instead of the server's own."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    reset: str | None = None
    """"unread": reset the connection at once. "accepted": carry the request out, then reset the connection.

    "silent": send no answer for as long as the client waits.
    """
    wire: Callable[[socket.socket], None] | None = None
    """Function that writes the answer to the socket (garbage, or byte by byte); the connection is closed afterwards."""
    carried_out: bool = False
    """With `wire`: true if the request was carried out."""


@dataclass(frozen=True, kw_only=True)
class Logged:
    """One request as the server saw it; `at` is monotonic, in seconds."""

    method: str
    path: str
    status: int
    at: float
    headers: Mapping[str, str]
    body: Any


class StrictPandaProbe:
    """The server, as a context manager; `url` is the endpoint. Thread-safe."""

    def __init__(
        self,
        *,
        limit: int = LIMIT,
        window_s: float = WINDOW_S,
        max_body: int | None = None,
        delay: Callable[[], float] = lambda: 0.0,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        """`max_body`: a body with more bytes gets a 413; `receive_buffer`: bytes that the system accepts unread."""
        self._tls = tls
        self._receive_buffer = receive_buffer
        self._held: socket.socket | None = None
        """Socket that reserves the port while the server is stopped."""
        self._rules = Rules(Limiter(limit=limit, window_s=window_s), persist_lag_s=0.05)
        self.traces, self.scores = self._rules.traces, self._rules.scores
        self._max_body = max_body
        self._delay = delay
        self._lock = threading.Lock()
        self.script: deque[Reply] = deque()
        """Answers to the next POST /traces, one each."""
        self.answer: Callable[[str, str], Reply | None] = lambda method, path: None
        """Called for every request (method, path) when the script is empty; None stands for the server's own answer."""
        self.cuts_body: Callable[[str, str], bool] = lambda method, path: False
        """Called for every request before its body is read; True resets the connection in the middle of the body."""
        self.log: list[Logged] = []
        self.accepted_at: list[float] = []
        self.connections_closed = 0
        """Number of connections that the server closed, before or after the client."""

    def __enter__(self) -> Self:
        self.start()
        self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{self._server.server_address[1]}"
        return self

    def start(self) -> None:
        """Listen, after `stop` on the same port. Everything stored is kept."""
        self._server = _Server(("127.0.0.1", 0), _Handler, bind_and_activate=False)
        self._server.owner = self
        if self._held is not None:
            self._server.socket.close()
            self._server.socket, self._held = self._held, None
            self._server.server_address = self._server.socket.getsockname()
        else:
            self._server.server_bind()
        if self._receive_buffer is not None:
            self._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        self._server.server_activate()
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening: new connections are refused. The port stays reserved, so no other program can take it."""
        address = self._server.server_address
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections may wait for their end
        self._held.bind(address)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._held is None:
            self.stop()
        if self._held is not None:
            self._held.close()

    def requests(self, method: str | None = None, path: str | None = None) -> list[Logged]:
        """Return the requests so far, in order of their answers, by method and path."""
        with self._lock:
            return [
                entry
                for entry in self.log
                if (method is None or entry.method == method) and (path is None or entry.path == path)
            ]

    def posts(self) -> list[Logged]:
        """Return the POST /traces so far."""
        return self.requests("POST", "/traces")

    def span_ids(self) -> set[str]:
        """Return the ids of all stored spans."""
        with self._lock:
            return {span_id for trace in self.traces.values() for span_id in trace.spans}

    # -- handling requests ---------------------------------------------------------------------------------------------

    def handle(self, method: str, path: str, headers: Mapping[str, str], raw: bytes) -> Reply:
        """Answer a request and record it."""
        time.sleep(self._delay())
        body = json.loads(raw) if raw else None
        with self._lock:
            reply = self._reply(method, path, headers, body)
            status = 0 if reply.reset or reply.wire else reply.status
            self.log.append(
                Logged(method=method, path=path, status=status, at=time.monotonic(), headers=headers, body=body)
            )
        time.sleep(self._delay())
        return reply

    def _reply(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> Reply:
        scripted = self.script.popleft() if self.script and (method, path) == ("POST", "/traces") else None
        scripted = scripted or self.answer(method, path)
        if scripted is not None:
            if scripted.reset == "accepted" or scripted.carried_out:
                self._own(method, path, headers, body)
            return scripted
        return self._own(method, path, headers, body)

    def _own(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> Reply:
        if self._max_body is not None and int(headers.get("content-length") or 0) > self._max_body:
            return Reply(status=413, body={"detail": "Request Entity Too Large"})
        now = time.monotonic()
        status, answer = self._rules.carry_out(method, path, body, now)
        if status == 202:
            self.accepted_at.append(now)
        return Reply(status=status, body=answer)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: StrictPandaProbe

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: clients that leave are part of the tests."""

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.owner.connections_closed += 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        if self.server.owner.cuts_body(self.command, self.path):
            time.sleep(0.05)  # the client writes as much as it can meanwhile
            self._reset()
            return
        raw = self.rfile.read(length)
        if len(raw) < length:
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.owner.handle(self.command, self.path, headers, raw)
        if reply.wire is not None:
            self.close_connection = True
            reply.wire(self.connection)
            return
        if reply.reset == "silent":
            self.connection.recv(1)  # the client gives up, and closes
        if reply.reset:
            self._reset()
            return
        payload = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def _reset(self) -> None:
        # SO_LINGER with zero seconds makes close() a reset instead of an orderly end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    do_GET = do_POST = do_PATCH = do_DELETE = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the server has its own record."""


class Faults:
    """Faults for a share of requests: a 503, or a reset after the server carried the request out."""

    def __init__(self, *, seed: int = 2) -> None:
        self._chance = random.Random(seed)

    def __call__(self, method: str, path: str) -> Reply | None:
        drawn = self._chance.random()
        if drawn < 0.05:
            return Reply(status=503)
        return Reply(reset="accepted") if drawn < 0.08 else None
