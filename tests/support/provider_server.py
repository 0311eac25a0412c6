"""A loopback HTTP server that plays a model provider: chunked bodies, pauses, errors and broken connections."""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as the server received it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body's JSON; None for an empty body."""
        return json.loads(self.body) if self.body else None

    @property
    def route(self) -> str:
        """Return the method and the path, such as "GET /traces"."""
        return f"{self.method} {self.path.partition('?')[0]}"

    @property
    def query(self) -> str:
        """Return the part of the path after the question mark."""
        return self.path.partition("?")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer: its chunks are sent one by one, with a pause before each."""

    chunks: Sequence[bytes] = ()
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict[str, str])
    pause_s: float = 0.0
    breaks_off: bool = False
    """True if the connection is cut after the last chunk, in the middle of the chunked body."""
    waits_s: float = 0.0
    """Seconds of silence before the status line."""
    hangs_s: float = 0.0
    """Seconds of silence after the last chunk, before the end of the body."""
    reset: bool = False
    """True if the connection is reset after the request was read, instead of an answer."""


Script = Callable[[Received], Reply]

fell_silent = threading.Event()
"""Set when a server of this process has sent all chunks and delays the end of the body."""


def json_reply(content: Any, *, status: int = 200, waits_s: float = 0.0, **headers: str) -> Reply:
    """Return a JSON document in one chunk, or a text as it is; header names have underscores here."""
    text = content if isinstance(content, str) else json.dumps(content)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(chunks=(text.encode(),), status=status, waits_s=waits_s, headers=named)


def completion(content: Any) -> Reply:
    """Return a chat completion of OpenAI's with a text, or with a JSON document as its text."""
    text = content if isinstance(content, str) else json.dumps(content)
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json_reply({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})


def events_reply(
    payloads: Sequence[Any],
    *,
    named: bool = False,
    done: bool = True,
    pause_s: float = 0.0,
    breaks_off: bool = False,
    hangs_s: float = 0.0,
) -> Reply:
    """Return a stream of events, one per chunk; `named` puts each payload's `type` into an `event:` line."""
    chunks = [sse(payload, named=named) for payload in payloads]
    if done:
        chunks.append(b"data: [DONE]\n\n")
    return Reply(
        chunks=chunks,
        content_type="text/event-stream",
        pause_s=pause_s,
        breaks_off=breaks_off,
        hangs_s=hangs_s,
    )


def sse(payload: Any, *, named: bool = False) -> bytes:
    """Return one server-sent event."""
    name = f"event: {payload['type']}\n" if named else ""
    return f"{name}data: {json.dumps(payload)}\n\n".encode()


class ProviderServer:
    """The server on a free loopback port, from `__enter__` to `__exit__`. Set `script` before each use."""

    def __init__(self) -> None:
        self.script: Script = lambda _: Reply(status=404)
        self.received: list[Received] = []
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._serve, name="provider-server", daemon=True)

    @property
    def port(self) -> int:
        """The port on which the server listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The root URL of the server."""
        return f"http://127.0.0.1:{self.port}"

    def replies(self, *replies: Reply) -> None:
        """Answer with these replies in turn, and repeat the last one."""
        waiting = list(replies)
        self.script = lambda _: waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=0.01)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the default of 5, the sixth client waits a second on a loaded machine

    def __init__(self, address: tuple[str, int], owner: ProviderServer) -> None:
        super().__init__(address, _Handler)
        self.owner = owner

    def handle_error(self, request: Any, client_address: Any) -> None:
        return  # many tests have a client that leaves in the middle


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise small chunks wait for the client's delayed acknowledgement (40 ms).
    disable_nagle_algorithm = True
    wbufsize = 0

    def log_message(self, format: str, *args: Any) -> None:
        return

    def _stay_silent(self, seconds: float) -> None:
        """Wait until the time is up, or until the client leaves, which makes its connection readable."""
        select.select([self.connection], [], [], seconds)

    def _answer(self) -> None:
        owner = cast("_Server", self.server).owner
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(method=self.command, path=self.path, headers=headers, body=body)
        owner.received.append(received)
        reply = owner.script(received)
        self._stay_silent(reply.waits_s)
        if reply.reset:
            # SO_LINGER with zero seconds makes close() a reset instead of an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if reply.status == 204:  # has no body
            self.wfile.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            return
        head = [f"HTTP/1.1 {reply.status} Whatever", f"Content-Type: {reply.content_type}"]
        head += [f"{name}: {value}" for name, value in reply.headers.items()]
        self.wfile.write("\r\n".join([*head, "Transfer-Encoding: chunked", "", ""]).encode())
        for chunk in reply.chunks:
            time.sleep(reply.pause_s)
            if not chunk:
                continue  # an empty chunk would end the body
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if reply.hangs_s > 0:
            fell_silent.set()
            self._stay_silent(reply.hangs_s)
        if reply.breaks_off:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer
