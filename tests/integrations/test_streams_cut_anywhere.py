"""Streams that stop at any byte, of the clients that share no code with openai's (whose test is with its own)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anthropic
import cohere
import httpx
import pytest
from anthropic import _base_client
from opentelemetry.sdk.trace import ReadableSpan

from anthropic_traffic import REQUEST
from conformance.libraries import anthropic as anthropic_library
from conformance.libraries import cohere as cohere_library
from conformance.libraries import mistralai as mistralai_library
from pandaprobe_otel.registry import instrument, uninstrument
from span_recorder import SpanRecorder

ANTHROPIC_HTTP: Any = getattr(_base_client, "httpx2", None) or _base_client.httpx  # type: ignore[attr-defined]
Opening = Callable[[], Any]
Made = tuple["_Provider", Opening, Opening]


class _Provider:
    """Answers each request with the first bytes of a body; then the body ends, or breaks."""

    def __init__(self, http: Any, body: bytes, content_type: str) -> None:
        self.body = body
        self.stop = 0
        self.breaks = False
        self.http = http
        self._content_type = content_type
        self._sync = type("Sync", (_Cut, http.SyncByteStream), {})
        self._async = type("Async", (_Cut, http.AsyncByteStream), {})

    def answer(self, request: Any) -> Any:
        return self._response(request, self._sync(self))

    async def answer_async(self, request: Any) -> Any:
        return self._response(request, self._async(self))

    def _response(self, request: Any, stream: Any) -> Any:
        headers = {"content-type": self._content_type}
        return self.http.Response(200, headers=headers, stream=stream, request=request)

    @property
    def client(self) -> Any:
        """A synchronous HTTP client of this provider."""
        return self.http.Client(transport=self.http.MockTransport(self.answer))

    @property
    def async_client(self) -> Any:
        """An asynchronous HTTP client of this provider."""
        return self.http.AsyncClient(transport=self.http.MockTransport(self.answer_async))


class _Cut:
    def __init__(self, provider: _Provider) -> None:
        self._provider = provider

    def __iter__(self) -> Iterator[bytes]:
        yield self._provider.body[: self._provider.stop]
        self._end()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._provider.body[: self._provider.stop]
        self._end()

    def _end(self) -> None:
        if self._provider.breaks:
            raise self._provider.http.ReadError("gone")


def _anthropic() -> Made:
    body = b"".join(anthropic_library.MESSAGES.answer.chunks)
    provider = _Provider(ANTHROPIC_HTTP, body, "text/event-stream")
    sync = anthropic.Anthropic(api_key="none", http_client=provider.client, max_retries=0)
    other = anthropic.AsyncAnthropic(api_key="none", http_client=provider.async_client, max_retries=0)

    async def stream_async() -> Any:
        return await other.messages.create(**REQUEST, stream=True)

    return provider, lambda: sync.messages.create(**REQUEST, stream=True), stream_async


def _cohere() -> Made:
    provider = _Provider(httpx, b"".join(cohere_library.V2.answer.chunks), "text/event-stream")
    sync = cohere.ClientV2(api_key="none", httpx_client=provider.client)
    other = cohere.AsyncClientV2(api_key="none", httpx_client=provider.async_client)

    async def stream_async() -> Any:
        return other.chat_stream(**cohere_library.CHAT)

    return provider, lambda: sync.chat_stream(**cohere_library.CHAT), stream_async


def _cohere_v1() -> Made:
    provider = _Provider(httpx, b"".join(cohere_library.V1.answer.chunks), "application/stream+json")
    sync = cohere.Client(api_key="none", httpx_client=provider.client)
    other = cohere.AsyncClient(api_key="none", httpx_client=provider.async_client)

    async def stream_async() -> Any:
        return other.chat_stream(**cohere_library.CHAT_V1)

    return provider, lambda: sync.chat_stream(**cohere_library.CHAT_V1), stream_async


def _mistralai() -> Made:
    http: Any = __import__(mistralai_library.MODULE.Mistral.__init__.__globals__["httpx"].__name__)
    provider = _Provider(http, b"".join(mistralai_library.CHATS.answer.chunks), "text/event-stream")
    client = mistralai_library.MODULE.Mistral(
        api_key="none", client=provider.client, async_client=provider.async_client
    )

    async def stream_async() -> Any:
        return await client.chat.stream_async(**mistralai_library.CHAT)

    return provider, lambda: client.chat.stream(**mistralai_library.CHAT), stream_async


LIBRARIES = {"anthropic": _anthropic, "cohere": _cohere, "cohere v1": _cohere_v1, "mistralai": _mistralai}
STEPS = {"anthropic": 23, "cohere": 41, "cohere v1": 7, "mistralai": 199}
"""Bytes between two cuts, by what a stream costs its client: steps that are prime reach every kind of place."""


def _read(opening: Opening) -> tuple[list[str], str]:
    seen: list[str] = []
    try:
        seen.extend(repr(item) for item in opening())
    except Exception as error:  # noqa: BLE001 - whatever the client makes of it
        return seen, repr(error)
    return seen, "end"


async def _read_async(opening: Opening) -> tuple[list[str], str]:
    seen: list[str] = []
    try:
        seen.extend([repr(item) async for item in await opening()])
    except Exception as error:  # noqa: BLE001 - as above
        return seen, repr(error)
    return seen, "end"


@pytest.mark.parametrize("breaks", [False, True], ids=["ends", "breaks"])
@pytest.mark.parametrize("library", LIBRARIES)
async def test_stream_stops_at_any_byte(library: str, breaks: bool, recorder: SpanRecorder) -> None:
    """Cut at every offset: the app sees what it saw without, and one span has no more and no less than came."""
    provider, opening, opening_async = LIBRARIES[library]()
    provider.breaks = breaks

    async def seen_at(offset: int) -> Any:
        provider.stop = offset
        return _read(opening), await _read_async(opening_async)

    offsets = range(0, len(provider.body) + 1, STEPS[library])
    without = [await seen_at(offset) for offset in offsets]
    name = library.partition(" ")[0]
    instrument(name, tracer_provider=recorder.provider)
    try:
        assert [await seen_at(offset) for offset in offsets] == without
    finally:
        uninstrument(name)
    assert len(recorder.spans) == 2 * len(offsets)
    assert all(anthropic_library.MESSAGES.expected.text.startswith(_said(span)) for span in recorder.spans)


def _said(span: ReadableSpan) -> str:
    messages = json.loads(str((span.attributes or {}).get("gen_ai.output.messages", "[]")))
    return "".join(part["content"] for message in messages for part in message["parts"])
