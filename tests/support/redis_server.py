"""A real Redis on a free port of this machine, for as long as a test or a benchmark needs it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from types import TracebackType
from typing import Any, Self

import pytest

PROGRAM = shutil.which("redis-server")


class RedisServer:
    """A Redis server, as a context manager. It stores nothing on disk, so it is empty after a restart."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            [PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise AssertionError("redis-server does not answer")

    def stop(self) -> None:
        """Kill the server, as if its machine went down."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None

    def client(self) -> Any:
        """Return a client of the server."""
        from redis import Redis

        return Redis(port=self.port, decode_responses=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def require_redis() -> None:
    """Skip the test without redis-server; fail it if CI is set."""
    if PROGRAM is not None:
        return
    if os.environ.get("CI"):
        pytest.fail("redis-server is not installed (Debian's package redis-server)")
    pytest.skip("redis-server is not installed")
