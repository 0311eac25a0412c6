"""Cases beyond those of conformance/ that each client library has: parameters, errors in a stream, wrapped clients."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from opentelemetry.trace import StatusCode

from aws_events import exception
from bedrock_traffic import OLD
from conformance.adapter import Adapter, adapters
from conformance.cases import look_at_call
from pandaprobe_otel.registry import instrument, wrap
from provider_server import ProviderServer, Reply, sse
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
