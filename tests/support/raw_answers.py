"""A server on bare sockets, for answers in forms that no HTTP library writes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def answering(*answers: bytes, hang_up: bool = True, read: int | None = None) -> Iterator[str]:
    """Yield the URL of a server that reads a request (or `read` bytes of it) before each answer, on one connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(ConnectionError):  # the client may leave once it has its answer
                for answer in answers:
                    connection.recv(read or 1 << 20)
                    connection.sendall(answer)
                if not hang_up:
                    connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(60)
