"""CPU time of one POST on loopback, and of loading its client: our transport, httpcore and httpx.

Each pair of client and size runs in its own process, alternating. The server is another process. The figures are
medians of 30 batches of 50 requests. httpcore, like our transport, has one deadline for each exchange.
"""

from __future__ import annotations

import multiprocessing
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

BATCHES: Final = 30
OF: Final = 50
SIZES: Final = (2 << 10, 32 << 10)
ANSWER: Final = (
    b"HTTP/1.1 202 Accepted\r\ndate: Tue, 24 Nov 2026 10:00:00 GMT\r\nserver: uvicorn\r\ncontent-length: 100\r\n"
    b"content-type: application/json\r\nx-request-id: 80fcaf51-1111-2222-3333-444444444444\r\n\r\n" + b"x" * 100
)
HEADERS: Final = {"X-API-Key": "sk_pp_" + "a" * 64, "X-Project-Name": "shop", "User-Agent": "pandaprobe-otel/0"}


def serve(listener: socket.socket) -> None:
    """Answer every request, on one connection after the other."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while take(connection):
                connection.sendall(ANSWER)


def take(connection: socket.socket) -> bool:
    """Read one request; return False at the end of the connection."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        part = connection.recv(1 << 18)
        if not part:
            return False
        data += part
    missing = int(data.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) - (len(data) - end - 4)
    while missing > 0:
        missing -= len(connection.recv(1 << 18))
    return True


def ours(url: str, body: bytes) -> Callable[[], int]:
    """Return a POST through httptools, as in delivery."""
    from pandaprobe_otel.transport.request_outcome import Request
    from pandaprobe_otel.transport.socket_transport import SocketTransport

    transport = SocketTransport(url, HEADERS)
    request = Request(method="POST", path="/traces", body=body)
    transport._connected(10.0).hang_up()
    return lambda: getattr(transport.send(request), "status", 0)


def by_httpcore(url: str, body: bytes) -> Callable[[], int]:
    """Return a POST through httpcore without httpx, with the deadline on each read and write."""
    import httpcore

    deadline = [0.0]

    def bounded(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda data, timeout=None: call(data, timeout=min(timeout or 30, deadline[0] - time.monotonic()))

    class Backend(httpcore.SyncBackend):
        def connect_tcp(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
            stream = super().connect_tcp(*args, **options)
            stream.read, stream.write = bounded(stream.read), bounded(stream.write)  # type: ignore[method-assign]
            return stream

    pool = httpcore.ConnectionPool(network_backend=Backend(), keepalive_expiry=2.0)
    headers = [*HEADERS.items(), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    headers.append(("Host", url.removeprefix("http://")))

    def post() -> int:
        deadline[0] = time.monotonic() + 30
        return pool.request("POST", f"{url}/traces", content=body, headers=headers).status

    return post


def by_httpx(url: str, body: bytes) -> Callable[[], int]:
    """Return a POST through httpx's client."""
    import httpx

    client = httpx.Client()
    headers = {**HEADERS, "Content-Type": "application/json"}
    return lambda: client.post(f"{url}/traces", content=body, headers=headers).status_code


CARRIERS: Final = {"ours": ours, "httpcore": by_httpcore, "httpx": by_httpx}


def measure(name: str, size: int) -> None:
    """Print one row."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = multiprocessing.get_context("fork").Process(target=serve, args=(listener,), daemon=True)
    server.start()
    import pandaprobe_otel.delivery.delivery_setup  # noqa: F401 - loads what a process has loaded at its first trace

    begun = time.process_time()
    post = CARRIERS[name](f"http://127.0.0.1:{listener.getsockname()[1]}", b"x" * size)
    loading_ms = (time.process_time() - begun) * 1e3
    assert post() == 202
    batches: list[float] = []
    for _ in range(BATCHES):
        begun = time.process_time()
        for _ in range(OF):
            post()
        batches.append((time.process_time() - begun) / OF * 1e6)
    server.terminate()
    print(f"| {name} | {size} | {statistics.median(batches):.0f} | {min(batches):.0f} | {loading_ms:.1f} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(sys.argv[1], int(sys.argv[2]))
    else:
        print("| carrier | bytes | us of CPU, median | fastest batch | ms of CPU to load |", flush=True)
        print("|---|---|---|---|---|", flush=True)
        for size in SIZES:
            for name in CARRIERS:
                subprocess.run([sys.executable, __file__, name, str(size)], check=True)
