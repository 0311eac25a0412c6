"""One connection on which the standard library speaks HTTP: each exchange under one deadline, no answer without bound.

Timeouts of sockets and of HTTP libraries are for single reads, so an answer that trickles in byte by byte would hold a
sender for ever. Here every read and write is given what is left of the exchange's own time.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from pandaprobe_otel.transport.messages import Answer, Request

if TYPE_CHECKING:
    from collections.abc import Callable

HTTPException = http.client.HTTPException

_MAX_BODY: Final = 64 << 20
_MAX_HEAD: Final = 1 << 20
_JOINED_BELOW: Final = 128 << 10
"""Bytes of a request whose body is copied behind its head, so that one packet may carry both."""
_EARLY_ANSWER_S: Final = 1.0
"""A server that stopped reading has its answer on the way, if it gives one."""


class NotSentError(Exception):
    """The request did not leave as a whole, so the server cannot have acted on it."""


class Connection:
    """Carries one exchange at a time; unusable after any exception."""

    def __init__(self, connected: socket.socket) -> None:
        self._stream = _Stream(connected)
        self._reader = _Reader(self._stream, 16 << 10)
        self._outgoing: list[bytes] = []
        self.is_reusable = True
        """Whether the connection may carry another request."""
        self.idle_since = 0.0

    @classmethod
    def open(
        cls, host: bytes, port: int, tls: Callable[[socket.socket], socket.socket] | None, timeout_s: float
    ) -> Connection:
        """Connect, through `tls` where it is given; OSError (also of TLS) when that fails."""
        # As text, the name would be encoded by a codec that has to be imported; bytes are taken as they are.
        connected = socket.create_connection((cast("str", host), port), timeout_s)
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return cls(connected if tls is None else tls(connected))
        except BaseException:
            connected.close()
            raise

    def hang_up(self) -> None:
        """Close it, without a word to the other side."""
        self._stream.hang_up()

    @property
    def is_stale(self) -> bool:
        """Whether the other side has closed the idle connection, or says something unasked."""
        return self._stream.is_readable

    def exchange(self, request: Request, path: str, headers: Mapping[str, str], deadline: float) -> Answer:
        """Send a request and read its answer before the deadline (of `time.monotonic`).

        `NotSentError` when it did not go out whole; OSError (`TimeoutError` included), `HTTPException` or ValueError
        when it did, but no answer came.
        """
        self._stream.begin(deadline)
        connection = http.client.HTTPConnection("")
        connection.set_debuglevel(0)  # an app that has set it for all would see our key printed
        connection.sock = self
        self._outgoing.clear()
        try:
            connection.request(request.method, path, request.body, headers)
            self._write()
        except (TimeoutError, HTTPException, ValueError) as error:
            raise NotSentError from error
        except OSError as error:
            return self._early_answer(connection, request, error)
        return self._answer(connection, request)

    def _write(self) -> None:
        if sum(map(len, self._outgoing)) < _JOINED_BELOW:
            self._stream.write_all(b"".join(self._outgoing))
            return
        for part in self._outgoing:
            self._stream.write_all(part)

    def _early_answer(self, connection: http.client.HTTPConnection, request: Request, error: OSError) -> Answer:
        """A server may refuse a request (too large, say) and hang up before it has read all of it."""
        self._stream.hurry(_EARLY_ANSWER_S)
        try:
            answer = self._answer(connection, request)
        except (OSError, HTTPException, ValueError):
            raise NotSentError from error
        self.is_reusable = False
        return answer

    def _answer(self, connection: http.client.HTTPConnection, request: Request) -> Answer:
        response = connection.getresponse()
        while response.status < 200:  # others than 100, which the library skips itself
            response = http.client.HTTPResponse(cast("socket.socket", self), method=request.method)
            response.begin()
        if self._stream.is_at_end:  # the library takes that for the end of the head
            raise HTTPException("the connection was closed before the end of the answer")
        headers = _headers(response)
        body = _body(response, headers)
        if response.will_close or self._has_more():
            self.is_reusable = False
        return Answer(status=response.status, body=body, headers=headers)

    def _has_more(self) -> bool:
        """Whether there are bytes that nobody asked for: they would be taken for the answer to the next request."""
        self._stream.is_idle = True
        return bool(self._reader.peek(1))

    # -- as http.client uses a socket ---------------------------------------------------------------------------------

    def sendall(self, data: bytes) -> None:
        """Take a part of the request: its head or its body."""
        self._outgoing.append(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """The one reader of this connection, which may have read beyond what was the answer."""
        return self._reader

    def close(self) -> None:
        """Called when the answer is the last one, before its body is read: `hang_up` closes."""


class _Stream(io.RawIOBase):
    """A socket with a deadline and with a bound of what may be read."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.is_at_end = False
        """The other side has said that there is no more."""
        self._deadline = 0.0
        self._room = 0
        self.is_idle = True
        """Only what was read already is of interest."""

    def begin(self, deadline: float) -> None:
        """An exchange begins."""
        self._deadline, self._room, self.is_idle = deadline, _MAX_HEAD + _MAX_BODY, False

    def hurry(self, seconds: float) -> None:
        """The rest of the exchange takes no longer than this."""
        self._deadline = min(self._deadline, time.monotonic() + seconds)

    def write_all(self, data: bytes) -> None:
        """Write all of it before the deadline: `sendall` of a TLS socket would allow as long for each part."""
        rest = memoryview(data)
        while rest:
            self._limit_time()
            rest = rest[self._socket.send(rest) :]

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read before the deadline; nothing, as from a socket that does not block, when idle."""
        if self.is_idle:
            return None
        self._limit_time()
        count = self._socket.recv_into(buffer)
        self._room -= count
        self.is_at_end = not count
        if self._room < 0:
            raise HTTPException("the answer is too large")
        return count

    def hang_up(self) -> None:
        """Close the socket."""
        self._socket.close()

    @property
    def is_readable(self) -> bool:
        """Whether there is something to read, or the end."""
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            return bool(poll.poll(0))
        return bool(select.select([self._socket], [], [], 0)[0])

    def _limit_time(self) -> None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(remaining)


class _Reader(io.BufferedReader):
    """Outlives the answers that are read from it."""

    def close(self) -> None:
        """Called at the end of each answer."""


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    if response.headers.defects:
        raise HTTPException(f"not an HTTP header: {response.headers.defects[0]!r}")
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        key, value = name.lower(), value.strip()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _body(response: http.client.HTTPResponse, headers: Mapping[str, str]) -> bytes:
    if response.length is not None and response.length <= _MAX_BODY:
        return response.read()  # which raises when less comes
    if response.length is None and "content-length" in headers and not response.chunked:
        raise HTTPException(f"not a length: {headers['content-length']!r}")
    body = b"" if response.length else response.read(_MAX_BODY + 1)
    if response.length or len(body) > _MAX_BODY:
        raise HTTPException("the answer is too large")
    return body
