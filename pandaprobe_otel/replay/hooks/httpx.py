"""httpx and httpx2: a client asks for its transport, and gets a wrapper that asks the recording first.

The configured transport stays inside, so proxies, mounts and litellm's transports are covered. Transports that answer
in the process, such as an ASGI app under test, are not wrapped: requests by the app are recorded, not requests to it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.divergence import Divergence
from pandaprobe_otel.replay.exchange import Exchange, beyond, pieces_of
from pandaprobe_otel.replay.hooks.patch import Patch, patch
from pandaprobe_otel.replay.interactions import RecordedRequest
from pandaprobe_otel.replay.open_recordings import current, inside
from pandaprobe_otel.replay.replayed_run import Run

_BEGINNING: Final = 300
_OF_BODY: Final = ("content-length", "content-encoding", "transfer-encoding")
_TRIES_AGAIN: Final = "x-stainless-retry-count"
"""Header that stops retries in clients that otherwise retry after any exception: OpenAI, Anthropic, Groq, Together."""
_AT_ONCE: Final = {"x-should-retry": "false"}
_IN_PROCESS: Final = ("ASGITransport", "WSGITransport")


def install(library: ModuleType) -> list[Patch]:
    """Hook both clients of httpx, or of httpx2."""
    pieces = _Pieces(library)

    def transport_of(original: Callable[..., Any], client: Any, url: Any) -> Any:
        transport = original(client, url)
        run = current()
        if run is None or pieces.answers_in_process(transport) or run.leaves_alone(str(url)):
            return transport
        return _Transport(transport, run, pieces)

    name = "_transport_for_url"
    return [patch(library.Client, name, transport_of), patch(library.AsyncClient, name, transport_of)]


class _Pieces:
    """Classes of one library that its clients check for."""

    def __init__(self, library: ModuleType) -> None:
        self.library = library
        self.kept: type[Any] = type("KeptStream", (_KeptStream, library.SyncByteStream, library.AsyncByteStream), {})
        self.played: type[Any] = type(
            "PlayedStream", (_PlayedStream, library.SyncByteStream, library.AsyncByteStream), {}
        )

    def answers_in_process(self, transport: Any) -> bool:
        """Return whether a transport passes requests to an app in this process."""
        classes = type(transport).__mro__
        return any(each.__name__ in _IN_PROCESS or each.__module__ == "starlette.testclient" for each in classes)

    def sent(self, request: Any, exchange: Exchange) -> Any:
        """Return the request to send: the program's, or the one that a fork sends in its place."""
        if exchange.instead is None:
            return request
        headers = [(name, value) for name, value in request.headers.multi_items() if name not in _OF_BODY]
        instead = exchange.instead
        return self.library.Request(
            instead.method, instead.uri, headers=headers, content=instead.body, extensions=request.extensions
        )

    def listen(self, response: Any, exchange: Exchange) -> Any:
        """Save the answer while the app reads it."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        try:
            body = response.content
        except self.library.ResponseNotRead:
            exchange.answered(response.status_code, response.reason_phrase, headers)
            response.stream = self.kept(response.stream, exchange)
        else:  # The transport returns complete answers.
            exchange.answered(response.status_code, response.reason_phrase, headers, is_plain=True)
            exchange.arrived(body)
            exchange.ended()
        return response

    def play(self, exchange: Exchange, run: Run, request: Any) -> Any:
        """Return the recorded answer, or raise the recorded exception."""
        assert exchange.played is not None
        answer = exchange.played.answer
        if not answer.status:
            error = self.error(answer.error, request)
            exchange.failed(error)
            raise error
        return self.library.Response(
            answer.status,
            headers=dict(answer.headers),
            stream=self.played(exchange, run, lambda: self.error(answer.error, request)),
            extensions={"reason_phrase": answer.reason.encode("ascii", "ignore"), "http_version": b"HTTP/1.1"},
            request=request,
        )

    def refuse(self, error: Exception, request: Any) -> Any:
        """Return an error as an answer that no client retries. The error itself is raised at the end of the block."""
        said = {"type": "error", "error": {"type": type(error).__name__, "message": str(error)}}
        return self.library.Response(400, headers=_AT_ONCE, json=said, request=request)

    def error(self, name: str | None, request: Any) -> Exception:
        """Return the recorded exception, by its name."""
        kind = getattr(self.library, name or "", None)
        if not (isinstance(kind, type) and issubclass(kind, self.library.TransportError)):
            is_timeout = "timeout" in (name or "").lower()  # a trace has the name that the client gave it
            kind = self.library.ReadTimeout if is_timeout else self.library.RemoteProtocolError
        error: Exception = kind(f"{name}, as recorded", request=request)
        return error


class _Transport:
    """Wrapper around a client's transport."""

    def __init__(self, inner: Any, run: Run, pieces: _Pieces) -> None:
        self._inner = inner
        self._run = run
        self._pieces = pieces

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def handle_request(self, request: Any) -> Any:
        """Send a request of a synchronous client, or play back its answer."""
        sent = _sent(request, request.read())
        if _is_mcp(sent):
            return self._inner.handle_request(request)
        exchange = self._begun(sent, request)
        if isinstance(exchange, self._pieces.library.Response):
            return exchange
        if exchange.played is not None:
            return self._pieces.play(exchange, self._run, request)
        request = self._pieces.sent(request, exchange)
        try:
            with inside():
                response = self._inner.handle_request(request)
        except BaseException as error:
            exchange.failed(error)
            raise
        return self._pieces.listen(response, exchange)

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request of an asynchronous client, or play back its answer."""
        sent = _sent(request, await request.aread())
        if _is_mcp(sent):
            return await self._inner.handle_async_request(request)
        exchange = self._begun(sent, request)
        if isinstance(exchange, self._pieces.library.Response):
            return exchange
        if exchange.played is not None:
            return self._pieces.play(exchange, self._run, request)
        request = self._pieces.sent(request, exchange)
        try:
            with inside():
                response = await self._inner.handle_async_request(request)
        except BaseException as error:
            exchange.failed(error)
            raise
        return self._pieces.listen(response, exchange)

    def _begun(self, sent: RecordedRequest, request: Any) -> Any:
        """Return the exchange of a request. If the client would retry after an exception, return that as an answer
        instead.
        """
        try:
            return self._run.begin(sent)
        except (Divergence, RecordingError) as error:
            if _TRIES_AGAIN not in sent.headers:
                raise
            return self._pieces.refuse(error, request)


def _sent(request: Any, body: bytes) -> RecordedRequest:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return RecordedRequest(request.method, str(request.url), headers, body)


def _is_mcp(sent: RecordedRequest) -> bool:
    """Return whether a client of the Model Context Protocol talks to its server, through streams that never end.

    Such a server runs as it would through standard input. Its tool calls are recorded and played back where the app
    makes them.
    """
    if any(name.startswith("mcp-") for name in sent.headers):
        return True
    return b'"jsonrpc"' in sent.body[:_BEGINNING] and b'"initialize"' in sent.body[:_BEGINNING]


class _KeptStream:
    """Body of an answer, noted piece by piece."""

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self._inner:
                self._exchange.arrived(piece)
                yield piece
        except BaseException as error:
            self._exchange.failed(error)
            raise
        self._exchange.ended()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._inner:
                self._exchange.arrived(piece)
                yield piece
        except BaseException as error:
            self._exchange.failed(error)
            raise
        self._exchange.ended()

    def close(self) -> None:
        """Close the connection, because the app needs no more."""
        self._exchange.left()
        self._inner.close()

    async def aclose(self) -> None:
        """Close the connection, because the app needs no more."""
        self._exchange.left()
        await self._inner.aclose()

    def __del__(self) -> None:
        self._exchange.left()


class _PlayedStream:
    """Body of a recorded answer, with its original pieces and end."""

    def __init__(self, exchange: Exchange, run: Run, error: Callable[[], Exception]) -> None:
        assert exchange.played is not None
        self._exchange = exchange
        self._played = exchange.played
        self._run = run
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        for piece in pieces_of(self._played, delays=self._run.delays):
            if piece.wait_s:
                time.sleep(piece.wait_s)
            yield piece.data
        self._end()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in pieces_of(self._played, delays=self._run.delays):
            if piece.wait_s:
                import anyio  # httpx depends on anyio, and the app may run on trio.

                await anyio.sleep(piece.wait_s)
            yield piece.data
        self._end()

    def _end(self) -> None:
        if self._played.answer.end == "broken":
            error = self._error()
            self._exchange.failed(error)
            raise error
        if self._played.answer.end == "left":
            self._run.fail(beyond(self._played))
        self._exchange.ended()

    def close(self) -> None:
        """Note that the app does not read the rest of the body."""
        self._exchange.left()

    async def aclose(self) -> None:
        """Note that the app does not read the rest of the body."""
        self._exchange.left()

    def __del__(self) -> None:
        self._exchange.left()
