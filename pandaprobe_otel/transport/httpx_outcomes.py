"""Shared parts of the sync and async transports: conversion of httpx's results, and suppression of its telemetry.

Imports httpx and everything else that a request needs, so only the transports that use httpx load it.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from importlib import import_module
from typing import Final

import httpx as httpx
from opentelemetry.instrumentation.utils import suppress_instrumentation

from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer, Request, describe

for _name in ("httpcore", "encodings.idna"):  # otherwise the first client and its requests import them
    import_module(_name)

# The server closes idle connections after about 5 s (measured). Ours expire earlier, because a request that is written
# into a closing connection has an unknown outcome.
_KEEPALIVE_EXPIRY_S: Final = 2.0
_CONNECT_TIMEOUT_S: Final = 10.0
LIMITS: Final = httpx.Limits(max_connections=8, keepalive_expiry=_KEEPALIVE_EXPIRY_S)
"""Connection limits of one client."""

FAILURES: Final = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RuntimeError, ImportError)
"""Exceptions of httpx when no answer comes, or when it cannot use SSL_CERT_FILE or a proxy variable (an unknown scheme,
or SOCKS without its package)."""

# The request was not sent, or not to its end, so the server cannot have acted on it.
_NEVER_ARRIVED: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.WriteError,
    httpx.WriteTimeout,
)


def timeout(request: Request) -> httpx.Timeout:
    """Return the request's own timeout; connecting may take at most ten seconds of it."""
    return httpx.Timeout(request.timeout_s, connect=min(_CONNECT_TIMEOUT_S, request.timeout_s))


def answer_of(response: httpx.Response, body: bytes) -> Answer:
    """Return httpx's response as an `Answer`."""
    return Answer(status=response.status_code, body=body, headers=dict(response.headers))


def no_answer(error: Exception) -> NoAnswer:
    """Return one of `FAILURES` as a `NoAnswer`."""
    arrived = isinstance(error, httpx.HTTPError) and not isinstance(error, _NEVER_ARRIVED)
    return NoAnswer(reason=describe(error), may_have_arrived=arrived)


class Quiet:
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
