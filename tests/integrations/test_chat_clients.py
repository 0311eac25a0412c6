"""groq and together, whose clients resemble OpenAI's and speak its protocol, beyond the tests of conformance/."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import groq
import pytest
import together
from opentelemetry.trace import StatusCode

import recorded_chats
from openai_traffic import (
    ANSWER,
    ANSWERED_BY,
    MODEL,
    QUESTION,
    TOOL,
    chat_chunks,
    chunk,
    completion,
    delta,
    embedding,
    error,
)
from pandaprobe_otel.registry import instrument, uninstrument, wrap_groq, wrap_together
from provider_server import ProviderServer, events_reply, json_reply
from recorded_traffic import exchanges, name, recordings, replayed
from span_recorder import SpanRecorder, answer_text

CHAT: Any = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}
PAUSE_S = 0.002
CALLS: dict[str, Callable[[Any], Any]] = {
    "create": lambda client: client.chat.completions.create(**CHAT, tools=[TOOL]),
    "with_options": lambda client: client.with_options(timeout=9).chat.completions.create(**CHAT, tools=[TOOL]),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """Either groq or together, with its clients and calls."""

    name: str
    provider: str
    client: Callable[..., Any]
    async_client: Callable[..., Any]
    wrap: Callable[[Any], Any]
    rate_limit_error: type[Exception]

    def __str__(self) -> str:
        return self.name


GROQ = Library(
    name="groq",
    provider="groq",
    client=groq.Groq,
    async_client=groq.AsyncGroq,
    wrap=wrap_groq,
    rate_limit_error=groq.RateLimitError,
)
TOGETHER = Library(
    name="together",
    provider="together_ai",
    client=together.Together,
    async_client=together.AsyncTogether,
    wrap=wrap_together,
    rate_limit_error=together.RateLimitError,
)
LIBRARIES = (GROQ, TOGETHER)
each = pytest.mark.parametrize("library", LIBRARIES, ids=str)
RECORDED = [
    pytest.param(library, recording, id=f"{library}-{name(recording)}")
    for library in LIBRARIES
    for recording in recordings(library.name)
]


@pytest.fixture(autouse=True)
def off_again() -> Iterator[None]:
    """Uninstrument after each test."""
    yield
    for library in LIBRARIES:
        uninstrument(library.name)


def _client(library: Library, server: ProviderServer) -> Any:
    return library.client(base_url=server.url, api_key="none", max_retries=0)


def _check_answer(attributes: dict[str, Any]) -> None:
    assert attributes["gen_ai.response.model"] == ANSWERED_BY
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert attributes["gen_ai.usage.output_tokens"] == 34
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 64
    assert answer_text(attributes) == ANSWER


@each
def test_stream(library: Library, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The first token and cached tokens are recorded, without attribute names that belong to OpenAI."""
    server.replies(events_reply(chat_chunks(), pause_s=PAUSE_S))
    instrument(library.name, tracer_provider=recorder.provider)
    with _client(library, server) as client:
        list(client.chat.completions.create(**CHAT, stream=True))
    attributes = recorder.attributes()
    assert attributes["gen_ai.provider.name"] == library.provider
    assert not any(name.startswith("openai.") for name in attributes)
    assert attributes["gen_ai.response.time_to_first_chunk"] >= PAUSE_S
    _check_answer(attributes)


@pytest.mark.parametrize("name", CALLS)
@each
def test_answered_call(library: Library, name: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Cached tokens and offered tools are recorded, even for a client made from another with `with_options`."""
    server.replies(json_reply(completion()))
    with _client(library, server) as client:
        without = CALLS[name](client)
        instrument(library.name, tracer_provider=recorder.provider)
        result = CALLS[name](client)
    assert (type(result), repr(result)) == (type(without), repr(without))
    _check_answer(recorder.attributes())
    assert recorder.json("gen_ai.tool.definitions")[0]["name"] == "get_weather"


@each
def test_refused_call(library: Library, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The provider's error reaches the app unchanged; the span has status ERROR with the error's type and text."""
    server.replies(json_reply(error(), status=429))
    instrument(library.name, tracer_provider=recorder.provider)
    with _client(library, server) as client, pytest.raises(library.rate_limit_error) as caught:
        client.chat.completions.create(**CHAT)
    assert recorder.one().status.status_code is StatusCode.ERROR
    assert recorder.one().status.description == str(caught.value)
    assert recorder.attributes()["error.type"] == f"{library.name}.RateLimitError"


@each
def test_wrapped_client(library: Library, server: ProviderServer, recorder: SpanRecorder) -> None:
    """`wrap_groq` and `wrap_together` return the client itself, and its calls are recorded."""
    server.replies(json_reply(completion()))
    instrument(library.name, tracer_provider=recorder.provider)
    with _client(library, server) as client:
        assert library.wrap(client) is client
        client.chat.completions.create(**CHAT)
    assert recorder.attributes()["gen_ai.provider.name"] == library.provider


def test_usage_of_groqs_streams(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The usage of a stream is read from `x_groq` in the last chunk, where Groq puts it."""
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
    with _client(GROQ, server) as client:
        list(client.chat.completions.create(**CHAT, stream=True))
    attributes = recorder.attributes()
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (7, 2)


def test_embeddings_and_completions_of_together(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Embeddings, without their vectors, and completions are recorded."""
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
    with _client(TOGETHER, server) as client:
        client.embeddings.create(model="e", input="x")
        client.completions.create(model="m", prompt="Hello")
    embedded, completed = recorder.spans
    assert (embedded.name, completed.name) == ("embeddings e", "text_completion m")
    assert (embedded.attributes or {})["gen_ai.embeddings.dimension.count"] == 3
    assert " there" in str((completed.attributes or {})["gen_ai.output.messages"])


def test_text_beside_a_delta_of_together(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Text that Together repeats as `text` beside the content of a delta counts once."""
    piece = {"index": 0, "text": "So", "delta": {"role": "assistant", "content": "So"}, "finish_reason": "stop"}
    server.replies(events_reply([chunk(piece)]))
    instrument("together", tracer_provider=recorder.provider)
    with _client(TOGETHER, server) as client:
        list(client.chat.completions.create(**CHAT, stream=True))
    assert answer_text(recorder.attributes()) == "So"


@pytest.mark.skipif(not RECORDED, reason="no collection of recordings beside the checkout")
@pytest.mark.parametrize(("library", "recording"), RECORDED)
def test_recording(library: Library, recording: Path, recorder: SpanRecorder) -> None:
    """Recorded calls are spans with the recorded tokens, text and calls."""
    instrument(library.name, tracer_provider=recorder.provider)
    exchange = next(one for one in exchanges(recording) if recorded_chats.is_call(one))
    with replayed(recording), library.client(api_key="none", max_retries=0) as client:
        answer: Any = client.chat.completions.create(**exchange.request)
        if exchange.request.get("stream"):
            list(answer)
    recorded_chats.check(recorder.one(), exchange)


@pytest.mark.outer
@pytest.mark.skipif(not RECORDED, reason="no collection of recordings beside the checkout")
@pytest.mark.parametrize(("library", "recording"), RECORDED)
async def test_recording_asynchronously(library: Library, recording: Path, recorder: SpanRecorder) -> None:
    """The asynchronous client passes the checks of the synchronous one."""
    instrument(library.name, tracer_provider=recorder.provider)
    exchange = next(one for one in exchanges(recording) if recorded_chats.is_call(one))
    with replayed(recording):
        async with library.async_client(api_key="none", max_retries=0) as client:
            answer: Any = await client.chat.completions.create(**exchange.request)
            if exchange.request.get("stream"):
                [item async for item in answer]
    recorded_chats.check(recorder.one(), exchange)
