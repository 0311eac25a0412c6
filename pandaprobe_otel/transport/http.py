"""The transport over real HTTP. httpx is loaded with the first request, never before."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final

from pandaprobe_otel.forks import loading
from pandaprobe_otel.transport.messages import Answer, NoAnswer, Outcome, Request

if TYPE_CHECKING:
    import httpx

# The server closes idle connections after about 5 s (measured): expire ours first, so that a request is not
# written into a connection that is closing, which would leave its outcome unknown.
_KEEPALIVE_EXPIRY_S: Final = 2.0
_CONNECT_TIMEOUT_S: Final = 10.0

# What a request would import on its way; loaded before the first one, while forks are held back.
_LOADED_BY_REQUESTS: Final = ("encodings.idna", "opentelemetry.instrumentation.utils")

_abandoned: list[object] = []
"""Clients of a parent process: closing them would write into the parent's TLS streams, so they are kept unused."""


class HttpTransport:
    """Sends requests below one endpoint with fixed headers. Never raises, never follows a redirect.

    Redirects are not followed because the key would go along to wherever they point.
    """

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = {**headers, "Content-Type": "application/json"}
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def send(self, request: Request) -> Outcome:
        """Send one request; an answer of any status is an `Answer`, everything else a `NoAnswer`."""
        client = self._connected()
        import httpx

        try:
            with _quiet():
                response = client.request(
                    request.method,
                    self._endpoint + request.path,
                    content=request.body,
                    timeout=httpx.Timeout(request.timeout_s, connect=min(_CONNECT_TIMEOUT_S, request.timeout_s)),
                )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            return NoAnswer(reason=_reason(error), may_have_arrived=False)
        except (httpx.WriteError, httpx.WriteTimeout) as error:
            # The server cannot act on a body of which it has not read the end.
            return NoAnswer(reason=_reason(error), may_have_arrived=False)
        except httpx.HTTPError as error:
            return NoAnswer(reason=_reason(error), may_have_arrived=True)
        except (httpx.InvalidURL, OSError, ValueError, RuntimeError) as error:
            return NoAnswer(reason=_reason(error), may_have_arrived=False)
        return Answer(status=response.status_code, body=response.content, headers=dict(response.headers))

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            with _quiet():
                client.close()

    def reset_after_fork(self) -> None:
        """In a forked child: leave the parent's connections alone."""
        self._lock = threading.Lock()
        if self._client is not None:
            _abandoned.append(self._client)
            self._client = None

    def _connected(self) -> httpx.Client:
        with loading(), self._lock:
            if self._client is None:
                import httpx

                for name in _LOADED_BY_REQUESTS:
                    import_module(name)

                self._client = httpx.Client(
                    headers=self._headers,
                    follow_redirects=False,
                    limits=httpx.Limits(max_connections=8, keepalive_expiry=_KEEPALIVE_EXPIRY_S),
                )
            return self._client


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")[:300]


class _quiet:
    """No span and no log line about our own requests, also when the app has httpx instrumented or logs at INFO."""

    __slots__ = ("_suppression",)

    def __enter__(self) -> None:
        from opentelemetry.instrumentation.utils import suppress_instrumentation

        _silence_httpx_log()
        _thread.ours = True
        self._suppression = suppress_instrumentation()
        self._suppression.__enter__()

    def __exit__(self, *exception: object) -> None:
        self._suppression.__exit__(None, None, None)
        _thread.ours = False


_thread = threading.local()


class _NotOurs(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_thread, "ours", False)


_filters: list[_NotOurs] = []


def _silence_httpx_log() -> None:
    if not _filters:
        _filters.append(_NotOurs())
        for name in ("httpx", "httpcore.connection", "httpcore.http11"):
            logging.getLogger(name).addFilter(_filters[0])
