"""botocore and requests, which read the bodies of answers from urllib3.

botocore asks in the last step of a service call, after signing and inside its retries. aiobotocore sends through
aiohttp or httpx, and is recorded there. A session of requests chooses an adapter for each URL, and gets a wrapper.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from pandaprobe_otel.replay.exchange import Exchange, request_of
from pandaprobe_otel.replay.hooks import Patch, exception_class, patch
from pandaprobe_otel.replay.open_recordings import current, inside

if TYPE_CHECKING:
    from pandaprobe_otel.replay.recording import Recording

_CHUNK: Final = 65536


def install(module: Any) -> list[Patch]:
    """Hook `botocore.endpoint` or `requests.sessions`."""
    if module.__name__ == "botocore.endpoint":
        return [patch(module.Endpoint, "_send", _send)]
    return [patch(module.Session, "get_adapter", _get_adapter)]


def _send(original: Any, endpoint: Any, request: Any) -> Any:
    run = current(request.url)
    if run is None:
        return original(endpoint, request)
    exchange = run.begin(request_of(request.method, request.url, request.headers, request.body))
    if exchange.played is not None:
        return _answer_of_botocore(request, exchange)
    if (instead := exchange.instead) is not None:  # Only with an API key, since a signed request cannot be changed.
        headers = deepcopy(request.headers)
        del headers["Content-Length"]  # Without this line, both values would stay.
        headers["Content-Length"] = str(len(instead.body))
        request = type(request)(request.method, instead.uri, headers, instead.body, request.stream_output)
    with inside(), exchange.watched():
        response = original(endpoint, request)
    exchange.answered(response.status_code, getattr(response.raw, "reason", "") or "", response.headers)
    if request.stream_output:
        response.raw = _KeptBody(response.raw, exchange)
    else:  # was read already
        exchange.arrived(response.content)
        exchange.ended()
    return response


def _answer_of_botocore(request: Any, exchange: Exchange) -> Any:
    from botocore import exceptions
    from botocore.awsrequest import AWSResponse

    def error(name: str, text: str) -> Exception:
        bases, other = (exceptions.ConnectionError, exceptions.HTTPClientError), "EndpointConnectionError"
        kind = exception_class(exceptions, name, bases, timeout="ReadTimeoutError", other=other)
        made: Exception = kind(endpoint_url=request.url, proxy_url=request.url, error=text)
        return made

    answer = exchange.played_answer(error)
    response = AWSResponse(request.url, answer.status, dict(answer.headers), _PlayedBody(exchange))
    if not request.stream_output:
        _ = response.content  # as botocore does
    return response


def _get_adapter(original: Any, session: Any, url: str) -> Any:
    adapter = original(session, url)
    run = current(url)
    return adapter if run is None else _Adapter(adapter, run)


class _Adapter:
    """Wrapper around the adapter of a session of requests."""

    def __init__(self, inner: Any, run: Recording) -> None:
        self._inner = inner
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request, or play back its answer."""
        from requests import exceptions
        from requests.adapters import HTTPAdapter

        def error(name: str, text: str) -> Exception:
            bases, other = (exceptions.RequestException,), "ConnectionError"
            kind = exception_class(exceptions, name, bases, timeout="ReadTimeout", other=other)
            made: Exception = kind(text, request=request)
            return made

        exchange = self._run.begin(request_of(request.method or "", request.url or "", request.headers, request.body))
        if exchange.played is not None:
            exchange.played_answer(error)
            adapter: Any = HTTPAdapter()
            return adapter.build_response(request, _PlayedBody(exchange))
        if exchange.instead is not None:
            request = request.copy()
            request.url, request.headers = exchange.instead.uri, request.headers.copy()
            request.headers.pop("content-encoding", None)
            request.prepare_body(exchange.instead.body, None)
        with inside(), exchange.watched():
            response = self._inner.send(request, **options)
        exchange.answered(response.status_code, response.reason or "", response.headers)
        response.raw = _KeptBody(response.raw, exchange)
        return response


class _KeptBody:
    """Body of urllib3 that notes everything that is read."""

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __iter__(self) -> Iterator[bytes]:
        return self._exchange.noted(iter(self._inner))

    def stream(self, amt: int | None = _CHUNK, decode_content: bool | None = None) -> Iterator[bytes]:
        """Read piece by piece, as they arrive."""
        self._exchange.is_plain = self._exchange.is_plain or bool(decode_content)
        return self._exchange.noted(self._inner.stream(amt, decode_content=decode_content))

    def read(self, amt: int | None = None, decode_content: bool | None = None, **options: Any) -> bytes:
        """Read this many bytes, or all."""
        self._exchange.is_plain = self._exchange.is_plain or bool(decode_content)
        if decode_content is not None:
            options["decode_content"] = decode_content
        piece: bytes = self._note(lambda: self._inner.read(amt, **options), asked=amt)
        return piece

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer."""

        def fill() -> bytes:
            return bytes(memoryview(buffer)[: self._inner.readinto(buffer)])

        return len(self._note(fill, asked=len(buffer)))

    def readline(self, *arguments: Any) -> bytes:
        """Read a line."""
        return self._note(lambda: self._inner.readline(*arguments), asked=1)

    def readlines(self, *arguments: Any) -> list[bytes]:
        """Read all lines."""
        return list(self)

    def close(self) -> None:
        """Close the connection, because the app needs no more."""
        self._exchange.left()
        self._inner.close()

    def release_conn(self) -> None:
        """Release the connection, because the app needs no more."""
        self._exchange.left()
        self._inner.release_conn()

    def __del__(self) -> None:
        self._exchange.left()

    def _note(self, read: Callable[[], bytes], *, asked: int | None) -> bytes:
        with self._exchange.watched():
            piece = read()
        self._exchange.arrived(piece)
        if asked is None or asked < 0 or (asked and not piece):
            self._exchange.ended()
        return piece


class _PlayedBody(io.RawIOBase):
    """Body of a recorded answer, with its events and its end."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        assert exchange.played is not None
        answer = exchange.played.answer
        self._exchange = exchange
        self._pieces = exchange.playback(_error_of_urllib3)
        self._rest = b""
        self.status = answer.status
        self.reason = answer.reason
        self.headers = dict(answer.headers)
        self.version = 11

    def readable(self) -> bool:
        """Return True: a body can be read."""
        return True

    def stream(self, amt: int | None = _CHUNK, decode_content: bool | None = None) -> Iterator[bytes]:
        """Read piece by piece, each at most `amt` bytes long."""
        while piece := self._some(amt):
            yield piece

    def read(self, amt: int | None = -1, decode_content: bool | None = None, **_: Any) -> bytes:
        """Read this many bytes, or all."""
        if amt is None or amt < 0:
            return b"".join(self.stream(None))
        return self._some(amt) if amt else b""

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer."""
        piece = self._some(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def _some(self, most: int | None) -> bytes:
        piece = self._rest or next(self._pieces, b"")
        most = len(piece) if most is None else most
        self._rest = piece[most:]
        return piece[:most]

    def release_conn(self) -> None:
        """Do nothing: there is no connection."""

    def close(self) -> None:
        """Note that the app does not read the rest of the body."""
        self._exchange.left()
        super().close()


def _error_of_urllib3(name: str, text: str) -> Exception:
    """Return the exception that urllib3 raises while a body is read, by its recorded name."""
    from urllib3 import exceptions

    if name == "ReadTimeoutError":
        return exceptions.ReadTimeoutError(None, None, text)  # type: ignore[arg-type]
    kind = getattr(exceptions, name, None)
    if kind is exceptions.SSLError or kind is exceptions.DecodeError:
        return kind(text)
    return exceptions.ProtocolError(text)
