"""The groq client: the app sees what it saw without us, each call is one span, and the span tells it all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import groq
import pytest
from opentelemetry.trace import StatusCode

import chat_clients
import recorded_chats
from openai_traffic import chunk, delta
from pandaprobe_otel.registry import instrument, uninstrument, wrap_groq
from provider_server import ProviderServer, events_reply
from recorded_traffic import exchanges, name, recordings, replayed
from span_recorder import SpanRecorder

PROVIDER = "groq"


@pytest.fixture(autouse=True)
def off_again() -> Iterator[None]:
    """Whatever a test has turned on is off after it."""
    yield
    uninstrument("groq")


def _client(server: ProviderServer) -> groq.Groq:
    return groq.Groq(base_url=server.url, api_key="none", max_retries=0)


def test_stream(server: ProviderServer, recorder: SpanRecorder) -> None:
    """What the conformance suite does not look at: the first token, cached tokens, and names that are OpenAI's own."""
    server.replies(chat_clients.STREAMED)
    instrument("groq", tracer_provider=recorder.provider)
    with _client(server) as client:
        list(client.chat.completions.create(**chat_clients.CHAT, stream=True))
    chat_clients.check_stream(recorder.one(), PROVIDER)


@pytest.mark.parametrize("name", chat_clients.CALLS)
def test_answered_call(name: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """However a call is made, the app gets the same, and one span has the question, the answer and the tokens."""
    server.replies(chat_clients.ANSWERED)
    with _client(server) as client:
        without = chat_clients.CALLS[name](client)
        instrument("groq", tracer_provider=recorder.provider)
        result = chat_clients.CALLS[name](client)
    assert (type(result), repr(result)) == (type(without), repr(without))
    chat_clients.check_answer(recorder.attributes())
    assert recorder.json("gen_ai.tool.definitions")[0]["name"] == "get_weather"


def test_refused_call(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The provider's error reaches the app as it is, and the span says ERROR with its type and text."""
    server.replies(chat_clients.REFUSED)
    instrument("groq", tracer_provider=recorder.provider)
    with _client(server) as client, pytest.raises(groq.RateLimitError) as caught:
        client.chat.completions.create(**chat_clients.CHAT)
    assert recorder.one().status.status_code is StatusCode.ERROR
    assert recorder.one().status.description == str(caught.value)
    assert recorder.attributes()["error.type"] == "groq.RateLimitError"


def test_wrapped_client(server: ProviderServer, recorder: SpanRecorder) -> None:
    """`wrap_groq` returns the client itself, and its calls are recorded."""
    server.replies(chat_clients.ANSWERED)
    instrument("groq", tracer_provider=recorder.provider)
    with _client(server) as client:
        assert wrap_groq(client) is client
        client.chat.completions.create(**chat_clients.CHAT)
    assert recorder.attributes()["gen_ai.provider.name"] == PROVIDER


def test_usage_of_a_stream(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Groq puts the usage of a stream into a member of its own of the last chunk."""
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    server.replies(
        events_reply(
            [
                chunk(delta(content="So"), x_groq={"id": "req_1"}),
                chunk(delta(finish_reason="stop"), x_groq={"id": "req_1", "usage": usage}),
            ]
        )
    )
    instrument("groq", tracer_provider=recorder.provider)
    with _client(server) as client:
        list(client.chat.completions.create(**chat_clients.CHAT, stream=True))
    attributes = recorder.attributes()
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (7, 2)


@pytest.mark.skipif(not recordings("groq"), reason="no collection of recordings beside the checkout")
@pytest.mark.parametrize("recording", recordings("groq"), ids=name)
def test_recording(recording: Path, recorder: SpanRecorder) -> None:
    """Recorded calls are spans that have the recorded tokens, text and calls."""
    instrument("groq", tracer_provider=recorder.provider)
    exchange = next(one for one in exchanges(recording) if recorded_chats.is_call(one))
    streamed = bool(exchange.request.get("stream"))
    with replayed(recording), groq.Groq(api_key="none", max_retries=0) as client:
        answer: Any = client.chat.completions.create(**exchange.request)
        if streamed:
            list(answer)
    recorded_chats.check(recorder.one(), exchange)


@pytest.mark.skipif(not recordings("groq"), reason="no collection of recordings beside the checkout")
@pytest.mark.parametrize("recording", recordings("groq"), ids=name)
async def test_recording_asynchronously(recording: Path, recorder: SpanRecorder) -> None:
    """The same through the asynchronous client."""
    instrument("groq", tracer_provider=recorder.provider)
    exchange = next(one for one in exchanges(recording) if recorded_chats.is_call(one))
    with replayed(recording):
        async with groq.AsyncGroq(api_key="none", max_retries=0) as client:
            answer: Any = await client.chat.completions.create(**exchange.request)
            if exchange.request.get("stream"):
                [item async for item in answer]
    recorded_chats.check(recorder.one(), exchange)
