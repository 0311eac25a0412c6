"""One HTTP/1.1 connection over a socket: writes a request, reads the answer (RFC 9112, the client's part).

Answers may be chunked, of a given length, or end with the connection; interim (1xx) answers are skipped.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from pandaprobe_otel.transport.failures import describe
from pandaprobe_otel.transport.messages import Answer

if TYPE_CHECKING:
    import ssl

_MAX_HEAD: Final = 64 << 10
_MAX_BODY: Final = 64 << 20
_MAX_CHUNK_LINE: Final = 4096
_JOINED_BELOW: Final = 128 << 10
"""Bytes of a body that is copied behind its head, so that one packet may carry both."""
_EARLY_ANSWER_S: Final = 1.0
"""A server that stopped reading has its answer on the way, if it gives one."""


class NotSent(Exception):
    """The request did not leave as a whole, so the server cannot have acted on it."""


class NotHttp(Exception):
    """The answer is none."""


class Wire:
    """A connection. One exchange at a time; unusable after any exception."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = b""
        self.reusable = True
        """Whether the connection may carry another request."""
        self.idle_since = 0.0

    @classmethod
    def connect(
        cls, host: bytes, port: int, tls: Callable[[socket.socket], ssl.SSLSocket] | None, timeout_s: float
    ) -> Wire:
        """Open a connection, through `tls` where it is given; OSError (also of TLS) when that fails."""
        # As text, the name would be encoded by a codec that has to be imported; bytes are taken as they are.
        connection = socket.create_connection((cast("str", host), port), timeout_s)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return cls(connection if tls is None else tls(connection))
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close it, without a word to the other side."""
        self._socket.close()

    @property
    def is_stale(self) -> bool:
        """Whether the other side has closed the idle connection, or says something unasked."""
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            return bool(poll.poll(0))
        return bool(select.select([self._socket], [], [], 0)[0])

    def exchange(self, head: bytes, request_body: bytes, deadline: float) -> Answer:
        """Send a request and read its answer before the deadline (of `time.monotonic`).

        `NotSent` when it did not go out whole; OSError, `TimeoutError` included, or `NotHttp` when it did, but no
        answer came.
        """
        try:
            self._send(head, request_body, deadline)
        except OSError as error:
            raise NotSent(describe(error)) from error
        while True:
            status, headers = self._read_head(deadline)
            if status >= 200:
                break
        body = self._read_body(status, headers, deadline)
        if self._buffer:  # nothing was asked that this could be the answer to
            self.reusable = False
        return Answer(status=status, body=body, headers=headers)

    # -- writing ------------------------------------------------------------------------------------------------------

    def _send(self, head: bytes, body: bytes, deadline: float) -> None:
        self._limit_time(deadline)
        try:
            if len(body) < _JOINED_BELOW:
                self._socket.sendall(head + body)
            else:
                self._socket.sendall(head)
                self._limit_time(deadline)
                self._socket.sendall(body)
        except TimeoutError:
            raise
        except OSError:
            if not self._has_early_answer(deadline):
                raise
            self.reusable = False

    def _has_early_answer(self, deadline: float) -> bool:
        """A server may refuse a request (too large, say) and hang up before it has read all of it."""
        try:
            self._receive(min(deadline, time.monotonic() + _EARLY_ANSWER_S))
        except (OSError, NotHttp):
            return False
        return True

    # -- reading ------------------------------------------------------------------------------------------------------

    def _read_head(self, deadline: float) -> tuple[int, dict[str, str]]:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise NotHttp("the head of the answer has no end")
            self._receive(deadline)
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        self._buffer = self._buffer[end + 4 :]
        version, _, rest = lines[0].partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise NotHttp(f"not an HTTP answer: {lines[0][:60]!r}")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise NotHttp(f"not an HTTP header: {line[:60]!r}")
            key, value = name.lower(), value.strip()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        connection = headers.get("connection", "").lower()
        if "close" in connection or (version == "HTTP/1.0" and "keep-alive" not in connection):
            self.reusable = False
        return int(rest[:3]), headers

    def _read_body(self, status: int, headers: dict[str, str], deadline: float) -> bytes:
        if status in (204, 304):
            return b""
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return self._read_chunks(deadline)
        length = headers.get("content-length")
        if length is None:
            return self._read_to_end(deadline)
        if not (length.isascii() and length.isdigit()):
            raise NotHttp(f"not a length: {length[:20]!r}")
        return self._take(int(length), deadline)

    def _read_chunks(self, deadline: float) -> bytes:
        chunks: list[bytes] = []
        total = 0
        while True:
            size_text = self._take_line(deadline).partition(b";")[0].strip()
            try:
                size = int(size_text, 16)
            except ValueError:
                raise NotHttp(f"not the size of a chunk: {size_text[:20]!r}") from None
            total += size
            if size < 0 or total > _MAX_BODY:
                raise NotHttp("the answer is too large")
            if size == 0:
                break
            chunks.append(self._take(size, deadline))
            self._take_line(deadline)
        while self._take_line(deadline):  # trailers
            pass
        return b"".join(chunks)

    def _read_to_end(self, deadline: float) -> bytes:
        self.reusable = False
        chunks, length = [self._buffer], len(self._buffer)
        while length <= _MAX_BODY:
            self._limit_time(deadline)
            data = self._socket.recv(65536)
            if not data:
                self._buffer = b""
                return b"".join(chunks)
            chunks.append(data)
            length += len(data)
        raise NotHttp("the answer is too large")

    def _take(self, size: int, deadline: float) -> bytes:
        if size > _MAX_BODY:
            raise NotHttp("the answer is too large")
        chunks, missing = [self._buffer], size - len(self._buffer)
        while missing > 0:  # joined at the end: to add to one buffer would copy it each time
            self._buffer = b""
            self._receive(deadline)
            chunks.append(self._buffer)
            missing -= len(self._buffer)
        data = b"".join(chunks)
        self._buffer = data[size:]
        return data[:size]

    def _take_line(self, deadline: float) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _MAX_CHUNK_LINE:
                raise NotHttp("a line of the answer has no end")
            self._receive(deadline)
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        return line

    def _receive(self, deadline: float) -> None:
        self._limit_time(deadline)
        data = self._socket.recv(65536)
        if not data:
            raise NotHttp("the connection was closed before the end of the answer")
        self._buffer += data

    def _limit_time(self, deadline: float) -> None:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(remaining)
