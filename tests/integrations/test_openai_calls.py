"""Calls of the openai client with an unstreamed answer or none."""

from __future__ import annotations

import gc
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import openai
import pydantic
import pytest
from openai.types.chat import ChatCompletion
from opentelemetry.trace import StatusCode

from library_members import skip_without
from openai_traffic import (
    ANSWER,
    ANSWERED_BY,
    MODEL,
    QUESTION,
    completion,
    embedding,
    error,
    message_item,
    response,
)
from pandaprobe_otel_integrations.openai import OpenAIInstrumentor
from provider_server import ProviderServer, Received, Reply, json_reply
from span_recorder import SpanRecorder


class Weather(pydantic.BaseModel):
    """The answer's schema for the parsing helpers."""

    sky: str


PARSED = json.dumps({"sky": "clear"})
MESSAGES: Any = [{"role": "user", "content": QUESTION}]
CHAT: Any = {"model": MODEL, "messages": MESSAGES}
RESPONSE: Any = {"model": MODEL, "input": QUESTION}

Call = Callable[[openai.OpenAI], list[Any]]
AsyncCall = Callable[[openai.AsyncOpenAI], Awaitable[list[Any]]]


def _streaming_bytes(client: openai.OpenAI) -> list[Any]:
    with client.chat.completions.with_streaming_response.create(**CHAT) as answer:
        return [answer, b"".join(answer.iter_bytes(7))]


def _streaming_json(client: openai.OpenAI) -> list[Any]:
    with client.responses.with_streaming_response.create(**RESPONSE) as answer:
        return [answer, answer.json()]


CALLS: dict[str, Call] = {
    "chat parse": lambda client: [client.chat.completions.parse(**CHAT, response_format=Weather)],
    "chat streaming bytes": _streaming_bytes,
    "chat post": lambda client: [client.post("/chat/completions", body=CHAT, cast_to=ChatCompletion)],
    "response parse": lambda client: [client.responses.parse(**RESPONSE, text_format=Weather)],
    "response streaming json": _streaming_json,
}


async def _parse_async(client: openai.AsyncOpenAI) -> list[Any]:
    return [await client.chat.completions.parse(**CHAT, response_format=Weather)]


async def _response_parse_async(client: openai.AsyncOpenAI) -> list[Any]:
    return [await client.responses.parse(**RESPONSE, text_format=Weather)]


ASYNC_CALLS: dict[str, AsyncCall] = {"chat parse": _parse_async, "response parse": _response_parse_async}


NEEDED = {
    "parse": ("chat.completions.parse",),
    "streaming": ("chat.completions.with_streaming_response",),
    "response": ("responses.parse",),
}


def _skip_without(client: Any, name: str) -> None:
    skip_without(client, *(path for word, paths in NEEDED.items() if word in name for path in paths))


@pytest.fixture
def instrumentor() -> Iterator[OpenAIInstrumentor]:
    """Yield the instrumentor before it instruments; uninstrument after the test."""
    made = OpenAIInstrumentor()
    yield made
    made.uninstrument()


def _answer(name: str) -> Reply:
    text = PARSED if "parse" in name else ANSWER
    if name.startswith("response"):
        return json_reply(response(message_item(text)))
    return json_reply(completion({"content": text}))


def _seen(results: list[Any]) -> list[tuple[type, str]]:
    """Return types and contents, but only the type of a raw response, whose text has its address."""
    return [(type(one), "" if "Response" in type(one).__name__ else repr(one)) for one in results]


@pytest.mark.parametrize("name", CALLS)
def test_answered_call(
    name: str, server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor
) -> None:
    """For ways of asking beyond conformance/, the app gets the same, and one span has the answer and the tokens."""
    server.replies(_answer(name))
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        _skip_without(client, name)
        without = _seen(CALLS[name](client))
        instrumentor.instrument(tracer_provider=recorder.provider)
        assert _seen(CALLS[name](client)) == without
    _check(recorder)


@pytest.mark.parametrize("name", ASYNC_CALLS)
async def test_answered_asynchronous_call(
    name: str, server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor
) -> None:
    """The asynchronous client passes the checks of the synchronous one."""
    server.replies(_answer(name))
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        _skip_without(client, name)
        without = _seen(await ASYNC_CALLS[name](client))
        instrumentor.instrument(tracer_provider=recorder.provider)
        assert _seen(await ASYNC_CALLS[name](client)) == without
    _check(recorder)


def _check(recorder: SpanRecorder) -> None:
    attributes = recorder.attributes()
    assert recorder.one().status.status_code is StatusCode.UNSET
    assert recorder.one().name == f"chat {MODEL}"
    assert attributes["gen_ai.response.model"] == ANSWERED_BY
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert attributes["gen_ai.usage.output_tokens"] == 34
    assert "gen_ai.response.time_to_first_chunk" not in attributes
    (message,) = recorder.json("gen_ai.output.messages")
    assert message["parts"] in ([{"type": "text", "content": text}] for text in (ANSWER, PARSED))


FAILURES: dict[str, tuple[Reply, type[Exception], str]] = {
    "429": (json_reply(error(), status=429), openai.RateLimitError, "RateLimitError"),
    "timeout": (json_reply(completion(), waits_s=2.0), openai.APITimeoutError, "APITimeoutError"),
    "broken": (Reply(chunks=(b'{"id":',), breaks_off=True), Exception, "APIConnectionError"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", FAILURES)
def test_failed_call(
    name: str, stream: bool, server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor
) -> None:
    """The provider's error reaches the app unchanged; the span has status ERROR with the error's type and text."""
    reply, kind, type_name = FAILURES[name]
    server.replies(reply)
    # Only the read timeout is short, since a loaded machine connects slowly.
    timeout = openai.Timeout(20.0, read=0.2) if name == "timeout" else 20.0
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=timeout) as client:
        without = _failure(client, kind, stream)
        instrumentor.instrument(tracer_provider=recorder.provider)
        assert _failure(client, kind, stream) == without
    attributes = recorder.attributes()
    assert recorder.one().status.status_code is StatusCode.ERROR
    if not (stream and name == "broken"):  # the app gets an exception raised from the error of the broken body
        assert attributes["error.type"] == f"openai.{type_name}"
        assert recorder.one().status.description == without
    assert attributes["gen_ai.request.model"] == MODEL
    assert "gen_ai.usage.input_tokens" not in attributes


def _failure(client: openai.OpenAI, kind: type[Exception], stream: bool) -> str:
    with pytest.raises(kind) as caught:
        list(client.chat.completions.create(**CHAT, stream=stream))
    return str(caught.value)


async def test_failed_asynchronous_call(
    server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor
) -> None:
    """The asynchronous client passes the checks of the synchronous one."""
    server.replies(json_reply(error(), status=429))
    instrumentor.instrument(tracer_provider=recorder.provider)
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(**CHAT)
    assert recorder.attributes()["error.type"] == "openai.RateLimitError"
    assert recorder.one().status.description == str(caught.value)


async def test_coroutine_that_is_never_awaited_makes_no_span(
    server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor
) -> None:
    """A coroutine that is never awaited makes no span, since a span begins with the await."""
    instrumentor.instrument(tracer_provider=recorder.provider)
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        client.chat.completions.create(**CHAT).close()
        skip_without(client, "chat.completions.stream")
        manager = client.chat.completions.stream(**CHAT)
        manager._AsyncChatCompletionStreamManager__api_request.close()  # type: ignore[attr-defined]
        gc.collect()
    assert recorder.spans == []
    assert server.received == []


def test_retries_are_counted_in_one_span(
    server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor
) -> None:
    """Two refusals and an answer are one call: one span without an error, with the number of resends."""
    hurried = {"retry-after-ms": "1"}
    refusal = Reply(chunks=(b"{}",), status=503, headers=hurried)
    server.replies(refusal, refusal, json_reply(completion()))
    instrumentor.instrument(tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=3) as client:
        client.chat.completions.create(**CHAT)
    assert len(server.received) == 3
    if "x-stainless-retry-count" not in server.received[2].headers:
        pytest.skip(f"openai {openai.__version__} does not tell how often it has tried")
    assert recorder.attributes()["http.request.resend_count"] == 2
    assert recorder.one().status.status_code is StatusCode.UNSET


def test_answer_that_the_helper_refuses_keeps_its_tokens(
    server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor
) -> None:
    """An answer that `parse` refuses, since it was cut, has a failed span with its tokens, which were paid for."""
    skip_without(openai, "LengthFinishReasonError")
    cut = completion({"content": '{"sky'})
    cut["choices"][0]["finish_reason"] = "length"
    server.replies(json_reply(cut))
    instrumentor.instrument(tracer_provider=recorder.provider)
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    skip_without(client, "chat.completions.parse")
    with client, pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(**CHAT, response_format=Weather)
    assert recorder.one().status.status_code is StatusCode.ERROR
    assert recorder.attributes()["error.type"].endswith("LengthFinishReasonError")
    assert recorder.attributes()["gen_ai.usage.output_tokens"] == 34


@pytest.mark.parametrize("vector", [(0.25, -0.5, 0.75), "AACAPgAAAL8AAEA/"])
def test_embeddings(
    vector: Any, server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor
) -> None:
    """Texts, model, tokens and the length of the vectors are recorded, but not the vectors."""
    server.replies(json_reply(embedding(vector)))
    instrumentor.instrument(tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        try:
            client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
        except openai.OpenAIError as error_of_old_versions:
            pytest.skip(str(error_of_old_versions).strip())
    attributes = recorder.attributes()
    assert recorder.one().name == "embeddings text-embedding-3-small"
    assert attributes["gen_ai.operation.name"] == "embeddings"
    assert attributes["gen_ai.embeddings.dimension.count"] == 3
    assert attributes["gen_ai.usage.input_tokens"] == 8
    assert "gen_ai.usage.output_tokens" not in attributes
    texts = [part["content"] for part in recorder.json("gen_ai.input.messages")[0]["parts"]]
    assert texts == ["one", "two"]
    assert not any("0.25" in str(value) or "AACAPg" in str(value) for value in attributes.values())


def test_legacy_completion(server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor) -> None:
    """A prompt without messages and its completion are recorded."""
    answer = {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "davinci-002",
        "choices": [{"index": 0, "text": " there", "finish_reason": "length", "logprobs": None}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }
    server.replies(json_reply(answer))
    instrumentor.instrument(tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        client.completions.create(model="davinci-002", prompt="Hello", max_tokens=1, stop="\n")
    attributes = recorder.attributes()
    assert recorder.one().name == "text_completion davinci-002"
    assert attributes["gen_ai.response.finish_reasons"] == ("length",)
    assert attributes["gen_ai.request.stop_sequences"] == ("\n",)
    assert recorder.json("gen_ai.input.messages")[0]["parts"][0]["content"] == "Hello"
    assert recorder.json("gen_ai.output.messages")[0]["parts"][0]["content"] == " there"


@pytest.mark.parametrize(
    ("status", "outcome", "code"),
    [
        ("completed", None, StatusCode.UNSET),
        ("incomplete", "partial", StatusCode.UNSET),
        ("cancelled", "cancelled", StatusCode.UNSET),
        ("failed", None, StatusCode.ERROR),
    ],
)
def test_status_of_a_response(
    status: str,
    outcome: str | None,
    code: StatusCode,
    server: ProviderServer,
    recorder: SpanRecorder,
    instrumentor: OpenAIInstrumentor,
) -> None:
    """The span has the response's status: a cancelled response is not a success."""
    error = {"code": "server_error", "message": "Oh"} if status == "failed" else None
    server.replies(json_reply(response(status=status, error=error)))
    instrumentor.instrument(tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        skip_without(client, "responses")
        client.responses.create(model=MODEL, input=QUESTION)
    assert recorder.attributes().get("pandaprobe.outcome") == outcome
    assert recorder.one().status.status_code is code


def _fetched(received: Received) -> Reply:
    stored = response(id="resp_9", background="background" in received.path)
    return json_reply(stored)


def test_fetched_response_costs_nothing_again(
    server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor
) -> None:
    """Fetching a finished response is a span with the answer, but without tokens, which the first call has counted."""
    server.script = _fetched
    instrumentor.instrument(tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        skip_without(client, "responses.retrieve")
        client.responses.retrieve("resp_9")
    attributes = recorder.attributes()
    assert attributes["gen_ai.operation.name"] == "fetch_response"
    assert attributes["gen_ai.response.id"] == "resp_9"
    assert attributes["gen_ai.response.status"] == "completed"
    assert recorder.json("gen_ai.output.messages")[0]["parts"][0]["content"] == ANSWER
    assert not any(name.startswith("gen_ai.usage") for name in attributes)


def test_background_response_counts_once(
    server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor
) -> None:
    """The first fetch that finds a background response complete records its tokens."""
    made = f"resp_background_{id(recorder)}"
    queued: dict[str, Any] = {"usage": None, "output": [], "background": True, "id": made}
    server.replies(
        json_reply(response(status="queued", **queued)),
        json_reply(response(status="in_progress", **queued)),
        json_reply(response(background=True, id=made)),
        json_reply(response(background=True, id=made)),
    )
    instrumentor.instrument(tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        skip_without(client, "responses.retrieve")
        client.responses.create(**RESPONSE, background=True)
        for _ in range(3):
            client.responses.retrieve(made)
    counted = [(span.attributes or {}).get("gen_ai.usage.output_tokens") for span in recorder.spans]
    assert counted == [None, 34]
    begun, fetched = recorder.spans
    assert (fetched.context.trace_id, fetched.parent) == (begun.context.trace_id, begun.context)


def test_polls_belong_to_what_they_ask_for(
    server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor
) -> None:
    """A poll's span is in the trace that began the response, even if the poll is made in another trace."""
    made = f"resp_polled_{id(recorder)}"
    queued = response(status="queued", usage=None, output=[], background=True, id=made)
    tracer = recorder.provider.get_tracer("app")
    for asks_elsewhere in (False, True):
        name = f"{made}_{asks_elsewhere}"
        server.replies(json_reply({**queued, "id": name}), json_reply(response(background=True, id=name)))
        instrumentor.instrument(tracer_provider=recorder.provider)
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            skip_without(client, "responses.retrieve")
            with tracer.start_as_current_span("asks"):
                client.responses.create(**RESPONSE, background=True)
                if not asks_elsewhere:
                    client.responses.retrieve(name)
            if asks_elsewhere:
                with tracer.start_as_current_span("other"):
                    client.responses.retrieve(name)
        spans = {span.name.split()[0]: span for span in recorder.spans}
        parent = "chat" if asks_elsewhere else "asks"
        assert spans["fetch_response"].parent == spans[parent].context
        recorder.clear()


@pytest.mark.parametrize(
    ("status", "outcome"), [("cancelled", "cancelled"), ("failed", None), ("incomplete", "partial")]
)
def test_background_response_that_does_not_succeed(
    status: str,
    outcome: str | None,
    server: ProviderServer,
    recorder: SpanRecorder,
    instrumentor: OpenAIInstrumentor,
) -> None:
    """The poll that finds the end of a failed or cancelled background response records how it ended."""
    made = f"resp_{status}_{id(recorder)}"
    error = {"code": "server_error", "message": "Oh"} if status == "failed" else None
    ended = response(status=status, background=True, id=made, error=error)
    server.replies(json_reply(ended), json_reply(ended))
    instrumentor.instrument(tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        skip_without(client, "responses.retrieve")
        client.responses.retrieve(made)
        client.responses.retrieve(made)
    assert recorder.attributes().get("pandaprobe.outcome") == outcome
    assert (recorder.one().status.status_code is StatusCode.ERROR) == (status == "failed")


def test_response_that_was_told_is_not_told_again(
    server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor
) -> None:
    """Reading a finished response again makes no span, since the call that created it recorded its end."""
    server.replies(json_reply(response(id=f"resp_told_{id(recorder)}")))
    instrumentor.instrument(tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        skip_without(client, "responses.retrieve")
        made = client.responses.create(**RESPONSE)
        client.responses.retrieve(made.id)
    assert [span.name.split()[0] for span in recorder.spans] == ["chat"]


def test_background_response_that_is_streamed_later(
    server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor
) -> None:
    """A background response that is streamed later is recorded below the span that began it."""
    made = f"resp_streamed_{id(recorder)}"
    done = response(background=True, id=made)
    event = {"type": "response.completed", "sequence_number": 9, "response": done}
    chunk = f"event: response.completed\ndata: {json.dumps(event)}\n\n".encode()
    queued = response(status="queued", usage=None, output=[], background=True, id=made)
    server.replies(json_reply(queued), Reply(chunks=[chunk], content_type="text/event-stream"))
    instrumentor.instrument(tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        skip_without(client, "responses.retrieve")
        client.responses.create(**RESPONSE, background=True)
        list(client.responses.retrieve(made, stream=True))
    begun, fetched = recorder.spans
    assert fetched.parent == begun.context
    assert (fetched.attributes or {})["gen_ai.usage.output_tokens"] == 34


def test_other_requests_make_no_span(
    server: ProviderServer, recorder: SpanRecorder, instrumentor: OpenAIInstrumentor
) -> None:
    """Requests for models, input items and deletions make no span."""
    server.replies(json_reply({"object": "list", "data": [], "has_more": False, "id": "x", "deleted": True}))
    instrumentor.instrument(tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        skip_without(client, "responses.input_items")
        list(client.models.list())
        list(client.responses.input_items.list("resp_1"))
        client.responses.delete("resp_1")
        client.chat.completions.delete("chatcmpl-1")
    assert len(server.received) == 4
    assert recorder.spans == []
