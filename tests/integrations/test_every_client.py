"""Cases beyond those of conformance/ that each client library has: parameters, errors in a stream, wrapped clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from aws_events import exception
from bedrock_traffic import OLD
from conformance.adapter import Adapter, adapters
from conformance.cases import look_at_call
from pandaprobe_otel.registry import instrument, wrap
from planted.rows import Row, made
from provider_server import ProviderServer, Reply, json_reply, sse
from span_recorder import SpanRecorder, answer_text
from streamed_forms import finished, sighted

ADAPTERS = {adapter.title: adapter for adapter in adapters()}
FIRST = {adapter.integration: adapter for adapter in reversed(adapters())}
"""The first adapter of each library."""
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning", "ignore:.*experimental"
)


def _whole(adapter: Adapter) -> Reply:
    return Reply(chunks=(adapter.answer.whole,), headers=dict(adapter.answer.headers))


@pytest.mark.parametrize("library", sorted({*FIRST} - {"litellm"}))
def test_wrapped_client(library: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """`wrap` returns the client itself, and only its calls are recorded."""
    adapter = FIRST[library]
    server.replies(_whole(adapter))
    instrument(library, tracer_provider=recorder.provider, only_watched_clients=True)
    with adapter.client(server.url, 20.0) as mine, adapter.client(server.url, 20.0) as other:
        assert wrap(mine) is mine
        for client in (other, mine, other):
            assert finished(look_at_call(adapter.calls["plain"], client)).raised is None
    assert recorder.one().name == adapter.expected.span_name


BUSY = {"message": "Busy", "code": 503}
ERRORS: dict[str, tuple[bytes, str]] = {
    "openai": (sse({"error": BUSY}), "503"),
    "anthropic": (
        sse({"type": "error", "error": {**BUSY, "type": "overloaded_error"}}, named=True),
        "overloaded_error",
    ),
    "google-genai": (sse({"error": {**BUSY, "status": "UNAVAILABLE"}}), "UNAVAILABLE"),
    "Bedrock Converse": (exception("modelStreamErrorException", "Busy"), "modelStreamErrorException"),
    "Bedrock InvokeModel": (exception("modelStreamErrorException", "Busy"), "modelStreamErrorException"),
    "ollama": (b'{"error": "Busy"}\n', ""),
}
"""The event with which a stream fails, and the type of the error, by adapter."""


@pytest.mark.parametrize("title", ERRORS)
def test_error_in_the_middle_of_a_stream(title: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """For an error event after some text, the app gets its exception, and the span has the text and the error."""
    adapter = ADAPTERS[title]
    event, kind = ERRORS[title]
    chunks = (*adapter.answer.chunks[: adapter.answer.opening], event)
    server.replies(Reply(chunks=chunks, content_type=adapter.answer.stream_type))
    instrument(adapter.integration, tracer_provider=recorder.provider)
    with adapter.client(server.url, 20.0) as client:
        seen = finished(sighted(adapter.forms["stream"], client))
    assert seen.raised is not None
    assert "Busy" in seen.raised[1]
    assert recorder.one().status.status_code is StatusCode.ERROR
    assert recorder.one().status.description == "Busy"
    assert kind in recorder.attributes()["error.type"]
    text = answer_text(recorder.attributes())
    assert text
    assert adapter.expected.text.startswith(text)


CHAT = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
PROFILE = "arn:aws:bedrock:us-east-1:012345678901:inference-profile/us.amazon.nova-micro-v1:0"
PARAMETERS: dict[tuple[str, str], tuple[dict[str, Any], Mapping[str, Any]]] = {
    ("openai", "chat.completions.create"): (
        {
            **CHAT,
            "temperature": 1,
            "top_p": 0.5,
            "frequency_penalty": 0,
            "presence_penalty": 1,
            "seed": 7,
            "stop": ["a", "b"],
            "n": 1,
            "response_format": {"type": "json_object"},
            "extra_body": {
                "max_completion_tokens": 50,
                "reasoning_effort": "low",
                "service_tier": "flex",
                "top_k": 4,
            },
        },
        {
            "temperature": 1.0,
            "top_p": 0.5,
            "top_k": 4.0,
            "max_tokens": 50,
            "frequency_penalty": 0.0,
            "presence_penalty": 1.0,
            "seed": 7,
            "stop_sequences": ("a", "b"),
            "reasoning.level": "low",
            "gen_ai.output.type": "json",
            "openai.request.service_tier": "flex",
            "choice.count": None,
        },
    ),
    ("openai", "completions.create"): (
        {"model": "m", "prompt": "q", "max_tokens": 1, "stop": "\n"},
        {"stop_sequences": ("\n",), "max_tokens": 1},
    ),
    ("anthropic", "messages.create"): (
        {**CHAT, "max_tokens": 9, "extra_body": {"temperature": 1, "top_k": 5}, "stop_sequences": ["END"]},
        {"temperature": 1.0, "top_k": 5.0, "max_tokens": 9, "stop_sequences": ("END",)},
    ),
    ("google-genai", "models.generate_content"): (
        {
            "model": "models/m",
            "contents": "q",
            "config": {
                "temperature": 0.5,
                "top_k": 5,
                "max_output_tokens": 9,
                "seed": 7,
                "stop_sequences": ["END"],
                "response_mime_type": "application/json",
                "candidate_count": 2,
            },
        },
        {
            "model": "m",
            "temperature": 0.5,
            "top_k": 5.0,
            "max_tokens": 9,
            "seed": 7,
            "stop_sequences": ("END",),
            "gen_ai.output.type": "json",
            "choice.count": 2,
        },
    ),
    ("Bedrock Converse", "converse"): (
        {
            "modelId": PROFILE,
            "messages": [{"role": "user", "content": [{"text": "q"}]}],
            "inferenceConfig": {"maxTokens": 9, "temperature": 0.5},
            "guardrailConfig": {"guardrailIdentifier": "g1", "guardrailVersion": "1"},
        },
        {
            "model": "us.amazon.nova-micro-v1:0",
            "max_tokens": 9,
            "temperature": 0.5,
            "aws.bedrock.guardrail.id": None if OLD else "g1",
        },
    ),
    ("cohere", "chat"): (
        {**CHAT, "k": 5, "p": 0.5, "stop_sequences": ["x"], "max_tokens": 9},
        {"top_k": 5.0, "top_p": 0.5, "stop_sequences": ("x",), "max_tokens": 9},
    ),
    ("mistralai", "chat.complete"): ({**CHAT, "random_seed": 7, "max_tokens": 9}, {"seed": 7, "max_tokens": 9}),
    ("ollama", "chat"): (
        {
            **CHAT,
            "options": {"temperature": 0.5, "num_predict": 300, "seed": 7, "stop": ["END"], "top_k": 5},
            "format": "json",
        },
        {
            "temperature": 0.5,
            "max_tokens": 300,
            "seed": 7,
            "stop_sequences": ("END",),
            "top_k": 5.0,
            "gen_ai.output.type": "json",
        },
    ),
}
"""Arguments of a call, and the attributes that they make; most names begin with `gen_ai.request.`."""


@pytest.mark.parametrize(("title", "method"), PARAMETERS)
def test_parameters(title: str, method: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Parameters have the names and types of the conventions."""
    adapter = ADAPTERS[title]
    request, expected = PARAMETERS[title, method]
    server.replies(_whole(adapter))
    instrument(adapter.integration, tracer_provider=recorder.provider)
    row = Row(client=title, method=method, request={}, answer=None, operation="", replies=json_reply)
    with adapter.client(server.url, 20.0) as client:
        made(row, client, request)
    attributes = recorder.attributes()
    for name, value in expected.items():
        found = attributes.get(name, attributes.get(f"gen_ai.request.{name}"))
        assert (found, type(found)) == (value, type(value)), name


CACHED = {"cache_read.input_tokens": 64}
REASONED = {**CACHED, "reasoning.output_tokens": 12}
DETAILS: dict[str, Mapping[str, int]] = {
    "openai": REASONED,
    "openai responses": REASONED,
    "groq": CACHED,
    "together": CACHED,
    "google-genai": REASONED,
    "anthropic": {**CACHED, "cache_creation.input_tokens": 20},
    **({} if OLD else {"Bedrock Converse": {**CACHED, "cache_creation.input_tokens": 20}}),
}
"""Counts that are part of the input or output tokens, by adapter."""


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("title", DETAILS)
def test_details_of_counts(title: str, streamed: bool, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Cached and reasoning tokens are recorded as parts of the input and output tokens, streamed or not."""
    adapter = ADAPTERS[title]
    stream = Reply(chunks=adapter.answer.chunks, content_type=adapter.answer.stream_type)
    server.replies(stream if streamed else _whole(adapter))
    instrument(adapter.integration, tracer_provider=recorder.provider)
    with adapter.client(server.url, 20.0) as client:
        if streamed:
            finished(sighted(adapter.forms["stream"], client))
        else:
            finished(look_at_call(adapter.calls["plain"], client))
    attributes = recorder.attributes()
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (120, 34)
    assert {name: attributes.get(f"gen_ai.usage.{name}") for name in DETAILS[title]} == DETAILS[title]
    assert ("gen_ai.response.time_to_first_chunk" in attributes) == streamed
