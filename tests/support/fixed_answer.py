"""A server that gives the same answer to every request, and remembers the requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FixedAnswer:
    """Where the server is, and the headers (names in lower case) of what it was asked."""

    url: str = ""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path and headers of each request, in order."""


@contextmanager
def fixed_answer(status: int, body: bytes, **headers: str) -> Iterator[FixedAnswer]:
    """Serve one answer on a free port for as long as the block lasts."""
    seen = FixedAnswer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            names = {name.lower(): value for name, value in self.headers.items()}
            seen.requests.append((self.command, self.path, names))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    thread.start()
    seen.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
