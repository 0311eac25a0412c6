"""The loopback provider's answers without sockets, many times faster, for clients that use httpx or httpx2.

Requests of other HTTP libraries still go over the loopback interface. Pauses and silences of a reply are left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final
from unittest.mock import patch

from provider_server import ProviderServer, Received, Reply

_LIBRARIES: Final = tuple(name for name in ("httpx", "httpx2") if find_spec(name))
_BROKEN: Final = "peer closed connection without sending complete message body (incomplete chunked read)"
"""httpx's message for a chunked body without an end."""


@contextmanager
def without_sockets(server: ProviderServer) -> Iterator[None]:
    """Answer every client that uses httpx or httpx2 from `server.script` within the block."""
    with ExitStack() as stack:
        for name in _LIBRARIES:
            library = import_module(name)
            answer, answer_async = _answers(library, server)
            stack.enter_context(patch.object(library.HTTPTransport, "handle_request", answer))
            stack.enter_context(patch.object(library.AsyncHTTPTransport, "handle_async_request", answer_async))
        yield


def _answers(library: Any, server: ProviderServer) -> tuple[Any, Any]:
    class Body(library.SyncByteStream):
        def __init__(self, reply: Reply) -> None:
            self._reply = reply

        def __iter__(self) -> Iterator[bytes]:
            yield from self._reply.chunks
            if self._reply.breaks_off:
                raise library.RemoteProtocolError(_BROKEN)

    class AsyncBody(library.AsyncByteStream):
        def __init__(self, reply: Reply) -> None:
            self._chunks = iter(Body(reply))

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in self._chunks:
                yield chunk

    def response(request: Any, body: bytes, kind: Any) -> Any:
        reply = server.script(_received(request, body))
        headers = {"content-type": reply.content_type, **reply.headers}
        return library.Response(reply.status, headers=headers, stream=kind(reply))

    def answer(_transport: Any, request: Any) -> Any:
        return response(request, request.read(), Body)

    async def answer_async(_transport: Any, request: Any) -> Any:
        return response(request, await request.aread(), AsyncBody)

    return answer, answer_async


def _received(request: Any, body: bytes) -> Received:
    return Received(method=request.method, path=request.url.path, headers=dict(request.headers), body=body)
