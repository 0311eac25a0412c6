"""Streams of the openai client in pieces of any size and in unusual forms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import openai
import pytest

from library_members import skip_without
from openai_traffic import CHAT_USAGE, MODEL, chunk, delta
from pandaprobe_otel.registry import instrument, uninstrument
from provider_server import ProviderServer, Reply, sse
from span_recorder import SpanRecorder, answer_text

END = [sse(chunk(delta(finish_reason="stop"), usage=CHAT_USAGE)), b"data: [DONE]\n\n"]
BODY = b"".join([*(sse(chunk(delta(content=word))) for word in ("So", " élan", "!")), *END])


@pytest.fixture
def client(server: ProviderServer, recorder: SpanRecorder) -> Iterator[openai.OpenAI]:
    """Yield an instrumented client of the scripted provider."""
    instrument("openai", tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made
    uninstrument("openai")


def _stream(server: ProviderServer, pieces: Sequence[bytes]) -> None:
    server.replies(Reply(chunks=pieces, content_type="text/event-stream"))


def _read(client: openai.OpenAI) -> str:
    """Return the text that the app reads."""
    stream: Any = client.chat.completions.create(model=MODEL, messages=[], stream=True)
    return "".join(choice.delta.content or "" for item in stream for choice in item.choices)


QUOTING = sse(chunk(delta(content="So data: [DONE] is the mark")))
AT = QUOTING.index(b"data: [DONE]")
PIECES: dict[str, tuple[Sequence[bytes], str]] = {
    **{
        f"pieces of {size}": ([BODY[start : start + size] for start in range(0, len(BODY), size)], "So élan!")
        for size in (1, 2, 3, 7, 64)
    },
    "CRLF": ([b": PROCESSING\r\n\r\n", BODY.replace(b"\n", b"\r\n")], "So élan!"),
    "CR": ([b": PROCESSING\r\r", BODY.replace(b"\n", b"\r")], "So élan!"),
    "content that quotes the last event": (
        [QUOTING[:AT], QUOTING[AT:], sse(chunk(delta(content="."))), *END],
        "So data: [DONE] is the mark.",
    ),
}


@pytest.mark.parametrize("name", PIECES)
def test_pieces(name: str, client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Events and characters that are split between pieces, and other line ends, are whole in the span."""
    pieces, text = PIECES[name]
    _stream(server, pieces)
    assert _read(client) == text
    assert answer_text(recorder.attributes()) == text
    assert recorder.attributes()["gen_ai.usage.output_tokens"] == CHAT_USAGE["completion_tokens"]


def test_stream_is_complete_with_its_last_event(
    client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """An app that reads lines itself and stops at the last event has a complete span."""
    skip_without(client, "chat.completions.with_streaming_response")
    _stream(server, [BODY, b": more, some time later\n\n"])
    create = client.chat.completions.with_streaming_response.create
    with create(model=MODEL, messages=[], stream=True) as answer:
        for line in answer.iter_lines():
            if line == "data: [DONE]":
                break
        assert recorder.attributes()["gen_ai.usage.output_tokens"] == CHAT_USAGE["completion_tokens"]
    assert len(recorder.spans) == 1
