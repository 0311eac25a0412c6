"""requests: a session chooses an adapter for each URL, and gets a wrapper that asks the recording first."""

from __future__ import annotations

from typing import Any

from pandaprobe_otel.replay.exchange import Exchange
from pandaprobe_otel.replay.hooks.bodies import KeptBody, PlayedBody, body_of, urllib3_error
from pandaprobe_otel.replay.hooks.patch import Patch, patch
from pandaprobe_otel.replay.interactions import RecordedRequest
from pandaprobe_otel.replay.open_recordings import current, inside
from pandaprobe_otel.replay.replayed_run import Run


def install(sessions: Any) -> list[Patch]:
    """Hook `requests.sessions`."""
    return [patch(sessions.Session, "get_adapter", _get_adapter)]


def _get_adapter(original: Any, session: Any, url: str) -> Any:
    adapter = original(session, url)
    run = current()
    if run is None or run.leaves_alone(url):
        return adapter
    return _Adapter(adapter, run)


class _Adapter:
    """Wrapper around a session's adapter."""

    def __init__(self, inner: Any, run: Run) -> None:
        self._inner = inner
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request, or play back its answer."""
        headers = {str(name).lower(): str(value) for name, value in request.headers.items()}
        sent = RecordedRequest(request.method or "GET", request.url or "", headers, body_of(request.body))
        exchange = self._run.begin(sent)
        if exchange.played is not None:
            return self._play(request, exchange)
        if exchange.instead is not None:
            request = request.copy()
            request.url, request.headers = exchange.instead.uri, request.headers.copy()
            request.headers.pop("content-encoding", None)
            request.prepare_body(exchange.instead.body, None)
        try:
            with inside():
                response = self._inner.send(request, **options)
        except BaseException as error:
            exchange.failed(error)
            raise
        headers = {str(name).lower(): str(value) for name, value in response.headers.items()}
        exchange.answered(response.status_code, response.reason or "", headers)
        response.raw = KeptBody(response.raw, exchange)
        return response

    def _play(self, request: Any, exchange: Exchange) -> Any:
        from requests.adapters import HTTPAdapter

        assert exchange.played is not None
        answer = exchange.played.answer
        if not answer.status:
            error = _error(answer.error, request)
            exchange.failed(error)
            raise error
        body = PlayedBody(exchange, self._run, dict(answer.headers), urllib3_error)
        adapter: Any = HTTPAdapter()
        return adapter.build_response(request, body)


def _error(name: str | None, request: Any) -> Exception:
    """Return the recorded exception of a request without an answer."""
    from requests import exceptions

    kind = getattr(exceptions, name or "", None)
    if not (isinstance(kind, type) and issubclass(kind, exceptions.RequestException)):
        kind = exceptions.ReadTimeout if "timeout" in (name or "").lower() else exceptions.ConnectionError
    error: Exception = kind(f"{name}, as recorded", request=request)
    return error
