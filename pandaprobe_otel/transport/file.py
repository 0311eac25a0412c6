"""Transport into a file: each request becomes a line and is answered as if a server had accepted it."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Final

from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer, Outcome, Request
from pandaprobe_otel.transport.trace_file import line_of

try:
    import fcntl
except ImportError:  # Windows: only one process may write to a file
    fcntl = None  # type: ignore[assignment]

_ANSWERS: Final = {"GET": 200, "PATCH": 200, "POST": 202}


class FileTransport:
    """Transport that appends to a file. Threads and processes may share it: lines are neither mixed nor cut off.

    The file is opened for each line, so it may be moved while the app runs, and no fork inherits it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()

    def send(self, request: Request) -> Outcome:
        """Write one request; on failure, return `NoAnswer`, so that delivery tries again."""
        line = line_of(request.method, request.path, request.body or b"")
        if line is not None:
            try:
                with self._lock:
                    _append(self._path, line)
            except OSError as error:
                return NoAnswer(reason=f"{self._path}: {error.strerror or error}", may_have_arrived=False)
        return Answer(status=_ANSWERS[request.method], body=b"{}")

    def close(self) -> None:
        """Do nothing, because no file stays open."""

    def reset_after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._lock = threading.Lock()


def _append(path: str, line: bytes) -> None:
    # Content of agents is private: the file is readable for its owner only, unless somebody changes its mode.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        before = os.fstat(descriptor).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)
