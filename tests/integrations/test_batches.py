"""Batches are submitted once, polled many times and read at the end: they are not model calls, but have costs."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest

from anthropic_traffic import ANSWER, REQUEST, USAGE, message
from library_members import skip_without
from openai_traffic import RESPONSE_USAGE
from pandaprobe_otel.registry import instrument
from provider_server import ProviderServer, Reply, json_reply
from span_recorder import SpanRecorder


def _need(kind: Any, path: str) -> None:
    skip_without(kind(api_key="none"), path)


def _batch(batch_id: str, status: str, **more: Any) -> dict[str, Any]:
    return {
        "id": batch_id,
        "object": "batch",
        "endpoint": "/v1/responses",
        "input_file_id": "file-1",
        "completion_window": "24h",
        "created_at": 1,
        "status": status,
        **more,
    }


def _done(batch_id: str) -> dict[str, Any]:
    counts = {"total": 3, "completed": 2, "failed": 1}
    return _batch(batch_id, "completed", request_counts=counts, usage=RESPONSE_USAGE, model="gpt-5-mini")


def test_openai(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Submitting makes one span; of the polls, only the first that finds the batch done makes one, with the tokens."""
    _need(openai.OpenAI, "batches")
    server.replies(
        *map(json_reply, (_batch("b1", "validating"), _batch("b1", "in_progress"), _done("b1"), _done("b1")))
    )
    instrument("openai", tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        made = client.batches.create(input_file_id="file-1", endpoint="/v1/responses", completion_window="24h")
        polled = [client.batches.retrieve(made.id) for _ in range(3)]
    assert [batch.status for batch in (made, *polled)] == ["validating", "in_progress", "completed", "completed"]
    assert recorder.names == ["create_batch", "fetch_batch"]
    created, fetched = (dict(span.attributes or {}) for span in recorder.spans)
    assert created["gen_ai.response.id"] == fetched["gen_ai.response.id"] == "b1"
    assert created["pandaprobe.batch.endpoint"] == "/v1/responses"
    assert created["pandaprobe.batch.input_file_id"] == "file-1"
    assert (fetched["gen_ai.usage.input_tokens"], fetched["gen_ai.usage.output_tokens"]) == (120, 34)
    assert (fetched["pandaprobe.batch.completed"], fetched["pandaprobe.batch.failed"]) == (2, 1)
    assert not any(name.endswith(".model") for name in (*created, *fetched))
    assert recorder.spans[1].parent == recorder.spans[0].context
    span = recorder.spans[1]
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time < span.end_time


async def test_openai_asynchronously(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The asynchronous client passes the checks of the synchronous one, and a refused poll makes no span."""
    _need(openai.AsyncOpenAI, "batches")
    server.replies(json_reply({"error": {"message": "Which?"}}, status=404), json_reply(_done("b2")))
    instrument("openai", tracer_provider=recorder.provider)
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError):
            await client.batches.retrieve("b2")
        assert recorder.spans == []
        await client.batches.retrieve("b2")
    assert recorder.names == ["fetch_batch"]


def _requests() -> Any:
    return [{"custom_id": f"ask-{number}", "params": REQUEST} for number in (1, 2)]


def _results() -> Reply:
    lines = [
        {"custom_id": "ask-1", "result": {"type": "succeeded", "message": message()}},
        {"custom_id": "ask-2", "result": {"type": "succeeded", "message": message()}},
        {
            "custom_id": "ask-3",
            "result": {"type": "errored", "error": {"type": "error", "error": {"type": "x", "message": "Too long"}}},
        },
    ]
    return Reply(chunks=[json.dumps(line).encode() + b"\n" for line in lines], content_type="application/x-jsonl")


def _state(batch_id: str, status: str) -> dict[str, Any]:
    counts = {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    return {
        "id": batch_id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": counts,
        "created_at": "2026-11-01T00:00:00Z",
        "expires_at": "2026-11-02T00:00:00Z",
        "results_url": f"/v1/messages/batches/{batch_id}/results" if status == "ended" else None,
    }


def _check_results(recorder: SpanRecorder) -> None:
    first, again = (dict(span.attributes or {}) for span in recorder.spans if span.name == "fetch_batch_results")
    sums = first["gen_ai.usage.input_tokens"], first["gen_ai.usage.output_tokens"]
    assert sums == (2 * (36 + 64 + 20), 2 * int(str(USAGE["output_tokens"])))
    assert (first["pandaprobe.batch.completed"], first["pandaprobe.batch.failed"]) == (2, 1)
    assert "gen_ai.usage.input_tokens" not in again
    messages = json.loads(str(first["gen_ai.output.messages"]))
    assert [(one["name"], one["parts"][0]["content"], one["finish_reason"]) for one in messages] == [
        ("ask-1", ANSWER, "stop"),
        ("ask-2", ANSWER, "stop"),
        ("ask-3", "Too long", "errored"),
    ]


def test_anthropic(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Submitting makes one span, and each reading of the results makes one; the tokens count once."""
    _need(anthropic.Anthropic, "messages.batches")
    state = json_reply(_state("m1", "ended"))
    server.replies(json_reply(_state("m1", "in_progress")), state, state, _results(), state, _results())
    instrument("anthropic", tracer_provider=recorder.provider)
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        made = client.messages.batches.create(requests=_requests())
        client.messages.batches.retrieve(made.id)
        read = [[line.custom_id for line in client.messages.batches.results("m1")] for _ in range(2)]
    assert read == [["ask-1", "ask-2", "ask-3"]] * 2
    assert recorder.names == ["create_batch", "fetch_batch_results", "fetch_batch_results"]
    created = dict(recorder.spans[0].attributes or {})
    assert created["pandaprobe.batch.requests"] == 2
    assert {span.context.trace_id for span in recorder.spans} == {recorder.spans[0].context.trace_id}
    assert [one["name"] for one in json.loads(str(created["gen_ai.input.messages"]))] == ["ask-1", "ask-2"]
    _check_results(recorder)


def test_openai_batch_of_another_service(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A batch without counts, usage or id, as OpenAI-compatible services return it, raises nothing."""
    _need(openai.OpenAI, "batches")
    server.replies(json_reply({"status": "completed"}))
    instrument("openai", tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        assert client.batches.retrieve("b3").status == "completed"
    assert recorder.spans == []
