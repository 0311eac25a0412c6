"""The anthropic client: the app sees the same as without us, and each call is one span with all of its content."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from anthropic import _base_client
from opentelemetry import trace

from anthropic_traffic import (
    MODEL,
    REQUEST,
    events,
    message,
)
from pandaprobe_otel.registry import instrument, uninstrument
from pandaprobe_otel_integrations._streams.body import ObservedBody, observed
from provider_server import ProviderServer, events_reply, json_reply
from span_recorder import SpanRecorder

HAS_OWN_SPANS = hasattr(_base_client.BaseClient, "_tracer")


@pytest.fixture(autouse=True)
def global_provider(recorder: SpanRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the recorder's provider as the global one, which gets the client's own spans."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", recorder.provider)


def _client(server: ProviderServer, **more: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, **more)


@pytest.mark.skipif(not HAS_OWN_SPANS, reason="this version of anthropic makes no spans of its own")
def test_own_spans_come_back(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The client's own span is replaced while we record, and returns after uninstrumenting."""
    server.replies(json_reply(message()))
    with _client(server) as client:
        for _ in range(2):
            client.messages.create(**REQUEST)
            instrument("anthropic", tracer_provider=recorder.provider)
            client.messages.create(**REQUEST)
            uninstrument("anthropic")
    own, ours = "anthropic.messages.create", f"chat {MODEL}"
    assert recorder.names == [own, ours, own, ours]


@pytest.mark.parametrize("stream", [False, True])
def test_trace_headers_of_the_request(stream: bool, server: ProviderServer, recorder: SpanRecorder) -> None:
    """If the client writes trace headers, they name our span while we record the call."""
    server.replies(events_reply(events(), named=True, done=False) if stream else json_reply(message()))
    with _client(server) as client:
        for _ in range(2):
            answer: Any = client.messages.create(**{**REQUEST, "stream": stream})
            assert not stream or list(answer)
            instrument("anthropic", tracer_provider=recorder.provider)
    without, with_us = (request.headers.get("traceparent") for request in server.received)
    span = recorder.one(f"chat {MODEL}").get_span_context()
    assert span is not None
    assert with_us == (
        f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}" if without is not None else None
    )


@pytest.mark.skipif(not HAS_OWN_SPANS, reason="this version of anthropic makes no spans of its own")
def test_own_spans_into_another_pipeline_stay(server: ProviderServer, recorder: SpanRecorder) -> None:
    """If the app sends the client's own spans to another pipeline, these stay, and ours go to our pipeline."""
    elsewhere = SpanRecorder()
    server.replies(json_reply(message()))
    instrument("anthropic", tracer_provider=recorder.provider)
    with _client(server, open_telemetry={"tracer_provider": elsewhere.provider}) as client:
        client.messages.create(**REQUEST)
    assert recorder.names == [f"chat {MODEL}"]
    assert elsewhere.names == ["anthropic.messages.create"]
    elsewhere.provider.shutdown()


@pytest.mark.skipif(not HAS_OWN_SPANS, reason="this version of anthropic makes no spans of its own")
def test_client_without_a_pipeline_asks_as_it_would_without_us(server: ProviderServer, recorder: SpanRecorder) -> None:
    """If the client's own spans go nowhere, our instrumentation adds no trace context to the request."""
    server.replies(json_reply(message()))
    with _client(server, open_telemetry={"tracer_provider": trace.NoOpTracerProvider()}) as client:
        client.messages.create(**REQUEST)
        instrument("anthropic", tracer_provider=recorder.provider)
        client.messages.create(**REQUEST)
    assert recorder.names == [f"chat {MODEL}"]
    without, with_us = (sorted(name.lower() for name in received.headers) for received in server.received)
    assert with_us == without


def test_observer_on_a_body() -> None:
    """The client looks for an observer on the body at every event; our body always has this attribute."""
    module: Any = _base_client
    http = getattr(module, "httpx2", None) or module.httpx
    body = type("Body", (http.SyncByteStream,), {})
    watched, plain = body(), body()
    watched.stream_observer = observer = object()
    assert observed(watched, ObservedBody(lambda record: None)).stream_observer is observer
    assert vars(observed(plain, ObservedBody(lambda record: None)))["stream_observer"] is None
