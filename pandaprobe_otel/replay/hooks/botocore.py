"""botocore: the last step of a service call, after signing and inside its retries.

aiobotocore sends through aiohttp or httpx, and is recorded there.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

from pandaprobe_otel.replay.hooks.bodies import KeptBody, PlayedBody, body_of, urllib3_error
from pandaprobe_otel.replay.hooks.patch import Patch, patch
from pandaprobe_otel.replay.interactions import RecordedRequest
from pandaprobe_otel.replay.open_recordings import current, inside
from pandaprobe_otel.replay.replayed_run import Run

_ERRORS: Final = (
    "ConnectTimeoutError",
    "EndpointConnectionError",
    "ConnectionClosedError",
    "ReadTimeoutError",
    "SSLError",
)


def install(endpoint: Any) -> list[Patch]:
    """Hook `botocore.endpoint`."""
    return [patch(endpoint.Endpoint, "_send", _send)]


def _send(original: Any, endpoint: Any, request: Any) -> Any:
    run = current()
    if run is None or run.leaves_alone(request.url):
        return original(endpoint, request)
    exchange = run.begin(_sent(request))
    if exchange.played is not None:
        return _play(request, exchange, run)
    if exchange.instead is not None:  # Only with an API key, since a signed request cannot be changed.
        request = _changed(request, exchange.instead)
    try:
        with inside():
            response = original(endpoint, request)
    except BaseException as error:
        exchange.failed(error)
        raise
    headers = {str(name).lower(): _text(value) for name, value in response.headers.items()}
    exchange.answered(response.status_code, getattr(response.raw, "reason", "") or "", headers)
    if request.stream_output:
        response.raw = KeptBody(response.raw, exchange)
    else:  # was read already
        exchange.arrived(response.content)
        exchange.ended()
    return response


def _changed(request: Any, instead: RecordedRequest) -> Any:
    """Return a request with another body and address, and the headers of this one."""
    headers = deepcopy(request.headers)
    del headers["Content-Length"]  # Without this line, both values would stay.
    headers["Content-Length"] = str(len(instead.body))
    return type(request)(request.method, instead.uri, headers, instead.body, request.stream_output)


def _sent(request: Any) -> RecordedRequest:
    headers = {str(name).lower(): _text(value) for name, value in request.headers.items()}
    return RecordedRequest(request.method, request.url, headers, body_of(request.body))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _play(request: Any, exchange: Any, run: Run) -> Any:
    from botocore.awsrequest import AWSResponse

    answer = exchange.played.answer
    if not answer.status:
        error = _error(answer.error, request.url)
        exchange.failed(error)
        raise error
    body = PlayedBody(exchange, run, dict(answer.headers), urllib3_error)
    response = AWSResponse(request.url, answer.status, dict(answer.headers), body)
    if not request.stream_output:
        _ = response.content  # as botocore does
    return response


def _error(name: str | None, url: str) -> Exception:
    """Return the recorded exception of a request without an answer."""
    from botocore import exceptions

    other = "ReadTimeoutError" if "timeout" in (name or "").lower() else "EndpointConnectionError"
    kind = getattr(exceptions, name if name in _ERRORS else other)
    error: Exception = kind(endpoint_url=url, error=f"{name}, as recorded")
    return error
