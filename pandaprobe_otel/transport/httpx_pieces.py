"""What the synchronous and the asynchronous transport share: how httpx's results become ours, and silence.

Imports httpx, so it is loaded with the first request only.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Final

import httpx

from pandaprobe_otel.transport.failures import describe
from pandaprobe_otel.transport.messages import Answer, NoAnswer, Request

# The server closes idle connections after about 5 s (measured): expire ours first, so that a request is not
# written into a connection that is closing, which would leave its outcome unknown.
_KEEPALIVE_EXPIRY_S: Final = 2.0
_CONNECT_TIMEOUT_S: Final = 10.0
_MAX_CONNECTIONS: Final = 8

FAILURES: Final = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RuntimeError, ImportError)
"""All that httpx raises when no answer comes, or when it cannot use a proxy's variable (a scheme that it does not
know, SOCKS without the package for it) or SSL_CERT_FILE."""

# Nothing was sent, or not the end of the body, without which the server cannot act on it.
_NEVER_ARRIVED: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.WriteError,
    httpx.WriteTimeout,
)


def limits() -> httpx.Limits:
    """Connections of one client."""
    return httpx.Limits(max_connections=_MAX_CONNECTIONS, keepalive_expiry=_KEEPALIVE_EXPIRY_S)


def timeout(request: Request) -> httpx.Timeout:
    """The request's own timeout; connecting never takes longer than ten seconds of it."""
    return httpx.Timeout(request.timeout_s, connect=min(_CONNECT_TIMEOUT_S, request.timeout_s))


def answer_of(response: httpx.Response, body: bytes) -> Answer:
    """The answer in our own terms."""
    return Answer(status=response.status_code, body=body, headers=dict(response.headers))


def no_answer(error: Exception) -> NoAnswer:
    """What one of `FAILURES` says about the request."""
    arrived = isinstance(error, httpx.HTTPError) and not isinstance(error, _NEVER_ARRIVED)
    return NoAnswer(reason=describe(error), may_have_arrived=arrived)


class Quiet:
    """No span and no log line about our own requests, also when the app has httpx instrumented or logs at INFO."""

    __slots__ = ("_suppression", "_token")

    def __enter__(self) -> None:
        from opentelemetry.instrumentation.utils import suppress_instrumentation

        _silence_httpx_log()
        self._token = _ours.set(True)
        self._suppression = suppress_instrumentation()
        self._suppression.__enter__()

    def __exit__(self, *exception: object) -> None:
        self._suppression.__exit__(None, None, None)
        _ours.reset(self._token)


# A context variable and not a thread-local: while one task of a loop waits for its answer, others run in its thread.
_ours: ContextVar[bool] = ContextVar("pandaprobe_request", default=False)


class _NotOurs(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _ours.get()


_filters: list[_NotOurs] = []


def _silence_httpx_log() -> None:
    if not _filters:
        _filters.append(_NotOurs())
        for name in ("httpx", "httpcore.connection", "httpcore.http11"):
            logging.getLogger(name).addFilter(_filters[0])
