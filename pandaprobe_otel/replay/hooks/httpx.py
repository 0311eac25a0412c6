"""httpx and httpx2: a client asks for its transport, and gets a wrapper that asks the recording first.

The configured transport stays inside, so proxies, mounts and litellm's transports are covered. Transports that answer
in the process, such as an ASGI app under test, are not wrapped: requests by the app are recorded, not requests to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.divergence import Divergence
from pandaprobe_otel.replay.exchange import Exchange, MakeError, request_of
from pandaprobe_otel.replay.hooks import Patch, exception_class, patch
from pandaprobe_otel.replay.interactions import RecordedRequest
from pandaprobe_otel.replay.open_recordings import current, inside

if TYPE_CHECKING:
    from pandaprobe_otel.replay.recording import Recording

_BEGINNING: Final = 300
_OF_BODY: Final = ("content-length", "content-encoding", "transfer-encoding")
_TRIES_AGAIN: Final = "x-stainless-retry-count"
"""Header that stops retries in clients that otherwise retry after any exception: OpenAI, Anthropic, Groq, Together."""
_AT_ONCE: Final = {"x-should-retry": "false"}
_IN_PROCESS: Final = ("ASGITransport", "WSGITransport")


def install(library: ModuleType) -> list[Patch]:
    """Hook both clients of httpx, or of httpx2."""
    bases = (library.SyncByteStream, library.AsyncByteStream)
    stream: type[Any] = type("RecordedStream", (_Stream, *bases), {})

    def transport_of(original: Callable[..., Any], client: Any, url: Any) -> Any:
        transport = original(client, url)
        run = None if _answers_in_process(transport) else current(str(url))
        return transport if run is None else _Transport(transport, run, library, stream)

    name = "_transport_for_url"
    return [patch(library.Client, name, transport_of), patch(library.AsyncClient, name, transport_of)]


def _answers_in_process(transport: Any) -> bool:
    """Return whether a transport passes requests to an app in this process."""
    classes = type(transport).__mro__
    return any(each.__name__ in _IN_PROCESS or each.__module__ == "starlette.testclient" for each in classes)


class _Transport:
    """Wrapper around a client's transport. `stream` is a class of bodies that the library's clients accept."""

    def __init__(self, inner: Any, run: Recording, library: Any, stream: type[Any]) -> None:
        self._inner = inner
        self._run = run
        self._library = library
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def handle_request(self, request: Any) -> Any:
        """Send a request of a synchronous client, or play back its answer."""
        request.read()
        answer, exchange = self._begun(request)
        if answer is not None:
            return answer
        with _sending(exchange):
            answer = self._inner.handle_request(self._to_send(request, exchange))
        return self._listen(answer, exchange)

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request of an asynchronous client, or play back its answer."""
        await request.aread()
        answer, exchange = self._begun(request)
        if answer is not None:
            return answer
        with _sending(exchange):
            answer = await self._inner.handle_async_request(self._to_send(request, exchange))
        return self._listen(answer, exchange)

    def _begun(self, request: Any) -> tuple[Any, Exchange | None]:
        """Return the recorded answer, or the exchange of a request to send; neither if the request is not recorded.

        If the client would retry after an exception, an error is returned as an answer instead. It is raised at the end
        of the block.
        """
        sent = request_of(request.method, str(request.url), request.headers, request.content)
        if _is_mcp(sent):
            return None, None
        try:
            exchange = self._run.begin(sent)
        except (Divergence, RecordingError) as error:
            if _TRIES_AGAIN not in sent.headers:
                raise
            text = {"type": "error", "error": {"type": type(error).__name__, "message": str(error)}}
            return self._library.Response(400, headers=_AT_ONCE, json=text, request=request), None
        if exchange.played is None:
            return None, exchange

        def recorded(name: str, text: str) -> Exception:
            bases, other = (self._library.TransportError,), "RemoteProtocolError"
            kind = exception_class(self._library, name, bases, timeout="ReadTimeout", other=other)
            made: Exception = kind(text, request=request)
            return made

        answer = exchange.played_answer(recorded)
        response = self._library.Response(
            answer.status,
            headers=dict(answer.headers),
            stream=self._stream(exchange, None, recorded),
            extensions={"reason_phrase": answer.reason.encode("ascii", "ignore"), "http_version": b"HTTP/1.1"},
            request=request,
        )
        return response, exchange

    def _to_send(self, request: Any, exchange: Exchange | None) -> Any:
        """Return the request to send: the program's, or the one that a fork sends in its place."""
        instead = None if exchange is None else exchange.instead
        if instead is None:
            return request
        headers = [(name, value) for name, value in request.headers.multi_items() if name not in _OF_BODY]
        return self._library.Request(
            instead.method, instead.uri, headers=headers, content=instead.body, extensions=request.extensions
        )

    def _listen(self, response: Any, exchange: Exchange | None) -> Any:
        """Save the answer while the app reads it."""
        if exchange is None:
            return response
        try:
            body = response.content
        except self._library.ResponseNotRead:
            exchange.answered(response.status_code, response.reason_phrase, response.headers)
            response.stream = self._stream(exchange, response.stream, None)
        else:  # The transport returns complete answers.
            exchange.answered(response.status_code, response.reason_phrase, response.headers, is_plain=True)
            exchange.arrived(body)
            exchange.ended()
        return response


def _sending(exchange: Exchange | None) -> AbstractContextManager[Any]:
    stack = ExitStack()
    if exchange is not None:
        stack.enter_context(inside())
        stack.enter_context(exchange.watched())
    return stack


def _is_mcp(sent: RecordedRequest) -> bool:
    """Return whether a client of the Model Context Protocol talks to its server, through streams that never end.

    Such a server runs as it would through standard input. Its tool calls are recorded and played back where the app
    makes them.
    """
    if any(name.startswith("mcp-") for name in sent.headers):
        return True
    return b'"jsonrpc"' in sent.body[:_BEGINNING] and b'"initialize"' in sent.body[:_BEGINNING]


class _Stream:
    """Body of an answer: from the transport and noted piece by piece, or from the recording without an `inner` one."""

    def __init__(self, exchange: Exchange, inner: Any, error: MakeError | None) -> None:
        self._exchange = exchange
        self._inner = inner
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        if self._error is not None:
            return self._exchange.playback(self._error)
        return self._exchange.noted(iter(self._inner))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._error is not None:
            for piece in self._exchange.playback(self._error):
                yield piece
            return
        with self._exchange.watched():
            async for piece in self._inner:
                self._exchange.arrived(piece)
                yield piece
        self._exchange.ended()

    def close(self) -> None:
        """Close the connection, because the app needs no more."""
        self._exchange.left()
        if self._inner is not None:
            self._inner.close()

    async def aclose(self) -> None:
        """Close the connection, because the app needs no more."""
        self._exchange.left()
        if self._inner is not None:
            await self._inner.aclose()

    def __del__(self) -> None:
        self._exchange.left()
