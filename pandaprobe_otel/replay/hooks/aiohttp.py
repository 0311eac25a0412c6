"""aiohttp: requests of a session, including redirects. google-genai, aiobotocore and litellm use it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any, Final, cast

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.exchange import Exchange, Piece, beyond, pieces_of
from pandaprobe_otel.replay.hooks.bodies import body_of
from pandaprobe_otel.replay.hooks.patch import Patch, patch
from pandaprobe_otel.replay.interactions import RecordedRequest
from pandaprobe_otel.replay.open_recordings import current, inside
from pandaprobe_otel.replay.replayed_run import Run

_OF_BODY: Final = ("content-type", "content-length", "content-encoding")
_LIMIT: Final = 2**16
_SIMPLE: Final = (
    "ClientPayloadError",
    "ClientConnectionError",
    "ConnectionTimeoutError",
    "ServerDisconnectedError",
    "ServerTimeoutError",
    "SocketTimeoutError",
)
"""Exceptions that can be created from a text."""


def install(aiohttp: ModuleType) -> list[Patch]:
    """Hook `aiohttp.ClientSession`."""
    play = _Player(aiohttp)

    async def request(original: Callable[..., Any], session: Any, method: str, url: Any, **options: Any) -> Any:
        run = current()
        if run is None:
            return await original(session, method, url, **options)
        sent = _sent(session, method, url, options)
        if run.leaves_alone(sent.uri):
            return await original(session, method, url, **options)
        check = options.pop("raise_for_status", None)
        exchange = run.begin(sent)
        if exchange.played is not None:
            response = play(session, sent, exchange, run)
        else:
            if exchange.instead is not None:
                url, options = exchange.instead.uri, _instead(exchange.instead, options)
            try:
                with inside():
                    response = await original(session, method, url, raise_for_status=False, **options)
            except BaseException as error:
                exchange.failed(error)
                raise
            _listen(response, exchange, is_plain=_decompresses(session, options))
        await _check(response, session.raise_for_status if check is None else check)
        return response

    return [patch(aiohttp.ClientSession, "_request", request)]


def _sent(session: Any, method: str, url: Any, options: dict[str, Any]) -> RecordedRequest:
    whole = session._build_url(url)
    if options.get("params"):
        whole = whole.update_query(options["params"])
    given = {**session.headers, **dict(options.get("headers") or {})}
    headers = {str(name).lower(): str(value) for name, value in given.items()}
    if headers.get("upgrade", "").lower() == "websocket":
        raise RecordingError(
            f"A websocket ({whole.host}) cannot be recorded: a recording supports only requests with a single answer."
        )
    json, data = options.get("json"), options.get("data")
    if json is not None:
        data = session.json_serialize(json)
    return RecordedRequest(method.upper(), str(whole), headers, body_of(getattr(data, "_value", data)))


def _instead(request: RecordedRequest, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the request that a fork sends in place of the program's."""
    given = dict(options.get("headers") or {})
    headers = {name: value for name, value in given.items() if str(name).lower() not in _OF_BODY}
    headers["Content-Type"] = "application/json"
    return {**options, "json": None, "params": None, "data": request.body, "headers": headers}


def _decompresses(session: Any, options: dict[str, Any]) -> bool:
    said = options.get("auto_decompress")
    return bool(session.auto_decompress if said is None else said)


async def _check(response: Any, check: bool | Callable[[Any], Awaitable[None]]) -> None:
    """Raise for an error status, as the session would have done."""
    if callable(check):
        await check(response)
    elif check:
        response.raise_for_status()


def _listen(response: Any, exchange: Exchange, *, is_plain: bool) -> None:
    headers = {name.lower(): value for name, value in response.headers.items()}
    exchange.answered(response.status, response.reason or "", headers, is_plain=is_plain)
    response.content = _KeptReader(response.content, exchange)


class _Each:
    """Iterator over the results of a reader, up to an end value."""

    def __init__(self, read: Callable[[], Awaitable[Any]], end: Any) -> None:
        self._read = read
        self._end = end

    def __aiter__(self) -> _Each:
        return self

    async def __anext__(self) -> Any:
        item = await self._read()
        if item == self._end:
            raise StopAsyncIteration
        return item


class _KeptReader:
    """Reader of aiohttp that notes everything that is read."""

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __aiter__(self) -> _Each:
        return _Each(self.readline, b"")

    def iter_chunked(self, n: int) -> _Each:
        """Iterate over pieces of at most `n` bytes."""
        return _Each(lambda: self.read(n), b"")

    def iter_any(self) -> _Each:
        """Iterate over what has arrived."""
        return _Each(self.readany, b"")

    def iter_chunks(self) -> _Each:
        """Iterate over the chunks that were sent."""
        return _Each(self.readchunk, (b"", False))

    async def read(self, n: int = -1) -> bytes:
        """Read at most `n` bytes, or all."""
        return self._note(await self._guarded(self._inner.read(n)))

    async def readany(self) -> bytes:
        """Read what has arrived."""
        return self._note(await self._guarded(self._inner.readany()))

    async def readline(self, **options: Any) -> bytes:
        """Read a line."""
        return self._note(await self._guarded(self._inner.readline(**options)))

    async def readuntil(self, separator: bytes = b"\n", **options: Any) -> bytes:
        """Read until a separator."""
        return self._note(await self._guarded(self._inner.readuntil(separator, **options)))

    async def readexactly(self, n: int) -> bytes:
        """Read `n` bytes."""
        return self._note(await self._guarded(self._inner.readexactly(n)))

    async def readchunk(self) -> tuple[bytes, bool]:
        """Read a chunk as it was sent."""
        piece, is_end = await self._guarded(self._inner.readchunk())
        return self._note(piece), is_end

    def read_nowait(self, n: int = -1) -> bytes:
        """Read the available bytes."""
        return self._note(self._inner.read_nowait(n))

    def set_exception(self, *arguments: Any) -> None:
        """Store the exception for later readers, because the app has closed the answer."""
        self._leave()
        self._inner.set_exception(*arguments)

    def __del__(self) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._inner.at_eof() and self._inner.exception() is None:
            self._exchange.ended()
        else:
            self._exchange.left()

    async def _guarded(self, reading: Awaitable[Any]) -> Any:
        try:
            return await reading
        except BaseException as error:
            self._exchange.failed(error)
            raise

    def _note(self, piece: bytes) -> bytes:
        self._exchange.arrived(piece)
        if self._inner.at_eof():
            self._exchange.ended()
        return piece


class _Player:
    """Maker of answers of aiohttp's own class, without a connection."""

    def __init__(self, aiohttp: ModuleType) -> None:
        self._aiohttp = aiohttp
        self._reader: type[Any] = type("PlayedReader", (_PlayedReader, aiohttp.StreamReader), {})

    def __call__(self, session: Any, sent: RecordedRequest, exchange: Exchange, run: Run) -> Any:
        """Return the recorded answer, or raise the recorded exception."""
        from multidict import CIMultiDict, CIMultiDictProxy
        from yarl import URL

        assert exchange.played is not None
        answer = exchange.played.answer
        if not answer.status:
            error = self._error(answer.error)
            exchange.failed(error)
            raise error
        url = URL(sent.uri)
        loop = asyncio.get_running_loop()
        headers = CIMultiDictProxy(CIMultiDict(answer.headers))
        response = self._bare(sent, url, session, loop)
        response.version = self._aiohttp.HttpVersion11
        response.status = answer.status
        response.reason = answer.reason
        response._headers = headers
        response._raw_headers = tuple((name.encode(), value.encode()) for name, value in answer.headers.items())
        response._closed = False
        response.content = self._reader(loop, exchange, run, self._error)
        return response

    def _bare(self, sent: RecordedRequest, url: Any, session: Any, loop: asyncio.AbstractEventLoop) -> Any:
        """Return an empty response. The arguments of its class differ between versions."""
        from multidict import CIMultiDict, CIMultiDictProxy

        kind = self._aiohttp.ClientResponse
        headers = CIMultiDictProxy(CIMultiDict(sent.headers))
        known: dict[str, Any] = {
            "writer": None,
            "continue100": None,
            "timer": None,
            "request_info": self._aiohttp.RequestInfo(url, sent.method, headers, url),
            "traces": [],
            "loop": loop,
            "session": session,
            "stream_writer": _NothingWritten(),
        }
        asked = inspect.signature(kind.__init__).parameters
        return kind(sent.method, url, **{name: value for name, value in known.items() if name in asked})

    def _error(self, name: str | None) -> Exception:
        """Return the recorded exception, by its name."""
        text = f"{name}, as recorded"
        if name == "TimeoutError":
            return TimeoutError(text)
        other = "ServerTimeoutError" if "timeout" in (name or "").lower() else "ClientOSError"
        kind = getattr(self._aiohttp, name if name in _SIMPLE else other, self._aiohttp.ClientOSError)
        error: Exception = kind(text)
        return error


class _NothingWritten:
    """Writer of a request that was not sent."""

    output_size = 0


class _PlayedReader:
    """Reader of aiohttp that adds a recorded piece whenever it would wait for one."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        exchange: Exchange,
        run: Run,
        error: Callable[[str | None], Exception],
    ) -> None:
        from aiohttp.base_protocol import BaseProtocol

        super().__init__(BaseProtocol(loop), _LIMIT, loop=loop)  # type: ignore[call-arg]
        assert exchange.played is not None
        self._exchange = exchange
        self._played = exchange.played
        self._run = run
        self._failure = error
        self._pieces = pieces_of(exchange.played, delays=run.delays)
        self._own: Any = cast("Any", self)
        self._own.begin_http_chunk_receiving()

    async def _wait(self, func_name: str) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            self._end()
            return
        await self._feed(piece)

    async def _feed(self, piece: Piece) -> None:
        if piece.wait_s:
            await asyncio.sleep(piece.wait_s)
        self._own.feed_data(piece.data, len(piece.data))
        self._own.end_http_chunk_receiving()

    def _end(self) -> None:
        if self._played.answer.end == "broken":
            error = self._failure(self._played.answer.error)
            self._exchange.failed(error)
            self._own.set_exception(error)
            raise error
        if self._played.answer.end == "left":
            self._run.fail(beyond(self._played))
        self._exchange.ended()
        self._own.feed_eof()

    def __del__(self) -> None:
        self._exchange.left()
