"""Every detail of a streamed answer of the openai client; conformance/ tests other ways of asking and ending."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from library_members import skip_without
from openai_traffic import ANSWER, ANSWERED_BY, MODEL, QUESTION, chat_chunks, response_events
from pandaprobe_otel_integrations.openai import OpenAIInstrumentor
from provider_server import ProviderServer, Reply, events_reply
from span_recorder import SpanRecorder, answer_text
from streamed_forms import (
    AsyncForm,
    AsyncOpened,
    Form,
    Opened,
    Sighting,
    look,
    look_async,
    read_to_the_end,
    read_to_the_end_async,
)

MESSAGES: Any = [{"role": "user", "content": QUESTION}]
CHAT: Any = {"model": MODEL, "messages": MESSAGES}
RESPONSE: Any = {"model": MODEL, "input": QUESTION}
PAUSE_S = 0.002


def _chat_create(client: openai.OpenAI, seen: Sighting) -> Opened:
    stream = seen.saw(client.chat.completions.create(**CHAT, stream=True))
    return Opened(stream, stream.close)


def _chat_streaming_bytes(client: openai.OpenAI, seen: Sighting) -> Opened:
    manager = seen.saw(client.chat.completions.with_streaming_response.create(**CHAT, stream=True))
    answer = seen.saw(manager.__enter__())
    return Opened(seen.saw(answer.iter_bytes()), lambda: manager.__exit__(None, None, None))


def _response_create(client: openai.OpenAI, seen: Sighting) -> Opened:
    stream = seen.saw(client.responses.create(**RESPONSE, stream=True))
    return Opened(stream, stream.close)


FORMS: dict[str, Form] = {
    "chat create": _chat_create,
    "chat streaming bytes": _chat_streaming_bytes,
    "response create": _response_create,
}


async def _chat_create_async(client: openai.AsyncOpenAI, seen: Sighting) -> AsyncOpened:
    stream = seen.saw(await client.chat.completions.create(**CHAT, stream=True))
    return AsyncOpened(stream, stream.close)


async def _response_create_async(client: openai.AsyncOpenAI, seen: Sighting) -> AsyncOpened:
    stream = seen.saw(await client.responses.create(**RESPONSE, stream=True))
    return AsyncOpened(stream, stream.close)


ASYNC_FORMS: dict[str, AsyncForm] = {"chat create": _chat_create_async, "response create": _response_create_async}
NEEDED = {"chat streaming": "chat.completions.with_streaming_response", "response": "responses"}


def _skip_without(client: Any, form: str) -> None:
    skip_without(client, *(path for prefix, path in NEEDED.items() if form.startswith(prefix)))


@pytest.fixture
def instrumentor(recorder: SpanRecorder) -> Iterator[OpenAIInstrumentor]:
    """Yield the instrumentor before it instruments; uninstrument after the test."""
    made = OpenAIInstrumentor()
    yield made
    made.uninstrument()


def _traffic(form: str) -> Reply:
    payloads = response_events() if form.startswith("response") else chat_chunks()
    return events_reply(payloads, named=form.startswith("response"), done=form.startswith("chat"), pause_s=PAUSE_S)


def _check(span: ReadableSpan) -> None:
    attributes: dict[str, Any] = dict(span.attributes or {})
    assert span.name == f"chat {MODEL}"
    assert span.status.status_code is StatusCode.UNSET
    assert attributes["gen_ai.request.model"] == MODEL
    assert QUESTION in str(attributes["gen_ai.input.messages"])
    assert attributes["gen_ai.response.model"] == ANSWERED_BY
    assert attributes["gen_ai.response.id"] in ("chatcmpl-1", "resp_1")
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert attributes["gen_ai.usage.output_tokens"] == 34
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 64
    assert attributes["gen_ai.usage.reasoning.output_tokens"] == 12
    assert answer_text(attributes) == ANSWER
    assert span.end_time is not None
    assert span.start_time is not None
    lasted_s = (span.end_time - span.start_time) / 1e9
    assert PAUSE_S < attributes["gen_ai.response.time_to_first_chunk"] < lasted_s


@pytest.mark.parametrize("form", FORMS)
def test_synchronous_stream(
    form: str, server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor
) -> None:
    """The app sees the same as without us; one span has every detail of a stream that came chunk by chunk."""
    server.replies(_traffic(form))
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        _skip_without(client, form)
        without = look(read_to_the_end, FORMS[form], client)
        instrumentor.instrument(tracer_provider=recorder.provider)
        assert look(read_to_the_end, FORMS[form], client) == without
    _check(recorder.one())


@pytest.mark.parametrize("form", ASYNC_FORMS)
async def test_asynchronous_stream(
    form: str, server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor
) -> None:
    """The asynchronous client passes the checks of the synchronous one."""
    server.replies(_traffic(form))
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        _skip_without(client, form)
        without = await look_async(read_to_the_end_async, ASYNC_FORMS[form], client)
        instrumentor.instrument(tracer_provider=recorder.provider)
        assert await look_async(read_to_the_end_async, ASYNC_FORMS[form], client) == without
    _check(recorder.one())
