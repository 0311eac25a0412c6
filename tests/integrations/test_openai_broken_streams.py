"""Streams of the openai client in pieces of any size and in unusual forms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from library_members import skip_without
from openai_library import HTTP
from openai_traffic import CHAT_USAGE, MODEL, chunk, delta
from pandaprobe_otel_integrations.openai import OpenAIInstrumentor
from provider_server import sse
from span_recorder import SpanRecorder, answer_text

WORDS = ("So", " élan", "!")
CHAT_BODY = b"".join(
    [
        *(sse(chunk(delta(content=word))) for word in WORDS),
        sse(chunk(delta(finish_reason="stop"), usage=CHAT_USAGE)),
        b"data: [DONE]\n\n",
    ]
)


class _Pieces(HTTP.SyncByteStream):
    """A body in pieces, whose connection ends or breaks after the last piece."""

    def __init__(self, pieces: list[bytes], breaks: bool) -> None:
        self._pieces = pieces
        self._breaks = breaks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._breaks:
            raise HTTP.ReadError("gone")


class _Provider:
    """A transport that answers each request with the scripted pieces."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.breaks = False

    def __call__(self, request: Any) -> Any:
        headers = {"content-type": "text/event-stream"}
        return HTTP.Response(200, headers=headers, stream=_Pieces(self.pieces, self.breaks), request=request)


@pytest.fixture
def provider() -> _Provider:
    """Return the provider of this test's client."""
    return _Provider()


@pytest.fixture
def client(provider: _Provider) -> Iterator[openai.OpenAI]:
    """Yield a client without a network."""
    http_client = HTTP.Client(transport=HTTP.MockTransport(provider))
    with openai.OpenAI(api_key="none", http_client=http_client, max_retries=0) as made:
        yield made


def _chat(client: openai.OpenAI) -> tuple[str, str]:
    """Return the text that the app read, and how its loop ended."""
    read: list[str] = []
    try:
        for item in client.chat.completions.create(model=MODEL, messages=[], stream=True):
            read += [choice.delta.content or "" for choice in item.choices]
    except Exception as error:  # noqa: BLE001 - which error it is depends on the byte where the stream broke
        return "".join(read), repr(error)
    return "".join(read), "ended"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_stream_comes_in_any_pieces(
    size: int, provider: _Provider, client: openai.OpenAI, recorder: SpanRecorder
) -> None:
    """Events and characters that are split between pieces are whole in the span."""
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=recorder.provider)
    provider.pieces = [CHAT_BODY[start : start + size] for start in range(0, len(CHAT_BODY), size)]
    assert _chat(client) == ("So élan!", "ended")
    instrumentor.uninstrument()
    attributes = recorder.attributes()
    assert answer_text(attributes) == "So élan!"
    assert attributes["gen_ai.usage.output_tokens"] == CHAT_USAGE["completion_tokens"]


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_other_line_ends(line_end: bytes, provider: _Provider, client: openai.OpenAI, recorder: SpanRecorder) -> None:
    """Other line ends and comments, which some proxies send, are accepted."""
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=recorder.provider)
    provider.pieces = [b": PROCESSING\n\n".replace(b"\n", line_end), CHAT_BODY.replace(b"\n", line_end)]
    _chat(client)
    instrumentor.uninstrument()
    assert answer_text(recorder.attributes()) == "So élan!"


def test_content_that_quotes_the_last_event(provider: _Provider, client: openai.OpenAI, recorder: SpanRecorder) -> None:
    """A chunk that begins inside a text which looks like the stream's last event does not end the stream."""
    quoting = sse(chunk(delta(content="So data: [DONE] is the mark")))
    at = quoting.index(b"data: [DONE]")
    provider.pieces = [
        quoting[:at],
        quoting[at:],
        sse(chunk(delta(content="."), usage=CHAT_USAGE)),
        b"data: [DONE]\n\n",
    ]
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=recorder.provider)
    assert _chat(client) == ("So data: [DONE] is the mark.", "ended")
    instrumentor.uninstrument()
    assert answer_text(recorder.attributes()) == "So data: [DONE] is the mark."


def test_stream_is_complete_with_its_last_event(
    provider: _Provider, client: openai.OpenAI, recorder: SpanRecorder
) -> None:
    """An app that reads lines itself and stops at the last event has a complete span."""
    skip_without(client, "chat.completions.with_streaming_response")
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=recorder.provider)
    provider.pieces = [CHAT_BODY, b": more, some time later\n\n"]
    create = client.chat.completions.with_streaming_response.create
    with create(model=MODEL, messages=[], stream=True) as answer:
        for line in answer.iter_lines():
            if line == "data: [DONE]":
                break
        assert recorder.attributes()["gen_ai.usage.output_tokens"] == CHAT_USAGE["completion_tokens"]
    instrumentor.uninstrument()
    assert len(recorder.spans) == 1
