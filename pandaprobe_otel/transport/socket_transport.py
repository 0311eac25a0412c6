"""Transport for delivery: a socket and an HTTP parser, with nothing in between.

For a POST, httpx costs ten times as much and `http.client` twice as much CPU time; httptools (Node's parser) takes a
tenth of the time of `http.client`, which uses the parser for e-mail. Special cases (a proxy, credentials in the URL, a
non-ASCII host name) use httpx.

Each exchange has one deadline, and answers have a bound. Timeouts of sockets and HTTP libraries apply to single reads,
so an answer that trickles in byte by byte would hold a sender for ever. Here, every read and write gets the time that
the exchange has left.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Final, Literal, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from pandaprobe_otel.config.parsers import read_key
from pandaprobe_otel.process.background import Descriptor
from pandaprobe_otel.process.forks import loading
from pandaprobe_otel.process.guard import ask, failed
from pandaprobe_otel.transport.outcome import (
    LARGEST_BODY,
    PROJECT_HEADER,
    Answer,
    KeyedTransport,
    NoAnswer,
    NotHttpError,
    NotSentError,
    Outcome,
    Redaction,
    Request,
    VerdictKind,
    api_key_headers,
    describe,
    judge,
)

try:
    import certifi
except ImportError:  # it comes with httpx; without it, the system's certificates are used
    certifi = None  # type: ignore[assignment]

import_module("encodings.idna")  # otherwise a handshake imports it

# The server closes idle connections after about 5 s (measured). Ours are closed earlier, because a request that is
# written into a closing connection has an unknown outcome.
_KEEPALIVE_EXPIRY_S: Final = 2.0
_CONNECT_TIMEOUT_S: Final = 10.0
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_MAX_HEAD: Final = 1 << 20
_Given = TypeVar("_Given")
_Done = TypeVar("_Done")
_Event: TypeAlias = Literal["POLLIN", "POLLOUT"]

_AT_ONCE: Final = 16 << 10
"""Bytes read at once."""
_JOINED_BELOW: Final = 128 << 10
"""Size in bytes below which a body is copied behind its head, so that one packet may carry both."""
_CLOSED: Final = "the app has closed the connection"
_EARLY_ANSWER_S: Final = 1.0
"""Time to wait for a server that has stopped reading: if it answers at all, its answer is already under way."""


def delivery_transport(endpoint: str, headers: Mapping[str, str]) -> KeyedTransport:
    """Return the cheapest transport that can reach the endpoint."""
    texts = (*headers, *headers.values())
    if is_plain(endpoint) and all(text.isascii() and text.isprintable() for text in texts) and not _has_proxy():
        return SocketTransport(endpoint, headers)
    with loading():
        from pandaprobe_otel.transport.http import HttpTransport
    return HttpTransport(endpoint, headers)


def _has_proxy() -> bool:
    """Return whether the environment, or the settings of Windows or macOS, may name a proxy."""
    if sys.platform in ("win32", "darwin"):
        from urllib.request import getproxies

        return bool(getproxies())
    return any(
        value and name.lower() in ("http_proxy", "https_proxy", "all_proxy") for name, value in os.environ.items()
    )


def is_plain(endpoint: str) -> bool:
    """Return whether an endpoint is a plain address, without credentials."""
    try:
        url = urlsplit(endpoint)
        port = url.port
    except ValueError:
        return False
    is_ascii = endpoint.isascii() and endpoint.isprintable()
    return is_ascii and url.scheme in _DEFAULT_PORTS and bool(url.hostname) and port != 0 and "@" not in url.netloc


class SocketTransport:
    """Transport below one endpoint with fixed headers. Never raises or follows a redirect. Thread-safe."""

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        url = urlsplit(endpoint)
        self._host = (url.hostname or "").encode()
        self._port = url.port or _DEFAULT_PORTS[url.scheme]
        self._is_tls = url.scheme == "https"
        self._prefix = url.path
        self._authority = url.netloc
        self._redaction = Redaction()
        self.use(headers)
        self._open: Callable[[float], Connection] | None = None
        self._idle: list[Connection] = []

    def use(self, headers: Mapping[str, str]) -> None:
        """Send these headers from now on."""
        every = {"Host": self._authority, "Accept": "*/*", "Accept-Encoding": "identity", **headers}
        every["Content-Type"] = "application/json"
        project = every.pop(PROJECT_HEADER, None)
        self._project = "" if project is None else f"{PROJECT_HEADER}: {project}\r\n"
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in every.items())
        self._redaction.learn(headers)

    def send(self, request: Request) -> Outcome:
        """Send one request; return an `Answer` for any status, and a `NoAnswer` in all other cases."""
        deadline = time.monotonic() + request.timeout_s
        try:
            connection = self._reused() or self._connected(min(request.timeout_s, _CONNECT_TIMEOUT_S))
        except (OSError, ValueError) as error:
            return self._no_answer(error, may_have_arrived=False)
        left_s = request.time_left_s()
        if left_s <= 0:
            self._idle.append(connection)
            return NoAnswer(reason="too late to be sent", may_have_arrived=False, is_late=True)
        body = request.body or b""
        length = "" if request.body is None else f"Content-Length: {len(body)}\r\n"
        project = f"{PROJECT_HEADER}: {request.project}\r\n" if request.project else self._project
        head = f"{request.method} {self._prefix}{request.path} HTTP/1.1\r\n{self._headers}{project}{length}\r\n"
        deadline = min(deadline, time.monotonic() + left_s)
        try:
            answer = connection.exchange(head.encode("latin-1"), body, deadline, request.most_read)
        except NotSentError as error:
            connection.hang_up()
            return self._no_answer(error.__cause__ or error, may_have_arrived=False)
        except (OSError, NotHttpError, ValueError) as error:
            connection.hang_up()
            return self._no_answer(error, may_have_arrived=True)
        # Another answer may have been written before the request was read, and so be followed by the request's own.
        if connection.is_reusable and 200 <= answer.status < 300:
            self._idle.append(connection)
        else:
            connection.hang_up()
        return answer if answer.is_success else self._redaction.applied_to(answer)

    def _no_answer(self, error: BaseException, *, may_have_arrived: bool) -> Outcome:
        return self._redaction.applied_to(NoAnswer(reason=describe(error), may_have_arrived=may_have_arrived))

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
            if is_fresh and connection.descriptor.is_intact and not connection.is_readable(0.0):
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


class Connection:
    """Connection for one exchange at a time; unusable after any exception.

    The socket never blocks. Each exchange waits for it with the time that is left, which takes seven system calls for a
    request, of which three check that the app has not closed the descriptor; a socket with a timeout alone takes seven
    (measured with strace).
    """

    def __init__(self, connected: socket.socket, descriptor: Descriptor) -> None:
        connected.setblocking(False)
        self._socket = connected
        self.descriptor = descriptor
        """Number of the socket, which the app may have closed."""
        self.is_readable = _poll(connected, "POLLIN")
        """Function that waits some milliseconds for data or a hang-up. An idle connection with either is stale."""
        self._pending: Callable[[], int] | None = getattr(connected, "pending", None)
        """Number of bytes that a TLS socket has read ahead."""
        self._needs_read: tuple[type[OSError], ...] = ()
        self._needs_write: tuple[type[OSError], ...] = ()
        if self._pending is not None:
            self._needs_read, self._needs_write = (ssl.SSLWantReadError,), (ssl.SSLWantWriteError,)
        self._parser = HttpResponseParser(self)  # calls the `on_` methods; one for each connection, as it refers to it
        self._deadline = 0.0
        self._most_read: int | None = None
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._is_complete = self._has_head = False
        self._head_bytes = self._body_bytes = 0
        self.is_reusable = True
        """True if the connection may carry another request."""
        self.idle_since = time.monotonic()

    @classmethod
    def open(
        cls, host: bytes, port: int, tls: Callable[[socket.socket], socket.socket] | None, timeout_s: float
    ) -> Connection:
        """Connect, through `tls` if it is given. Raises OSError, also for TLS failures."""
        connected, descriptor = _connected(host, port, timeout_s)
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return cls(connected if tls is None else tls(connected), descriptor)
        except BaseException:
            _close(connected, descriptor)
            raise

    def hang_up(self) -> None:
        """Close the socket without notifying the other side. A number that the app has closed stays the app's."""
        _close(self._socket, self.descriptor)

    def exchange(self, head: bytes, body: bytes, deadline: float, most_read: int | None = None) -> Answer:
        """Send a request and read its answer, or its first bytes, before the deadline (of `time.monotonic`).

        Raises `NotSentError` if the request was not sent completely, and OSError (including `TimeoutError`) or
        `NotHttpError` if it was sent but no answer came.
        """
        self._deadline, self._most_read = deadline, most_read
        parts = [head + body] if len(body) < _JOINED_BELOW else [body, head]
        try:
            while parts:
                rest = memoryview(parts.pop())
                while rest:
                    rest = rest[self._attempt(self._socket.send, rest, "POLLOUT", waits=False) :]
            rest = memoryview(b"")  # even an empty rest would keep the data while the answer is awaited
        except TimeoutError as error:
            raise NotSentError from error
        except OSError as error:  # a server may refuse a request, such as a too large one, before it has read it all
            self._deadline = min(deadline, time.monotonic() + _EARLY_ANSWER_S)
            try:
                answer = self._answer()
            except (OSError, NotHttpError):
                raise NotSentError from error
            self.is_reusable = False
            return answer
        return self._answer()

    def _answer(self) -> Answer:
        self._status, self._headers, self._body = 0, {}, []
        self._is_complete = self._has_head = False
        self._head_bytes = self._body_bytes = 0
        while not self._is_complete:
            has_read_ahead = self._pending is not None and self._pending() > 0
            data = self._attempt(self._socket.recv, _AT_ONCE, "POLLIN", waits=not has_read_ahead)
            if not data:  # which completes an answer that declares no length
                self.is_reusable = False
                if not self._has_head or not self._headers.keys().isdisjoint(("content-length", "transfer-encoding")):
                    raise NotHttpError("the connection was closed before the end of the answer")
                break
            if not self._has_head:
                self._head_bytes += len(data)
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade as error:
                raise NotHttpError("the server switched to a protocol other than HTTP") from error
            except HttpParserError as error:
                if not self._is_complete:  # data after the answer is ignored, but the connection is not reused
                    raise NotHttpError(f"not an HTTP answer: {error}") from error
                self.is_reusable = False
            if self._head_bytes > _MAX_HEAD + _AT_ONCE or self._body_bytes > LARGEST_BODY:
                raise NotHttpError("the answer is too large")
        self.idle_since = time.monotonic()
        body, self._body = b"".join(self._body), []  # while the connection is idle, it holds no answer
        return Answer(status=self._status, body=body, headers=self._headers)

    def on_message_begin(self) -> None:
        """Note an unrequested second answer. After an interim answer, another message is expected."""
        if self._is_complete:
            self.is_reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add one header."""
        if not self._is_complete:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
            self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """Discard the headers of an interim answer (1xx), or keep the status of the final one."""
        if self._is_complete:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._headers = {}
        else:
            self._status, self._has_head = status, True
            self.is_reusable = self.is_reusable and self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """Add a piece of the body."""
        if not self._is_complete:
            self._body.append(data)
            self._body_bytes += len(data)
            if self._most_read is not None and self._body_bytes >= self._most_read:
                self._is_complete, self.is_reusable = True, False  # the rest is not read

    def on_message_complete(self) -> None:
        """Mark the answer as complete, unless it is only an interim one."""
        self._is_complete = self._has_head

    def _attempt(self, operation: Callable[[_Given], _Done], argument: _Given, event: _Event, *, waits: bool) -> _Done:
        """Call an operation of the socket, after the event if it `waits`, and again whenever it would have to wait."""
        awaited = event if waits else None
        while True:
            if awaited is not None:
                remaining = self._deadline - time.monotonic()
                happens = self.is_readable if awaited == "POLLIN" else _poll(self._socket, awaited)
                if remaining <= 0 or not happens(remaining * 1000):
                    raise TimeoutError("timed out")
            if not self.descriptor.is_intact:
                raise OSError(errno.EBADF, _CLOSED)
            try:
                return operation(argument)
            except BlockingIOError:
                awaited = event
            except self._needs_read:
                awaited = "POLLIN"
            except self._needs_write:
                awaited = "POLLOUT"


def _connected(host: bytes, port: int, timeout_s: float) -> tuple[socket.socket, Descriptor]:
    """Connect as `socket.create_connection` does; return the socket, and its descriptor as it was before the wait.

    While this thread waits, the app may close the number and open a file with it.
    """
    failure: OSError | None = None
    # A `str` name would need a codec that has to be imported; bytes are used as they are.
    for family, kind, protocol, _, address in socket.getaddrinfo(cast("str", host), port, type=socket.SOCK_STREAM):
        try:
            connected = socket.socket(family, kind, protocol)
        except OSError as error:
            failure = error
            continue
        descriptor = Descriptor(connected.fileno())
        try:
            connected.settimeout(timeout_s)
            connected.connect(address)
            if descriptor.is_intact:
                return connected, descriptor
            failure = OSError(errno.EBADF, _CLOSED)
        except OSError as error:
            failure = error
        except BaseException:
            _close(connected, descriptor)
            raise
        _close(connected, descriptor)
    try:
        raise failure or OSError("the host has no address")
    finally:
        failure = None  # its traceback refers to this frame


def _close(connected: socket.socket, descriptor: Descriptor) -> None:
    if descriptor.is_intact:
        connected.close()
    else:
        connected.detach()


def _poll(connected: socket.socket, event: _Event) -> Callable[[float], object]:
    """Return a function that waits some milliseconds for an event, or an error, of a socket.

    Its result is empty or False if there was none.
    """
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(connected, getattr(select, event))
        return poll.poll
    reading, writing = ([connected], []) if event == "POLLIN" else ([], [connected])
    return lambda timeout_ms: any(select.select(reading, writing, [], timeout_ms / 1000))


_ASK_AGAIN = (VerdictKind.AUTH, VerdictKind.QUOTA)
"""The key is refused, or its plan is used up; another key may work."""


class KeyFunctionTransport:
    """Transport that asks for the key before the first request, and after each answer that a new key could change.

    Only sender threads ask, one at a time and at the pace of their retries. The app's function may block them. Its
    exceptions are counted and logged; the request then waits, or is sent with the last known key. Thread-safe.
    """

    def __init__(self, inner: KeyedTransport, *, ask: Callable[[], str], project_name: str) -> None:
        self._inner = inner
        self._ask = ask
        self._project_name = project_name
        self._lock = threading.Lock()
        self._key: str | None = None
        self._is_stale = True

    def send(self, request: Request) -> Outcome:
        """Send one request with the newest key."""
        if self._is_stale and not self._renew():
            return NoAnswer(reason="the function that gives the API key failed", may_have_arrived=False)
        outcome = self._inner.send(request)
        if judge(outcome).kind in _ASK_AGAIN:
            self._is_stale = True
        return outcome

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()

    def reset_after_fork(self) -> None:
        """Replace the lock in a forked child, because a thread of the parent may have held the old one."""
        self._lock = threading.Lock()
        self._inner.reset_after_fork()

    def _renew(self) -> bool:
        """Ask for the key; return True if one is known."""
        with self._lock:
            if not self._is_stale:
                return True  # another thread has asked in the meantime
            try:
                key = read_key(ask(self._ask))
            except Exception as error:  # noqa: BLE001 - the app's function ran; counted and logged
                failed("api_key", error)
                return self._key is not None
            if key != self._key:
                self._inner.use(api_key_headers(key, self._project_name))
                self._key = key
            self._is_stale = False
            return True
