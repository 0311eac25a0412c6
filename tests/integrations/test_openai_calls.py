"""Calls of the openai client with an unstreamed answer or none."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import openai
import pydantic
import pytest
from opentelemetry.trace import StatusCode

from library_members import skip_without
from openai_traffic import ANSWER, MODEL, QUESTION, completion, response
from pandaprobe_otel.registry import instrument, uninstrument
from provider_server import ProviderServer, Reply, events_reply, json_reply
from span_recorder import SpanRecorder, answer_text


class Weather(pydantic.BaseModel):
    """The answer's schema for the parsing helper."""

    sky: str


CHAT: Any = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}
RESPONSE: Any = {"model": MODEL, "input": QUESTION}


@pytest.fixture
def client(server: ProviderServer, recorder: SpanRecorder) -> Iterator[openai.OpenAI]:
    """Yield an instrumented client of the scripted provider."""
    instrument("openai", tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made
    uninstrument("openai")


async def test_coroutine_that_is_never_awaited_makes_no_span(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A coroutine that is never awaited makes no span, since a span begins with the await."""
    instrument("openai", tracer_provider=recorder.provider)
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        client.chat.completions.create(**CHAT).close()
        skip_without(client, "chat.completions.stream")
        manager = client.chat.completions.stream(**CHAT)
        manager._AsyncChatCompletionStreamManager__api_request.close()  # type: ignore[attr-defined]
        gc.collect()
    uninstrument("openai")
    assert recorder.spans == []
    assert server.received == []


def test_retries_are_counted_in_one_span(client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Two refusals and an answer are one call: one span without an error, with the number of resends."""
    refusal = Reply(chunks=(b"{}",), status=503, headers={"retry-after-ms": "1"})
    server.replies(refusal, refusal, json_reply(completion()))
    client.with_options(max_retries=3).chat.completions.create(**CHAT)
    assert len(server.received) == 3
    if "x-stainless-retry-count" not in server.received[2].headers:
        pytest.skip(f"openai {openai.__version__} does not send how often it has tried")
    assert recorder.attributes()["http.request.resend_count"] == 2
    assert recorder.one().status.status_code is StatusCode.UNSET


def test_answer_that_the_helper_refuses_keeps_its_tokens(
    client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """An answer that `parse` refuses, since it was cut, has a failed span with its tokens, which were paid for."""
    skip_without(openai, "LengthFinishReasonError")
    skip_without(client, "chat.completions.parse")
    cut = completion({"content": '{"sky'})
    cut["choices"][0]["finish_reason"] = "length"
    server.replies(json_reply(cut))
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(**CHAT, response_format=Weather)
    assert recorder.one().status.status_code is StatusCode.ERROR
    assert recorder.attributes()["error.type"].endswith("LengthFinishReasonError")
    assert recorder.attributes()["gen_ai.usage.output_tokens"] == 34


ENDS = {
    "completed": (None, StatusCode.UNSET),
    "incomplete": ("partial", StatusCode.UNSET),
    "cancelled": ("cancelled", StatusCode.UNSET),
    "failed": (None, StatusCode.ERROR),
}
"""Status of a response, and the outcome and the status of its span."""


@pytest.mark.parametrize("fetched", [False, True])
@pytest.mark.parametrize("status", ENDS)
def test_status_of_a_response(
    status: str, fetched: bool, client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """The span has the response's status, also that of the first poll that finds a background response ended."""
    skip_without(client, "responses.retrieve")
    made = f"resp_{uuid4().hex}"  # the integration remembers those that have ended
    found = {"code": "server_error", "message": "Oh"} if status == "failed" else None
    server.replies(json_reply(response(status=status, error=found, background=fetched, id=made)))
    for _ in range(2):
        client.responses.retrieve(made) if fetched else None
    if not fetched:
        client.responses.create(**RESPONSE)
    assert (recorder.attributes().get("pandaprobe.outcome"), recorder.one().status.status_code) == ENDS[status]


def test_fetched_response_costs_nothing_again(
    client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """Fetching a finished response is a span with the answer, but without tokens, which the first call has counted."""
    skip_without(client, "responses.retrieve")
    server.replies(json_reply(response(id="resp_9", background=False)))
    client.responses.retrieve("resp_9")
    attributes = recorder.attributes()
    assert attributes["gen_ai.operation.name"] == "fetch_response"
    assert (attributes["gen_ai.response.id"], attributes["gen_ai.response.status"]) == ("resp_9", "completed")
    assert answer_text(attributes) == ANSWER
    assert not any(name.startswith("gen_ai.usage") for name in attributes)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("inside", [False, True], ids=["in another trace", "in the same trace"])
def test_background_response(
    inside: bool, streamed: bool, client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """The first fetch that finds a background response complete has its tokens, in the trace that began it."""
    skip_without(client, "responses.retrieve")
    made = f"resp_{uuid4().hex}"
    queued = response(status="queued", usage=None, output=[], background=True, id=made)
    done = response(background=True, id=made)
    event = {"type": "response.completed", "sequence_number": 9, "response": done}
    ended = events_reply([event], named=True, done=False) if streamed else json_reply(done)
    server.replies(json_reply(queued), json_reply({**queued, "status": "in_progress"}), ended, ended)

    def fetch() -> None:
        client.responses.retrieve(made)
        for _ in range(1 if streamed else 2):
            answer: Any = client.responses.retrieve(made, stream=True) if streamed else client.responses.retrieve(made)
            list(answer)

    with recorder.tracer.start_as_current_span("app") as app:
        client.responses.create(**RESPONSE, background=True)
        if inside:
            fetch()
    if not inside:
        with recorder.tracer.start_as_current_span("other"):
            fetch()
    begun, fetched = (span for span in recorder.spans if span.name not in ("app", "other"))
    assert "gen_ai.usage.output_tokens" not in (begun.attributes or {})
    assert (fetched.attributes or {})["gen_ai.usage.output_tokens"] == 34
    assert fetched.parent == (app.get_span_context() if inside else begun.context)


def test_recorded_response_is_not_recorded_again(
    client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """Reading a finished response again makes no span, since the call that created it recorded its end."""
    skip_without(client, "responses.retrieve")
    server.replies(json_reply(response(id=f"resp_{uuid4().hex}")))
    client.responses.retrieve(client.responses.create(**RESPONSE).id)
    assert recorder.names == [f"chat {MODEL}"]


def test_message_that_is_the_clients_object(
    client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """A message of an answer that the app sends back is recorded as it was, whatever the app does with it later."""
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    server.replies(json_reply(completion({"tool_calls": [call]})), json_reply(completion()))
    messages: list[Any] = [client.chat.completions.create(**CHAT).choices[0].message]
    client.chat.completions.create(model=MODEL, messages=messages)
    messages.clear()
    (message,) = json.loads(str((recorder.spans[1].attributes or {})["gen_ai.input.messages"]))
    assert message["parts"] == [{"type": "tool_call", "id": "a", "name": "f", "arguments": {}}]
