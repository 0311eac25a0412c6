"""Oddities of Cohere's, Mistral's and Ollama's clients, beyond the tests of conformance/."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cohere
import ollama
import pytest
from opentelemetry import trace

from conformance.adapter import Adapter, adapters
from conformance.libraries import mistralai
from library_members import skip_without
from openai_traffic import MODEL, QUESTION, completion
from pandaprobe_otel.registry import instrument, uninstrument
from provider_server import ProviderServer, Received, Reply, json_reply
from span_recorder import SpanRecorder

LIBRARIES = ("cohere", "mistralai", "ollama")
CHAT: Any = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}
ADAPTERS = {adapter.title: adapter for adapter in adapters()}


@pytest.fixture(autouse=True)
def instrumented(recorder: SpanRecorder) -> Iterator[None]:
    """Instrument the libraries for each test."""
    for library in LIBRARIES:
        instrument(library, tracer_provider=recorder.provider)
    yield
    for library in LIBRARIES:
        uninstrument(library)


def test_many_texts_are_several_calls(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Many texts are several requests of Cohere's client, and each is a span below the current span."""

    def embedded(received: Received) -> Reply:
        vectors = [[0.5, -0.5, 0.25] for _ in received.json["texts"]]
        meta = {"billed_units": {"input_tokens": 7}}
        return json_reply(
            {"id": "e", "response_type": "embeddings_floats", "embeddings": vectors, "texts": [], "meta": meta}
        )

    server.script = embedded
    with (
        ThreadPoolExecutor(2) as pool,
        cohere.Client(api_key="none", base_url=server.url, thread_pool_executor=pool) as client,
        recorder.tracer.start_as_current_span("app") as app,
    ):
        answer: Any = client.embed(texts=["x"] * 100, model="e", input_type="search_document")
    assert len(answer.embeddings) == 100
    spans = [span for span in recorder.spans if span.name == "embeddings e"]
    assert len(spans) == len(server.received) == 2
    assert {span.parent.span_id if span.parent else None for span in spans} == {app.get_span_context().span_id}
    assert sum(int(str((span.attributes or {})["gen_ai.usage.input_tokens"])) for span in spans) == 14


def test_resends_are_one_call(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A call that Cohere's client retries after a temporary refusal is one successful call."""
    server.replies(
        Reply(chunks=(b"{}",), status=503, headers={"retry-after": "0.001", "retry-after-ms": "1"}),
        json_reply({"response_id": "r", "text": "Yes.", "generation_id": "g", "finish_reason": "MAX_TOKENS"}),
    )
    with cohere.Client(api_key="none", base_url=server.url) as client:
        client.chat(message="Now?", request_options={"max_retries": 1})
    assert len(server.received) == 2
    assert recorder.one().status.is_unset
    assert recorder.attributes()["gen_ai.response.finish_reasons"] == ("length",)


def _mistral(server: ProviderServer) -> Any:
    return mistralai.client(server.url, 20.0)


def test_own_spans_are_silent_while_we_record(
    server: ProviderServer, recorder: SpanRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a client that makes its own spans, a call is still one span: the client's own or ours."""
    skip_without(mistralai.MODULE, "_hooks.tracing")
    monkeypatch.setenv("MISTRAL_SDK_TELEMETRY", "global")
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", recorder.provider)
    server.replies(json_reply(completion()))
    names: list[list[str]] = []
    with _mistral(server) as client:
        for _ in range(2):
            recorder.clear()
            client.chat.complete(**CHAT)
            names.append(recorder.names)
            uninstrument("mistralai")
    assert names[0] == [f"chat {MODEL}"]
    assert len(names[1]) == 1


def test_functions_of_a_module(server: ProviderServer, recorder: SpanRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ollama.chat` and similar functions are recorded, although their client was made before instrumenting."""
    adapter: Adapter = ADAPTERS["ollama"]
    server.replies(
        Reply(chunks=(adapter.answer.whole,)),
        Reply(chunks=adapter.answer.chunks, content_type=adapter.answer.stream_type),
    )
    default: Any = ollama.chat.__self__  # type: ignore[attr-defined]
    with adapter.client(server.url, 20.0) as client:
        monkeypatch.setattr(default, "_client", client._client)
        ollama.chat(**CHAT)
        list(ollama.chat(**CHAT, stream=True))
    assert recorder.names == [f"chat {MODEL}"] * 2
