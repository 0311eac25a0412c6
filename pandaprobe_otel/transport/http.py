"""Transports with httpx, for threads and for asyncio.

Importing this module imports httpx and everything else that a request needs, so only the transports' users load it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import weakref
from collections.abc import Mapping
from contextvars import ContextVar
from importlib import import_module
from typing import TYPE_CHECKING, Final

from opentelemetry.instrumentation.utils import suppress_instrumentation

from pandaprobe_otel.transport.outcome import (
    LARGEST_BODY,
    PROJECT_HEADER,
    Answer,
    NoAnswer,
    Outcome,
    Redaction,
    Request,
    describe,
)

# The server closes idle connections after about 5 s (measured). Ours expire earlier, because a request that is written
# into a closing connection has an unknown outcome.
_KEEPALIVE_EXPIRY_S: Final = 2.0
_CONNECT_TIMEOUT_S: Final = 10.0
_missing: NoAnswer | None = None
"""Outcome of every request if httpx is missing: an app may have only httpx2."""
_failures: tuple[type[Exception], ...] = ()
"""Exceptions of httpx when no answer comes, or when it cannot use SSL_CERT_FILE or a proxy variable (an unknown scheme,
or SOCKS without its package)."""
_never_arrived: tuple[type[Exception], ...] = ()
"""Those after which the request was not sent, or not to its end, so the server cannot have acted on it."""
if TYPE_CHECKING:
    import httpx
else:
    try:
        import httpx

        for _name in ("httpcore", "encodings.idna"):  # otherwise the first client and its requests import them
            import_module(_name)
    except ImportError as error:
        _missing = NoAnswer(reason=describe(error), may_have_arrived=False)
if _missing is None:
    _failures = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RuntimeError, ImportError)
    _never_arrived = (
        *(httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout),
        *(httpx.ProxyError, httpx.WriteError, httpx.WriteTimeout),
    )
_abandoned: list[object] = []
"""Clients of a parent process, kept unused: closing them would write into the parent's TLS streams."""


class HttpTransport:
    """Transport below one endpoint with fixed headers. Never raises or follows a redirect.

    A redirect would send the key to an unknown server.
    """

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._redaction = Redaction()
        self.use(headers)
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def use(self, headers: Mapping[str, str]) -> None:
        """Send these headers from now on."""
        self._headers = {**headers, "Content-Type": "application/json"}
        self._redaction.learn(headers)

    def send(self, request: Request) -> Outcome:
        """Send one request; return an `Answer` for any status, and a `NoAnswer` in all other cases."""
        return _missing or self._redaction.applied_to(self._send(request))

    def _send(self, request: Request) -> Outcome:
        deadline = time.monotonic() + request.timeout_s

        def step(event: str, info: object) -> None:
            """Raise before the headers are sent if no time is left; httpcore calls this."""
            if event.endswith("send_request_headers.started") and request.time_left_s() <= 0:
                raise _TooLateError

        try:
            with _Quiet():
                exchange = self._connected().stream(
                    request.method,
                    self._endpoint + request.path,
                    content=request.body,
                    headers=self._headers | ({PROJECT_HEADER: request.project} if request.project else {}),
                    timeout=_timeout(request),
                    extensions={"trace": step},
                )
                with exchange as response:
                    body = bytearray()
                    for piece in response.iter_bytes():
                        body += piece
                        if _is_enough(body, request, deadline):
                            break
                    return _answer(response, body)
        except _TooLateError:
            return NoAnswer(reason="too late to be sent", may_have_arrived=False, is_late=True)
        except _failures as error:
            return _no_answer(error)

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            with _Quiet():
                client.close()

    def reset_after_fork(self) -> None:
        """Leave the parent's connections alone in a forked child."""
        self._lock = threading.Lock()
        if self._client is not None:
            _abandoned.append(self._client)
            self._client = None

    def _connected(self) -> httpx.Client:
        """Return the client. Before version 0.28, httpx logs that it loads certificates: call this under `_Quiet`."""
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(follow_redirects=False, limits=_limits())
            return self._client


class AsyncHttpTransport:
    """Transport for asyncio, below one endpoint with fixed headers. Never raises or follows a redirect.

    Connections belong to the event loop and the process that opened them. Another loop (a second `asyncio.run`) or a
    forked child opens new ones and leaves the old ones alone.
    """

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = {**headers, "Content-Type": "application/json"}
        self._redaction = Redaction()
        self._redaction.learn(headers)
        self._client: httpx.AsyncClient | None = None
        self._home: tuple[weakref.ref[asyncio.AbstractEventLoop], int] | None = None

    async def send(self, request: Request) -> Outcome:
        """Send one request; return an `Answer` for any status, and a `NoAnswer` in all other cases."""
        return _missing or self._redaction.applied_to(await self._send(request))

    async def _send(self, request: Request) -> Outcome:
        deadline = time.monotonic() + request.timeout_s
        try:
            with _Quiet():
                exchange = self._connected().stream(
                    request.method,
                    self._endpoint + request.path,
                    content=request.body,
                    timeout=_timeout(request),
                )
                async with exchange as response:
                    body = bytearray()
                    async for piece in response.aiter_bytes():
                        body += piece
                        if _is_enough(body, request, deadline):
                            break
                    return _answer(response, body)
        except _failures as error:
            return _no_answer(error)

    async def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        client, self._client = self._client, None
        if client is not None and self._is_at_home():
            with _Quiet():
                await client.aclose()

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None or not self._is_at_home():
            self._home = (weakref.ref(asyncio.get_running_loop()), os.getpid())
            self._client = httpx.AsyncClient(headers=self._headers, follow_redirects=False, limits=_limits())
        return self._client

    def _is_at_home(self) -> bool:
        return self._home is not None and self._home[0]() is asyncio.get_running_loop() and self._home[1] == os.getpid()


class _TooLateError(Exception):
    """The token that allowed the request had expired by the time a connection was ready."""


def _is_enough(body: bytearray, request: Request, deadline: float) -> bool:
    """Return whether `most_read` bytes are read. Raises after the deadline: httpx limits the time of a read alone."""
    if request.most_read is not None and len(body) >= request.most_read:
        return True
    if len(body) > LARGEST_BODY:
        raise httpx.ReadError("the answer is too large")
    if time.monotonic() > deadline:
        raise httpx.ReadTimeout("timed out")
    return False


def _timeout(request: Request) -> httpx.Timeout:
    return httpx.Timeout(request.timeout_s, connect=min(_CONNECT_TIMEOUT_S, request.timeout_s))


def _limits() -> httpx.Limits:
    return httpx.Limits(max_connections=8, keepalive_expiry=_KEEPALIVE_EXPIRY_S)


def _answer(response: httpx.Response, body: bytearray) -> Answer:
    return Answer(status=response.status_code, body=bytes(body), headers=dict(response.headers))


def _no_answer(error: Exception) -> NoAnswer:
    arrived = isinstance(error, httpx.HTTPError) and not isinstance(error, _never_arrived)
    return NoAnswer(reason=describe(error), may_have_arrived=arrived)


class _Quiet:
    """Context that suppresses spans and log lines of our own requests, even if the app instruments or logs httpx."""

    __slots__ = ("_suppression", "_token")

    def __enter__(self) -> None:
        self._token = _ours.set(True)
        self._suppression = suppress_instrumentation()
        self._suppression.__enter__()

    def __exit__(self, *exception: object) -> None:
        self._suppression.__exit__(None, None, None)
        _ours.reset(self._token)


# A context variable, not a thread-local: while one task of a loop waits for its answer, other tasks share its thread.
_ours: ContextVar[bool] = ContextVar("pandaprobe_request", default=False)


for _name in ("httpx", "httpcore.connection", "httpcore.http11"):
    logging.getLogger(_name).addFilter(lambda _: not _ours.get())
