"""Transport for delivery: a socket and an HTTP parser, with nothing in between.

For a POST, httpx costs ten times as much and `http.client` twice as much CPU time. Special
cases (a proxy, credentials in the URL, a non-ASCII host name) use httpx.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Final
from urllib.parse import urlsplit

from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.http_connection import Connection
from pandaprobe_otel.transport.plain_socket import DEFAULT_PORTS, has_proxy, is_plain
from pandaprobe_otel.transport.request_outcome import (
    Answer,
    KeyedTransport,
    NoAnswer,
    NotHttpError,
    NotSentError,
    Outcome,
    Request,
    describe,
)
from pandaprobe_otel.transport.server_text import Redaction

try:
    import certifi
except ImportError:  # it comes with httpx; without it, the system's certificates are used
    certifi = None  # type: ignore[assignment]

import_module("encodings.idna")  # otherwise a handshake imports it

# The server closes idle connections after about 5 s (measured). Ours are closed earlier, because a request that is
# written into a closing connection has an unknown outcome.
_KEEPALIVE_EXPIRY_S: Final = 2.0
_CONNECT_TIMEOUT_S: Final = 10.0


def delivery_transport(endpoint: str, headers: Mapping[str, str]) -> KeyedTransport:
    """Return the cheapest transport that can reach the endpoint."""
    texts = (*headers, *headers.values())
    is_direct = is_plain(endpoint) and all(text.isascii() and text.isprintable() for text in texts) and not has_proxy()
    return SocketTransport(endpoint, headers) if is_direct else HttpTransport(endpoint, headers)


class SocketTransport:
    """Transport below one endpoint with fixed headers. Never raises or follows a redirect. Thread-safe."""

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        url = urlsplit(endpoint)
        self._host = (url.hostname or "").encode()
        self._port = url.port or DEFAULT_PORTS[url.scheme]
        self._is_tls = url.scheme == "https"
        self._prefix = url.path
        self._authority = url.netloc
        self._redaction = Redaction()
        self.use(headers)
        self._open: Callable[[float], Connection] | None = None
        self._idle: list[Connection] = []

    def use(self, headers: Mapping[str, str]) -> None:
        """Send these headers from now on."""
        told = {"Host": self._authority, "Accept": "*/*", "Accept-Encoding": "identity", **headers}
        told["Content-Type"] = "application/json"
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        self._redaction.learn(headers)

    def send(self, request: Request) -> Outcome:
        """Send one request; return an `Answer` for any status, and a `NoAnswer` in all other cases."""
        return self._redaction.applied_to(self._send(request))

    def _send(self, request: Request) -> Outcome:
        deadline = time.monotonic() + request.timeout_s
        try:
            connection = self._reused() or self._connected(min(request.timeout_s, _CONNECT_TIMEOUT_S))
        except (OSError, ValueError) as error:
            return NoAnswer(reason=describe(error), may_have_arrived=False)
        left_s = request.time_left_s()
        if left_s <= 0:
            self._idle.append(connection)
            return NoAnswer(reason="too late to be sent", may_have_arrived=False, is_late=True)
        body = request.body or b""
        length = "" if request.body is None else f"Content-Length: {len(body)}\r\n"
        head = f"{request.method} {self._prefix}{request.path} HTTP/1.1\r\n{self._headers}{length}\r\n"
        deadline = min(deadline, time.monotonic() + left_s)
        outcome: Outcome
        try:
            outcome = connection.exchange(head.encode("latin-1"), body, deadline, request.most_read)
        except NotSentError as error:
            outcome = NoAnswer(reason=describe(error.__cause__ or error), may_have_arrived=False)
        except (OSError, NotHttpError, ValueError) as error:
            outcome = NoAnswer(reason=describe(error), may_have_arrived=True)
        # Another answer may have been written before the request was read, and so be followed by the request's own.
        if isinstance(outcome, Answer) and connection.is_reusable and 200 <= outcome.status < 300:
            self._idle.append(connection)
        else:
            connection.hang_up()
        return outcome

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        with suppress(IndexError):  # other threads take connections at the same time
            while True:
                self._idle.pop().hang_up()

    def reset_after_fork(self) -> None:
        """Close the descriptors in a forked child. The parent's connections stay open, because this sends nothing."""
        self.close()

    def _reused(self) -> Connection | None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            is_fresh = time.monotonic() - connection.idle_since < _KEEPALIVE_EXPIRY_S
            if is_fresh and connection.is_intact and not connection.is_readable(0.0):
                return connection
            connection.hang_up()

    def _connected(self, timeout_s: float) -> Connection:
        if self._open is None:
            tls = _tls(self._host.decode()) if self._is_tls else None
            self._open = partial(Connection.open, self._host, self._port, tls)
        return self._open(timeout_s)


def _tls(host: str) -> Callable[[socket.socket], ssl.SSLSocket]:
    """Return a TLS wrapper that verifies as httpx does: with SSL_CERT_FILE or SSL_CERT_DIR, else with certifi."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not folder:
        file = None if certifi is None else certifi.where()
    context = ssl.create_default_context(cafile=file or None, capath=folder or None)
    context.set_alpn_protocols(["http/1.1"])
    return lambda connection: context.wrap_socket(connection, server_hostname=host)
