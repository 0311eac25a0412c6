"""aiohttp: requests of a session, including redirects. google-genai, aiobotocore and litellm use it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Final, cast

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.exchange import Exchange, request_of
from pandaprobe_otel.replay.hooks import Patch, patch
from pandaprobe_otel.replay.interactions import RecordedRequest
from pandaprobe_otel.replay.open_recordings import current, inside

_OF_BODY: Final = ("content-type", "content-length", "content-encoding")
_LIMIT: Final = 2**16
_LOOPS: Final = ("__aiter__", "iter_chunked", "iter_any", "iter_chunks")
"""Methods of aiohttp's reader that only call its others."""
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
    kept: type[Any] = type("KeptReader", (_KeptReader,), {name: getattr(aiohttp.StreamReader, name) for name in _LOOPS})

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
            response = play(session, sent, exchange)
        else:
            if exchange.instead is not None:
                url, options = exchange.instead.uri, _instead(exchange.instead, options)
            with inside(), exchange.watched():
                response = await original(session, method, url, raise_for_status=False, **options)
            is_plain = session.auto_decompress if options.get("auto_decompress") is None else options["auto_decompress"]
            exchange.answered(response.status, response.reason or "", response.headers, is_plain=bool(is_plain))
            response.content = kept(response.content, exchange)
        check = session.raise_for_status if check is None else check
        if check not in (True, False):
            await check(response)
        elif check:
            response.raise_for_status()
        return response

    return [patch(aiohttp.ClientSession, "_request", request)]


def _sent(session: Any, method: str, url: Any, options: dict[str, Any]) -> RecordedRequest:
    address = session._build_url(url)
    if options.get("params"):
        address = address.update_query(options["params"])
    json, data = options.get("json"), options.get("data")
    if json is not None:
        data = session.json_serialize(json)
    headers = {**session.headers, **dict(options.get("headers") or {})}
    sent = request_of(method, str(address), headers, getattr(data, "_value", data))
    if sent.headers.get("upgrade", "").lower() == "websocket":
        raise RecordingError(
            f"A websocket ({address.host}) cannot be recorded: a recording supports only requests with a single answer."
        )
    return sent


def _instead(request: RecordedRequest, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the request that a fork sends in place of the program's."""
    given = dict(options.get("headers") or {})
    headers = {name: value for name, value in given.items() if str(name).lower() not in _OF_BODY}
    headers["Content-Type"] = "application/json"
    return {**options, "json": None, "params": None, "data": request.body, "headers": headers}


def _noted(name: str) -> Callable[..., Any]:
    """Return the method of a reader that notes what it has read."""

    async def read(reader: Any, *arguments: Any, **options: Any) -> Any:
        with reader._exchange.watched():
            found = await getattr(reader._inner, name)(*arguments, **options)
        reader._note(found[0] if name == "readchunk" else found)
        return found

    return read


class _KeptReader:
    """Reader of aiohttp that notes everything that is read."""

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    read = _noted("read")
    readany = _noted("readany")
    readline = _noted("readline")
    readuntil = _noted("readuntil")
    readexactly = _noted("readexactly")
    readchunk = _noted("readchunk")

    def read_nowait(self, n: int = -1) -> bytes:
        """Read the available bytes."""
        piece: bytes = self._inner.read_nowait(n)
        self._note(piece)
        return piece

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

    def _note(self, piece: bytes) -> None:
        self._exchange.arrived(piece)
        if self._inner.at_eof():
            self._exchange.ended()


class _Player:
    """Maker of answers of aiohttp's own class, without a connection."""

    def __init__(self, aiohttp: ModuleType) -> None:
        self._aiohttp = aiohttp
        self._reader: type[Any] = type("PlayedReader", (_PlayedReader, aiohttp.StreamReader), {})

    def __call__(self, session: Any, sent: RecordedRequest, exchange: Exchange) -> Any:
        """Return the recorded answer, or raise the recorded exception."""
        from multidict import CIMultiDict, CIMultiDictProxy
        from yarl import URL

        answer = exchange.played_answer(self._error)
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
        response.content = self._reader(loop, exchange.playback(self._error), exchange)
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

    def _error(self, name: str, text: str) -> Exception:
        """Return the recorded exception, by its name."""
        if name == "TimeoutError":
            return TimeoutError(text)
        other = "ServerTimeoutError" if "timeout" in name.lower() else "ClientOSError"
        kind = getattr(self._aiohttp, name if name in _SIMPLE else other, self._aiohttp.ClientOSError)
        error: Exception = kind(text)
        return error


class _NothingWritten:
    """Writer of a request that was not sent."""

    output_size = 0


class _PlayedReader:
    """Reader of aiohttp that adds a recorded event whenever it would wait for one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pieces: Iterator[bytes], exchange: Exchange) -> None:
        from aiohttp.base_protocol import BaseProtocol

        super().__init__(BaseProtocol(loop), _LIMIT, loop=loop)  # type: ignore[call-arg]
        self._pieces = pieces
        self._exchange = exchange
        self._own: Any = cast("Any", self)
        self._own.begin_http_chunk_receiving()

    async def _wait(self, func_name: str) -> None:
        try:
            piece = next(self._pieces, None)
        except Exception as error:
            self._own.set_exception(error)
            raise
        if piece is None:
            self._own.feed_eof()
            return
        self._own.feed_data(piece, len(piece))
        self._own.end_http_chunk_receiving()

    def __del__(self) -> None:
        self._exchange.left()
