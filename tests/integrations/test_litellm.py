"""litellm beyond the tests of conformance/: early imports, routers, fallbacks, embeddings, its own spans."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from conformance.libraries.litellm import Target, litellm
from openai_traffic import (
    ANSWER,
    ANSWERED_BY,
    MODEL,
    QUESTION,
    chat_chunks,
    completion,
    error,
    response_events,
)
from pandaprobe_otel import wrap
from pandaprobe_otel.registry import instrument, instrumented, uninstrument
from provider_server import ProviderServer, Received, Reply, events_reply, json_reply
from span_recorder import SpanRecorder

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def imported_early() -> Any:
    """A function as an app imports it before it instruments."""
    return litellm.completion


@pytest.fixture(autouse=True)
def instrumented_too(recorder: SpanRecorder, imported_early: Any) -> Iterator[None]:
    """Instrument both litellm and the client that it uses."""
    for name in ("openai", "litellm"):
        instrument(name, tracer_provider=recorder.provider)
    yield
    for name in ("openai", "litellm"):
        uninstrument(name)


def _request(server: ProviderServer) -> dict[str, Any]:
    return Target(server.url, 20.0).request


def _router(server: ProviderServer, *names: str) -> Any:
    models = [{"model_name": name, "litellm_params": {"model": f"openai/{name}", **_place(server)}} for name in names]
    return litellm.Router(model_list=models, fallbacks=[{names[0]: list(names[1:])}], num_retries=0)


def _place(server: ProviderServer) -> dict[str, Any]:
    return {"api_base": f"{server.url}/v1", "api_key": "none", "max_retries": 0}


def _only(model: str) -> Any:
    """Return a provider script that answers for this model and refuses all others."""

    def answer(received: Received) -> Reply:
        request = received.json["model"]
        return json_reply(completion()) if request == model else json_reply(error(), status=500)

    return answer


def test_function_that_was_imported_before(server: ProviderServer, recorder: SpanRecorder, imported_early: Any) -> None:
    """A function that the app imported before instrumenting is recorded too."""
    server.replies(json_reply(completion()))
    imported_early(**_request(server))
    assert recorder.one().name == f"chat {MODEL}"
    recorder.clear()
    uninstrument("litellm")
    uninstrument("openai")
    imported_early(**_request(server))
    assert recorder.spans == []


async def test_router_with_a_fallback(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Each attempt of a router with a fallback is a call: the first failed, the second answered."""
    server.script = _only("second")
    router = _router(server, "first", "second")
    messages = [{"role": "user", "content": "Now?"}]
    await router.acompletion(model="first", messages=messages)
    assert [(span.name, span.status.status_code) for span in recorder.spans] == [
        ("chat first", StatusCode.ERROR),
        ("chat second", StatusCode.UNSET),
    ]
    recorder.clear()
    router.completion(model="second", messages=messages)
    assert recorder.one().name == "chat second"


@pytest.mark.parametrize("asynchronously", [False, True])
async def test_stream_of_a_text_completion(
    asynchronously: bool, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """A streamed answer of a service with text completions is one span, with its text and without an outcome."""
    chunks = [
        {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": MODEL, "choices": [choice]}
        for choice in (
            {"index": 0, "text": "Now ", "finish_reason": None},
            {"index": 0, "text": "it is.", "finish_reason": "stop"},
        )
    ]
    server.replies(events_reply(chunks))
    request: Any = {"model": f"hosted_vllm/{MODEL}", "prompt": "Now?", "stream": True, **_place(server)}
    if asynchronously:
        texts = [one.choices[0].text async for one in await litellm.atext_completion(**request)]
    else:
        texts = [one.choices[0].text for one in litellm.text_completion(**request)]
    assert "".join(filter(None, texts)) == "Now it is."
    assert recorder.one().name == f"text_completion {MODEL}"
    assert "pandaprobe.outcome" not in (recorder.one().attributes or {})
    (answer,) = recorder.json("gen_ai.output.messages")
    assert answer["parts"] == [{"type": "text", "content": "Now it is."}]


def test_own_spans_are_adopted(server: ProviderServer, recorder: SpanRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """While litellm makes spans itself, we make none, and our integration's state is "adopted"."""
    monkeypatch.setattr("litellm.success_callback", ["otel"])
    states = {result.name: result.state for result in instrumented()}
    assert states["litellm"] == "adopted"


def test_wrapped_module(server: ProviderServer, recorder: SpanRecorder) -> None:
    """`wrap` returns the module, and its calls are recorded."""
    server.replies(json_reply(completion()))
    module = sys.modules["litellm"]
    assert wrap(module) is module
    litellm.completion(**_request(server))
    assert len(recorder.spans) == 1


def _response_request(server: ProviderServer) -> dict[str, Any]:
    return {"model": f"openai/{MODEL}", "input": QUESTION, **_place(server)}


def _check_response(recorder: SpanRecorder) -> None:
    attributes = recorder.attributes()
    assert recorder.names == [f"chat {MODEL}"]
    assert attributes["gen_ai.provider.name"] == "openai"
    assert attributes["gen_ai.response.model"] == ANSWERED_BY
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert attributes["gen_ai.usage.output_tokens"] == 34
    (request,) = json.loads(attributes["gen_ai.input.messages"])
    (answer,) = json.loads(attributes["gen_ai.output.messages"])
    assert (request["parts"][0]["content"], answer["parts"][0]["content"]) == (QUESTION, ANSWER)


def test_response_stream(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A streamed response is one call that ends with the stream, whose type is unchanged."""
    server.replies(events_reply(response_events(), named=True, done=False))
    seen: list[Any] = []
    for on in (False, True):
        uninstrument("litellm")
        uninstrument("openai")
        if on:
            instrument("litellm", tracer_provider=recorder.provider)
        stream = litellm.responses(**_response_request(server), stream=True)
        seen.append((type(stream), [event.type for event in stream]))
    assert seen[0] == seen[1]
    _check_response(recorder)
    assert recorder.attributes()["gen_ai.response.time_to_first_chunk"] > 0


async def _exhausted(stream: Any) -> None:
    async for _ in stream:
        pass


async def test_response_stream_that_is_left(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A stream that the app leaves early has what arrived."""
    server.replies(events_reply(response_events(), named=True, done=False))
    stream = await litellm.aresponses(**_response_request(server), stream=True)
    if not hasattr(stream, "aclose"):
        await _exhausted(stream)
        pytest.skip("this litellm cannot close the stream of a response")
    for _ in range(6):
        await anext(stream)
    await stream.aclose()
    assert recorder.one().status.status_code is StatusCode.UNSET
    (answer,) = json.loads(recorder.attributes()["gen_ai.output.messages"])
    assert answer == {
        "role": "assistant",
        "parts": [{"type": "text", "content": "Sunny and"}],
        "finish_reason": "incomplete",
    }


def test_response_of_a_service_that_has_none(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A response that litellm makes from a chat, for a service without responses, is one call, streamed or not."""
    server.replies(json_reply(completion()), events_reply(chat_chunks()))
    request = {**_response_request(server), "model": f"together_ai/{MODEL}"}
    litellm.responses(**request)
    assert len(list(litellm.responses(**request, stream=True))) > 3
    assert recorder.names == [f"chat {MODEL}"] * 2
    for span in recorder.spans:
        assert dict(span.attributes or {})["gen_ai.usage.output_tokens"] == 34
        assert ANSWER in str(dict(span.attributes or {})["gen_ai.output.messages"])


async def test_rerank(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Synchronous and asynchronous reranking is a retrieval with the query, the documents and their scores."""
    results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.2}]
    server.replies(json_reply({"id": "r1", "results": results, "meta": {"billed_units": {"search_units": 1}}}))
    request: Any = {"model": "cohere/rerank-v3.5", "query": "Panda?", "documents": ["Bears", "Pandas"]}
    litellm.rerank(**request, api_base=server.url, api_key="none")
    await litellm.arerank(**request, api_base=server.url, api_key="none")
    assert recorder.names == ["retrieval rerank-v3.5"] * 2
    for span in recorder.spans:
        attributes = dict(span.attributes or {})
        assert attributes["gen_ai.provider.name"] == "cohere"
        assert attributes["gen_ai.retrieval.query.text"] == "Panda?"
        documents = json.loads(str(attributes["gen_ai.retrieval.documents"]))
        assert documents == [{"id": "1", "score": 0.9}, {"id": "0", "score": 0.2}]
