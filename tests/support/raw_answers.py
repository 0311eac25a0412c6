"""Every transport, and a server on bare sockets for answers in forms that no HTTP library writes."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pandaprobe_otel.transport.http import AsyncHttpTransport, HttpTransport
from pandaprobe_otel.transport.outcome import Outcome, Request, api_key_headers
from pandaprobe_otel.transport.socket_transport import SocketTransport

Send = Callable[..., Outcome]
Kind = type[SocketTransport] | type[HttpTransport]


@contextmanager
def answering(*answers: bytes, hang_up: bool = True) -> Iterator[str]:
    """Yield the URL of a server that reads a request before each answer, on one connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(ConnectionError):  # the client may leave once it has its answer
                for answer in answers:
                    connection.recv(1 << 20)
                    connection.sendall(answer)
                if not hang_up:
                    connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(60)


def by(kind: Kind, url: str, *requests: Request, key: str = "sk_pp_x") -> Outcome:
    """Send requests with a transport; return the last outcome."""
    transport = kind(url, api_key_headers(key, "shop"))
    try:
        return [transport.send(request) for request in requests][-1]
    finally:
        transport.close()


def by_socket(url: str, *requests: Request, key: str = "sk_pp_x") -> Outcome:
    """Send requests over a socket."""
    return by(SocketTransport, url, *requests, key=key)


def by_httpx(url: str, *requests: Request, key: str = "sk_pp_x") -> Outcome:
    """Send requests with httpx."""
    return by(HttpTransport, url, *requests, key=key)


def by_asyncio(url: str, *requests: Request, key: str = "sk_pp_x") -> Outcome:
    """Send requests with httpx in an event loop."""

    async def send() -> Outcome:
        transport = AsyncHttpTransport(url, api_key_headers(key, "shop"))
        try:
            return [await transport.send(request) for request in requests][-1]
        finally:
            await transport.close()

    return asyncio.run(send())
