"""One connection that speaks HTTP/1.1: each exchange under one deadline, no answer without bound.

Timeouts of sockets and of HTTP libraries are for single reads, so an answer that trickles in byte by byte would hold a
sender for ever. Here every read and write is given what is left of the exchange's own time. Answers are parsed by
httptools (Node's parser): a tenth of the time that `http.client` takes, whose parser is that of e-mail.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from pandaprobe_otel.transport.messages import LARGEST_BODY, Answer

_MAX_HEAD: Final = 1 << 20
_AT_ONCE: Final = 64 << 10
_JOINED_BELOW: Final = 128 << 10
"""Bytes of a request whose body is copied behind its head, so that one packet may carry both."""
_EARLY_ANSWER_S: Final = 1.0
"""A server that stopped reading has its answer on the way, if it gives one."""


class NotSentError(Exception):
    """The request did not leave as a whole, so the server cannot have acted on it."""


class NotHttpError(Exception):
    """The server sent no answer, or one without end."""


class Connection:
    """Carries one exchange at a time; unusable after any exception."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._deadline = 0.0
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
        self._socket.close()

    @property
    def is_stale(self) -> bool:
        """Whether the other side has closed the idle connection, or says something unasked."""
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            return bool(poll.poll(0))
        return bool(select.select([self._socket], [], [], 0)[0])

    def exchange(self, head: bytes, body: bytes, deadline: float, most_read: int | None = None) -> Answer:
        """Send a request and read its answer, or its first bytes, before the deadline (of `time.monotonic`).

        `NotSentError` when it did not go out whole; OSError (`TimeoutError` included) or `NotHttpError` when it did,
        but no answer came.
        """
        self._deadline = deadline
        try:
            for part in (head + body,) if len(body) < _JOINED_BELOW else (head, body):
                self._write(part)
        except TimeoutError as error:
            raise NotSentError from error
        except OSError as error:
            return self._early_answer(error, most_read)
        return self._answer(most_read)

    def _early_answer(self, error: OSError, most_read: int | None) -> Answer:
        """A server may refuse a request (too large, say) and hang up before it has read all of it."""
        self._deadline = min(self._deadline, time.monotonic() + _EARLY_ANSWER_S)
        try:
            answer = self._answer(most_read)
        except (OSError, NotHttpError):
            raise NotSentError from error
        self.is_reusable = False
        return answer

    def _answer(self, most_read: int | None) -> Answer:
        reading = _Reading(most_read)
        while not reading.is_complete:
            self._limit_time()
            data = self._socket.recv(_AT_ONCE)
            if not data:
                self.is_reusable = False
                reading.end()
                break
            reading.feed(data)
        self.is_reusable = self.is_reusable and reading.may_go_on
        return Answer(status=reading.status, body=b"".join(reading.body), headers=reading.headers)

    def _write(self, data: bytes) -> None:
        """Write all of it before the deadline: `sendall` of a TLS socket would allow as long for each part."""
        rest = memoryview(data)
        while rest:
            self._limit_time()
            rest = rest[self._socket.send(rest) :]

    def _limit_time(self) -> None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(remaining)


class _Reading:
    """An answer that is being read; its methods that begin with `on_` are called by the parser."""

    def __init__(self, most_read: int | None) -> None:
        self._most_read = most_read
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []
        self.is_complete = False
        self.may_go_on = True
        """Whether the connection may carry another exchange, once the answer is complete."""
        self._has_head = False
        self._head_bytes = self._body_bytes = 0
        self._parser = HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Read on. Raises NotHttpError."""
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as error:
            raise NotHttpError("the server speaks another protocol") from error
        except HttpParserError as error:
            if not self.is_complete:  # behind the answer anything may come: the connection is given up
                raise NotHttpError(f"not an HTTP answer: {error}") from error
            self.may_go_on = False
        if self._head_bytes > _MAX_HEAD + _AT_ONCE or self._body_bytes > LARGEST_BODY:
            raise NotHttpError("the answer is too large")

    def end(self) -> None:
        """The connection was closed, which ends an answer that has no other end."""
        if not self._has_head or "content-length" in self.headers or "transfer-encoding" in self.headers:
            raise NotHttpError("the connection was closed before the end of the answer")
        self.is_complete = True

    def on_message_begin(self) -> None:
        """Another answer, which nobody has asked for, or the one behind an interim answer."""
        if self.is_complete:
            self.may_go_on = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if not self.is_complete:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        """Of an interim answer (1xx), or of the one that counts."""
        status = self._parser.get_status_code()
        if self.is_complete:
            return
        if status < 200:
            self.headers = {}
        else:
            self.status, self._has_head = status, True
            self.may_go_on = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if not self.is_complete:
            self.body.append(data)
            self._body_bytes += len(data)
            if self._most_read is not None and self._body_bytes >= self._most_read:
                self.is_complete, self.may_go_on = True, False  # what follows is left to whoever sends it

    def on_message_complete(self) -> None:
        """The end of an interim answer, or of the one that counts."""
        self.is_complete = self._has_head
