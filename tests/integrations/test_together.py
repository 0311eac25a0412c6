"""The together client: the app sees what it saw without us, each call is one span, and the span tells it all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import together
from opentelemetry.trace import StatusCode

import chat_clients
import recorded_chats
from openai_traffic import chunk, embedding
from pandaprobe_otel.registry import instrument, uninstrument, wrap_together
from provider_server import ProviderServer, events_reply, json_reply
from recorded_traffic import exchanges, name, recordings, replayed
from span_recorder import SpanRecorder

PROVIDER = "together_ai"


@pytest.fixture(autouse=True)
def off_again() -> Iterator[None]:
    """Whatever a test has turned on is off after it."""
    yield
    uninstrument("together")


def _client(server: ProviderServer) -> together.Together:
    return together.Together(base_url=server.url, api_key="none", max_retries=0)


def test_stream(server: ProviderServer, recorder: SpanRecorder) -> None:
    """What the conformance suite does not look at: the first token, cached tokens, and names that are OpenAI's own."""
    server.replies(chat_clients.STREAMED)
    instrument("together", tracer_provider=recorder.provider)
    with _client(server) as client:
        list(client.chat.completions.create(**chat_clients.CHAT, stream=True))
    chat_clients.check_stream(recorder.one(), PROVIDER)


@pytest.mark.parametrize("name", chat_clients.CALLS)
def test_answered_call(name: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """However a call is made, the app gets the same, and one span has the question, the answer and the tokens."""
    server.replies(chat_clients.ANSWERED)
    with _client(server) as client:
        without = chat_clients.CALLS[name](client)
        instrument("together", tracer_provider=recorder.provider)
        result = chat_clients.CALLS[name](client)
    assert (type(result), repr(result)) == (type(without), repr(without))
    chat_clients.check_answer(recorder.attributes())
    assert recorder.json("gen_ai.tool.definitions")[0]["name"] == "get_weather"


def test_refused_call(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The provider's error reaches the app as it is, and the span says ERROR with its type and text."""
    server.replies(chat_clients.REFUSED)
    instrument("together", tracer_provider=recorder.provider)
    with _client(server) as client, pytest.raises(together.RateLimitError) as caught:
        client.chat.completions.create(**chat_clients.CHAT)
    assert recorder.one().status.status_code is StatusCode.ERROR
    assert recorder.one().status.description == str(caught.value)
    assert recorder.attributes()["error.type"] == "together.RateLimitError"


def test_wrapped_client(server: ProviderServer, recorder: SpanRecorder) -> None:
    """`wrap_together` returns the client itself, and its calls are recorded."""
    server.replies(chat_clients.ANSWERED)
    instrument("together", tracer_provider=recorder.provider)
    with _client(server) as client:
        assert wrap_together(client) is client
        client.chat.completions.create(**chat_clients.CHAT)
    assert recorder.attributes()["gen_ai.provider.name"] == PROVIDER


def test_embeddings_and_completions(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Both are recorded, the vectors left out."""
    answer = {
        "id": "cmpl-1",
        "object": "text.completion",
        "created": 1,
        "model": "m",
        "prompt": [],
        "choices": [{"text": " there", "finish_reason": "eos"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }
    server.replies(json_reply(embedding()), json_reply(answer))
    instrument("together", tracer_provider=recorder.provider)
    with _client(server) as client:
        client.embeddings.create(model="e", input="x")
        client.completions.create(model="m", prompt="Hello")
    embedded, completed = recorder.spans
    assert (embedded.name, completed.name) == ("embeddings e", "text_completion m")
    assert (embedded.attributes or {})["gen_ai.embeddings.dimension.count"] == 3
    assert " there" in str((completed.attributes or {})["gen_ai.output.messages"])


def test_text_beside_a_delta(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Together repeats the content of a delta as `text`; it counts once."""
    piece = {"index": 0, "text": "So", "delta": {"role": "assistant", "content": "So"}, "finish_reason": "stop"}
    server.replies(events_reply([chunk(piece)]))
    instrument("together", tracer_provider=recorder.provider)
    with _client(server) as client:
        list(client.chat.completions.create(**chat_clients.CHAT, stream=True))
    assert chat_clients.said(recorder.attributes()) == "So"


@pytest.mark.skipif(not recordings("together"), reason="no collection of recordings beside the checkout")
@pytest.mark.parametrize("recording", recordings("together"), ids=name)
def test_recording(recording: Path, recorder: SpanRecorder) -> None:
    """Recorded calls are spans that have the recorded tokens, text and calls."""
    instrument("together", tracer_provider=recorder.provider)
    exchange = next(one for one in exchanges(recording) if recorded_chats.is_call(one))
    streamed = bool(exchange.request.get("stream"))
    with replayed(recording), together.Together(api_key="none", max_retries=0) as client:
        answer: Any = client.chat.completions.create(**exchange.request)
        if streamed:
            list(answer)
    recorded_chats.check(recorder.one(), exchange)


@pytest.mark.skipif(not recordings("together"), reason="no collection of recordings beside the checkout")
@pytest.mark.parametrize("recording", recordings("together"), ids=name)
async def test_recording_asynchronously(recording: Path, recorder: SpanRecorder) -> None:
    """The same through the asynchronous client."""
    instrument("together", tracer_provider=recorder.provider)
    exchange = next(one for one in exchanges(recording) if recorded_chats.is_call(one))
    with replayed(recording):
        async with together.AsyncTogether(api_key="none", max_retries=0) as client:
            answer: Any = await client.chat.completions.create(**exchange.request)
            if exchange.request.get("stream"):
                [item async for item in answer]
    recorded_chats.check(recorder.one(), exchange)
