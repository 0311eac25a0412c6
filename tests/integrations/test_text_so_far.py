"""Streams that the app is reading provide their text so far, for a live view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import openai
import pytest

from openai_traffic import ANSWER, MODEL, QUESTION, chat_chunks, response_events
from pandaprobe_otel.process import open_streams
from pandaprobe_otel_integrations.openai import OpenAIInstrumentor
from provider_server import ProviderServer, events_reply
from span_recorder import SpanRecorder


@pytest.fixture
def client(server: ProviderServer, recorder: SpanRecorder) -> Iterator[openai.OpenAI]:
    """Yield an instrumented client."""
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=recorder.provider)
    with openai.OpenAI(api_key="k", base_url=server.url, max_retries=0) as made:
        yield made
    instrumentor.uninstrument()


def states_of(stream: Iterable[object]) -> list[str]:
    """Read a stream to its end; return each different state of its text meanwhile."""
    seen: list[str] = []
    for _ in stream:
        for one in open_streams.open_streams():
            if (text := one.text_so_far()) and text not in seen:
                seen.append(text)
    return seen


@pytest.mark.parametrize("form", ["chat", "response"])
def test_text_of_an_open_stream(
    client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder, form: str
) -> None:
    """The text of an open stream grows, from the answer's beginning; after its end, the stream is not listed."""
    server.replies(events_reply(chat_chunks() if form == "chat" else response_events(), named=form == "response"))
    if form == "chat":
        messages: Any = [{"role": "user", "content": QUESTION}]
        seen = states_of(client.chat.completions.create(model=MODEL, messages=messages, stream=True))
    else:
        seen = states_of(client.responses.create(model=MODEL, input=QUESTION, stream=True))

    assert len(seen) > 1
    assert all(ANSWER.startswith(text) for text in seen)
    assert not open_streams.any_open()
    assert len(recorder.spans) == 1


def test_a_forgotten_stream_is_not_held() -> None:
    """The register of streams does not keep a dropped stream alive."""

    class Stream:
        def span_ids(self) -> tuple[int, int]:
            return 1, 2

        def text_so_far(self) -> str | None:
            return "text"

    stream = Stream()
    open_streams.register(stream)
    assert [one.text_so_far() for one in open_streams.open_streams()] == ["text"]
    del stream
    assert not open_streams.any_open()
