"""The cohere client's calls besides chats, and recorded calls; conformance/ tests ways of asking and ending."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cohere
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan

from pandaprobe_otel.registry import instrument, uninstrument, wrap_cohere
from provider_server import ProviderServer, Received, Reply, json_reply
from recorded_traffic import Exchange, exchanges, name, recordings, replayed
from span_recorder import SpanRecorder

RECORDINGS = recordings("cohere")
META: Any = {"api_version": {"version": "1"}, "billed_units": {"input_tokens": 7}}


@pytest.fixture(autouse=True)
def instrumented(recorder: SpanRecorder) -> Iterator[None]:
    """Instrument the library for each test."""
    instrument("cohere", tracer_provider=recorder.provider)
    yield
    uninstrument("cohere")


def _embedded(received: Received) -> Reply:
    vectors = [[0.5, -0.5, 0.25] for _ in received.json["texts"]]
    return json_reply(
        {"id": "e1", "response_type": "embeddings_floats", "embeddings": vectors, "texts": [], "meta": META}
    )


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_many_texts_are_several_calls(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Many texts are several requests of the client, and each is a span below the current span."""
    server.script = _embedded
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
    assert {_attributes(span)["gen_ai.embeddings.dimension.count"] for span in spans} == {3}
    assert sum(_attributes(span)["gen_ai.usage.input_tokens"] for span in spans) == 14


def test_texts_and_images_of_the_second_version(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Images are recorded as digests, and the dimensions are read from any encoding with one number for each."""
    answer = {"id": "e1", "embeddings": {"float": [[0.5, 1.0]], "base64": ["AAA="]}, "texts": [], "meta": META}
    server.replies(json_reply({"response_type": "embeddings_by_type", **answer}))
    images, types = ["data:image/png;base64,AAAA"], ["float", "base64"]
    with cohere.ClientV2(api_key="none", base_url=server.url) as client:
        client.embed(model="e", input_type="image", images=images, embedding_types=types)
    attributes = recorder.attributes()
    assert attributes["gen_ai.embeddings.dimension.count"] == 2
    assert attributes["gen_ai.request.encoding_formats"] == ("float", "base64")
    (message,) = json.loads(attributes["gen_ai.input.messages"])
    (image,) = message["parts"]
    assert (image["type"], image["mime_type"], image["bytes"]) == ("blob", "image/png", 3)


def test_conversation_of_the_second_version(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Instructions, plans, tool calls, tool results and thoughts are recorded."""
    content = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "So."}]
    server.replies(
        json_reply({"id": "c1", "message": {"role": "assistant", "content": content}, "finish_reason": "MAX_TOKENS"})
    )
    call = {"id": "c1", "type": "function", "function": {"name": "get", "arguments": '{"a": 1}'}}
    document = {"type": "document", "document": {"data": '{"found": true}'}}
    with cohere.ClientV2(api_key="none", base_url=server.url) as client:
        client.chat(
            model="m",
            messages=[
                {"role": "system", "content": "Be short."},
                {"role": "user", "content": [{"type": "text", "text": "Now?"}]},
                {"role": "assistant", "tool_plan": "I look.", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": [document]},
            ],  # type: ignore[list-item, unused-ignore]
            k=5,
            p=0.5,
            stop_sequences=["x"],
        )
    attributes = recorder.attributes()
    assert (attributes["gen_ai.request.top_k"], attributes["gen_ai.request.top_p"]) == (5.0, 0.5)
    assert attributes["gen_ai.response.finish_reasons"] == ("length",)
    messages = json.loads(attributes["gen_ai.input.messages"])
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool"]
    assert messages[2]["parts"] == [
        {"type": "reasoning", "content": "I look."},
        {"type": "tool_call", "id": "c1", "name": "get", "arguments": {"a": 1}},
    ]
    assert messages[3]["parts"] == [{"type": "tool_call_response", "id": "c1", "response": [{"found": True}]}]
    (said,) = json.loads(attributes["gen_ai.output.messages"])
    assert said["parts"] == [{"type": "reasoning", "content": "Hm."}, {"type": "text", "content": "So."}]


def test_resends_are_one_call(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A call that the client retries after a temporary refusal is one successful call."""
    server.replies(
        Reply(chunks=(b"{}",), status=503, headers={"retry-after": "0.001", "retry-after-ms": "1"}),
        json_reply({"response_id": "r", "text": "Yes.", "generation_id": "g", "finish_reason": "COMPLETE"}),
    )
    with cohere.Client(api_key="none", base_url=server.url) as client:
        client.chat(message="Now?", request_options={"max_retries": 1})
    assert len(server.received) == 2
    assert recorder.one().status.is_unset


def test_other_requests_are_no_calls(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Counting tokens makes no span."""
    server.replies(json_reply({"tokens": [1], "token_strings": ["x"]}))
    with cohere.Client(api_key="none", base_url=server.url) as client:
        client.tokenize(text="x", model="m", offline=False)
    assert recorder.spans == []


def test_wrapped_client(server: ProviderServer, recorder: SpanRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """`wrap_cohere` returns the client itself and records only its calls."""
    uninstrument("cohere")
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", recorder.provider)
    answer = {"response_id": "r", "text": "Yes.", "generation_id": "g", "finish_reason": "COMPLETE"}
    server.replies(json_reply(answer))
    with (
        cohere.Client(api_key="none", base_url=server.url) as one,
        cohere.Client(api_key="none", base_url=server.url) as other,
    ):
        assert wrap_cohere(one) is one
        one.chat(message="Mine?")
        other.chat(message="Theirs?")
    assert len(server.received) == 2
    assert "Mine?" in recorder.attributes()["gen_ai.input.messages"]


@pytest.mark.skipif(not RECORDINGS, reason="no collection of recordings beside the checkout")
@pytest.mark.parametrize("recording", RECORDINGS, ids=name)
def test_recording(recording: Path, recorder: SpanRecorder) -> None:
    """Every recorded call is one span with the recorded tokens, finish reason, text and calls."""
    called = exchanges(recording)
    with replayed(recording):
        for exchange in called:
            answer = _method(cohere.Client, cohere.ClientV2, exchange)(**_arguments(exchange))
            if exchange.request.get("stream"):
                list(answer)
    for span, exchange in zip(recorder.spans, called, strict=True):
        _check(span, exchange)


@pytest.mark.outer
@pytest.mark.skipif(not RECORDINGS, reason="no collection of recordings beside the checkout")
@pytest.mark.parametrize("recording", RECORDINGS, ids=name)
async def test_recording_asynchronously(recording: Path, recorder: SpanRecorder) -> None:
    """The asynchronous client passes the checks of the synchronous one."""
    called = exchanges(recording)
    with replayed(recording):
        for exchange in called:
            answer = _method(cohere.AsyncClient, cohere.AsyncClientV2, exchange)(**_arguments(exchange))
            if exchange.request.get("stream"):
                [item async for item in answer]
            else:
                await answer
    for span, exchange in zip(recorder.spans, called, strict=True):
        _check(span, exchange)


def _method(first: Any, second: Any, exchange: Exchange) -> Any:
    kind = second if "/v2/" in exchange.path else first
    method = exchange.path.rpartition("/")[2] + ("_stream" if exchange.request.get("stream") else "")
    return getattr(kind(api_key="none"), method)


def _arguments(exchange: Exchange) -> dict[str, Any]:
    return {name: value for name, value in exchange.request.items() if name != "stream" and value is not None}


def _check(span: ReadableSpan, exchange: Exchange) -> None:
    attributes = _attributes(span)
    assert span.status.is_unset
    assert attributes["gen_ai.request.model"] == exchange.request["model"]
    answer = _whole(exchange)
    billed = (answer.get("usage") or answer.get("meta") or {})["billed_units"]
    assert attributes.get("gen_ai.usage.input_tokens") == billed.get("input_tokens")
    assert attributes.get("gen_ai.usage.output_tokens") == billed.get("output_tokens")
    if "results" in answer:
        assert attributes["gen_ai.retrieval.query.text"] == exchange.request["query"]
        found = [(one["id"], one["score"]) for one in json.loads(attributes["gen_ai.retrieval.documents"])]
        assert found == [(str(one["index"]), one["relevance_score"]) for one in answer["results"]]
        return
    assert attributes["gen_ai.response.finish_reasons"] == (
        {"COMPLETE": "stop", "TOOL_CALL": "tool_call"}[_reason(answer)],
    )
    parts = [part for message in json.loads(attributes["gen_ai.output.messages"]) for part in message["parts"]]
    assert "".join(part["content"] for part in parts if part["type"] == "text") == _text(answer)
    calls = [call["function"]["name"] for call in (answer.get("message") or {}).get("tool_calls") or []]
    assert [part["name"] for part in parts if part["type"] == "tool_call"] == calls


def _whole(exchange: Exchange) -> dict[str, Any]:
    """Return the answer, joined from its events if it was streamed."""
    if exchange.answer.startswith("{") and "\n" in exchange.answer.strip():
        last: dict[str, Any] = json.loads(exchange.answer.strip().splitlines()[-1])
        return dict(last["response"])
    payloads = exchange.payloads
    if "type" not in payloads[0]:
        return payloads[0]
    pieces = [(one.get("delta") or {}).get("message", {}).get("content") or {} for one in payloads]
    text = "".join(piece.get("text", "") for piece in pieces if isinstance(piece, dict))
    end = payloads[-1]["delta"]
    return {"text": text, "usage": end["usage"], "finish_reason": end["finish_reason"]}


def _reason(answer: dict[str, Any]) -> str:
    return str(answer.get("finish_reason") or answer["generations"][0]["finish_reason"])


def _text(answer: dict[str, Any]) -> str:
    if "generations" in answer:
        return "".join(one["text"] for one in answer["generations"])
    content = (answer.get("message") or {}).get("content") or []
    return str(answer.get("text") or "") + "".join(piece.get("text", "") for piece in content)
