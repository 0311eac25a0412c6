"""Transport with httpx, which is loaded with the first transport."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Final

from pandaprobe_otel.process.forks import loading
from pandaprobe_otel.transport.request_outcome import LARGEST_BODY, NoAnswer, Outcome, Request, describe
from pandaprobe_otel.transport.server_text import Redaction

if TYPE_CHECKING:
    import httpx

_HTTPX: Final = "pandaprobe_otel.transport.httpx_outcomes"
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
        with suppress(ImportError), loading():  # `send` reports that httpx is missing: an app may have only httpx2
            import_module(_HTTPX)

    def use(self, headers: Mapping[str, str]) -> None:
        """Send these headers from now on."""
        self._headers = {**headers, "Content-Type": "application/json"}
        self._redaction.learn(headers)

    def send(self, request: Request) -> Outcome:
        """Send one request; return an `Answer` for any status, and a `NoAnswer` in all other cases."""
        return self._redaction.applied_to(self._send(request))

    def _send(self, request: Request) -> Outcome:
        deadline = time.monotonic() + request.timeout_s
        opening = _Opening(request)
        try:
            with loading():
                from pandaprobe_otel.transport import httpx_outcomes
        except ImportError as error:
            return NoAnswer(reason=describe(error), may_have_arrived=False)
        try:
            with httpx_outcomes.Quiet():
                asked = self._connected().stream(
                    request.method,
                    self._endpoint + request.path,
                    content=request.body,
                    headers=self._headers,
                    timeout=httpx_outcomes.timeout(request),
                    extensions={"trace": opening.step},
                )
                with asked as response:
                    answer = httpx_outcomes.answer_of(response, _read(response, request, deadline))
                    return replace(answer, is_first=opening.is_first)
        except _TooLateError:
            return NoAnswer(reason="too late to be sent", may_have_arrived=False, is_late=True)
        except httpx_outcomes.FAILURES as error:
            return httpx_outcomes.no_answer(error)

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            from pandaprobe_otel.transport import httpx_outcomes

            with httpx_outcomes.Quiet():
                client.close()

    def reset_after_fork(self) -> None:
        """Leave the parent's connections alone in a forked child."""
        self._lock = threading.Lock()
        if self._client is not None:
            _abandoned.append(self._client)
            self._client = None

    def _connected(self) -> httpx.Client:
        """Return the client. Before version 0.28, httpx logs that it loads certificates, so call this under `Quiet`."""
        from pandaprobe_otel.transport import httpx_outcomes

        with self._lock:
            if self._client is None:
                # Not `import httpx`: the newest OpenAI client takes it out of `sys.modules`.
                self._client = httpx_outcomes.httpx.Client(follow_redirects=False, limits=httpx_outcomes.LIMITS)
            return self._client


class _TooLateError(Exception):
    """The token that allowed the request had expired by the time a connection was ready."""


def _read(response: httpx.Response, request: Request, deadline: float) -> bytes:
    """Return the body, up to `most_read` bytes, before the deadline. httpx itself only limits the time of each read."""
    from pandaprobe_otel.transport.httpx_outcomes import httpx

    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if request.most_read is not None and len(body) >= request.most_read:
            break
        if len(body) > LARGEST_BODY:
            raise httpx.ReadError("the answer is too large")
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("timed out")
    return bytes(body)


class _Opening:
    """Connection of a request, as far as the steps tell that httpcore reports."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.is_first = False
        """True if a connection was opened for this request."""

    def step(self, event: str, info: object) -> None:
        """Note an opened connection, and raise before the headers are sent if no time is left."""
        if event.startswith("connection.connect"):
            self.is_first = True
        if event.endswith("send_request_headers.started") and self._request.time_left_s() <= 0:
            raise _TooLateError
