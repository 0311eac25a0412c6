"""The transport of the delivery: a socket to the server, and nothing in between.

One deadline bounds a whole exchange: the timeouts of httpx are for single reads, so that an answer that trickles in
byte by byte would hold a sender for ever. And a POST costs 30 us of CPU this way, 80 us by way of http.client and
290 us by way of httpx (measured on loopback), and nothing has to be imported for it: 28 ms less than httpx. What is
not plain (a proxy, credentials in the URL, a host name beyond ASCII) goes by httpx.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pandaprobe_otel.forks import loading
from pandaprobe_otel.transport.failures import describe
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.messages import KeyedTransport, NoAnswer, Outcome, Request
from pandaprobe_otel.transport.wire import NotHttp, NotSent, Wire

if TYPE_CHECKING:
    import ssl

# The server closes idle connections after about 5 s (measured): drop ours first, so that a request is not written
# into a connection that is closing, which would leave its outcome unknown.
_KEEPALIVE_EXPIRY_S: Final = 2.0
_CONNECT_TIMEOUT_S: Final = 10.0
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def delivery_transport(endpoint: str, headers: Mapping[str, str]) -> KeyedTransport:
    """The cheapest transport that can reach the endpoint."""
    return DirectTransport(endpoint, headers) if is_direct(endpoint, headers) else HttpTransport(endpoint, headers)


def is_direct(endpoint: str, headers: Mapping[str, str]) -> bool:
    """Whether requests need nothing but a socket."""
    try:
        url = urlsplit(endpoint)
        port = url.port
    except ValueError:
        return False
    is_plain = url.scheme in _DEFAULT_PORTS and bool(url.hostname) and port != 0 and "@" not in url.netloc
    texts = (endpoint, *headers, *headers.values())
    return is_plain and all(text.isascii() and text.isprintable() for text in texts) and not _has_proxy()


def _has_proxy() -> bool:
    """Whether the environment, or the system where it has such a setting, may name a proxy."""
    if sys.platform in ("win32", "darwin"):
        from urllib.request import getproxies

        return bool(getproxies())
    return any(
        value and name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name, value in os.environ.items()
    )


class DirectTransport:
    """Sends requests below one endpoint with fixed headers. Never raises, never follows a redirect. Thread-safe."""

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        url = urlsplit(endpoint)
        self._host = (url.hostname or "").encode()
        self._port = url.port or _DEFAULT_PORTS[url.scheme]
        self._is_tls = url.scheme == "https"
        self._prefix = url.path
        self._authority = url.netloc
        self.use(headers)
        self._tls: Callable[[socket.socket], ssl.SSLSocket] | None = None
        self._idle: list[Wire] = []

    def use(self, headers: Mapping[str, str]) -> None:
        """Send these headers from now on."""
        self._fixed = _fixed_headers(self._authority, headers)

    def send(self, request: Request) -> Outcome:
        """Send one request; an answer of any status is an `Answer`, everything else a `NoAnswer`."""
        deadline = time.monotonic() + request.timeout_s
        body = request.body or b""
        head = f"{request.method} {self._prefix}{request.path} HTTP/1.1\r\n{self._fixed}"
        if request.body is not None:
            head += f"Content-Length: {len(body)}\r\n"
        try:
            wire = self._reused() or self._connected(min(request.timeout_s, _CONNECT_TIMEOUT_S))
        except (OSError, ValueError) as error:
            return NoAnswer(reason=describe(error), may_have_arrived=False)
        try:
            answer = wire.exchange(f"{head}\r\n".encode("latin-1"), body, deadline)
        except NotSent as error:
            wire.close()
            return NoAnswer(reason=str(error), may_have_arrived=False)
        except (OSError, NotHttp, ValueError) as error:
            wire.close()
            return NoAnswer(reason=describe(error), may_have_arrived=True)
        if wire.reusable:
            wire.idle_since = time.monotonic()
            self._idle.append(wire)
        else:
            wire.close()
        return answer

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        while self._idle:
            self._idle.pop().close()

    def reset_after_fork(self) -> None:
        """In a forked child: give up the descriptors; the parent's connections stay open, since nothing is said."""
        self.close()

    def _reused(self) -> Wire | None:
        while self._idle:
            try:
                wire = self._idle.pop()
            except IndexError:  # another thread was faster
                return None
            if time.monotonic() - wire.idle_since < _KEEPALIVE_EXPIRY_S and not wire.is_stale:
                return wire
            wire.close()
        return None

    def _connected(self, timeout_s: float) -> Wire:
        if self._is_tls and self._tls is None:
            with loading():
                self._tls = _tls(self._host.decode())
        return Wire.connect(self._host, self._port, self._tls, timeout_s)


def _fixed_headers(authority: str, headers: Mapping[str, str]) -> str:
    all_headers = {
        "Host": authority,
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        **headers,
        "Content-Type": "application/json",
    }
    return "".join(f"{name}: {value}\r\n" for name, value in all_headers.items())


def _tls(host: str) -> Callable[[socket.socket], ssl.SSLSocket]:
    """Verifies as httpx does: certifi's authorities, or those that SSL_CERT_FILE or SSL_CERT_DIR name."""
    import ssl

    import_module("encodings.idna")  # a handshake would import it
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not folder:
        with suppress(ImportError):  # it comes with httpx; the system's own authorities are the next best
            import certifi

            file = certifi.where()
    context = ssl.create_default_context(cafile=file or None, capath=folder or None)
    context.set_alpn_protocols(["http/1.1"])
    return lambda connection: context.wrap_socket(connection, server_hostname=host)
