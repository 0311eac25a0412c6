"""An app that polls for a result has one trace with the result, and no traces of polls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import anthropic
import openai
import pytest
from opentelemetry.sdk.trace import TracerProvider

from anthropic_traffic import REQUEST, message
from library_members import skip_without
from openai_traffic import ANSWER, MODEL, QUESTION, response
from pandaprobe_otel import PandaProbeSpanProcessor
from pandaprobe_otel.registry import instrument, uninstrument
from provider_server import ProviderServer, Received, Reply, json_reply
from strict_pandaprobe import StrictPandaProbe

POLLS = 5
BATCH = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "in_progress",
    "request_counts": {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-02T00:00:00Z",
}


@pytest.fixture
def pandaprobe() -> Iterator[StrictPandaProbe]:
    """Yield the scripted PandaProbe that receives the traces."""
    with StrictPandaProbe() as running:
        yield running


@pytest.fixture
def provider(pandaprobe: StrictPandaProbe) -> Iterator[TracerProvider]:
    """Yield the app's tracer provider; uninstrument after the test."""
    made = TracerProvider()
    made.add_span_processor(PandaProbeSpanProcessor(api_key="sk_pp_x", project_name="p", endpoint=pandaprobe.url))
    yield made
    made.shutdown()
    uninstrument("openai")
    uninstrument("anthropic")


@pytest.mark.parametrize("is_sent_before", [False, True])
def test_background_response(
    is_sent_before: bool, server: ProviderServer, provider: TracerProvider, pandaprobe: StrictPandaProbe
) -> None:
    """One trace has the answer and its tokens once, even if its beginning was sent while the app waited."""
    made = f"resp_{uuid4().hex}"
    queued = response(status="queued", usage=None, output=[], background=True, id=made)
    waits = [json_reply({**queued, "status": "in_progress"})] * POLLS
    done = json_reply(response(background=True, id=made))
    server.replies(json_reply(queued), *waits, done, done)
    instrument("openai", tracer_provider=provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        skip_without(client, "responses.retrieve")
        client.responses.create(model=MODEL, input=QUESTION, background=True)
        if is_sent_before:
            assert provider.force_flush(60_000)
        for _ in range(POLLS + 2):
            client.responses.retrieve(made)
    assert provider.force_flush(60_000)
    (trace,) = pandaprobe.traces.values()
    begun, ended = trace.spans.values()
    assert ended["parent_span_id"] == begun["span_id"]
    assert "token_usage" not in begun
    assert ended["token_usage"]["completion_tokens"] == 34
    assert ANSWER in str(ended["output"])


def _anthropic(received: Received) -> Reply:
    path = received.path.partition("?")[0]
    if path.endswith("/count_tokens"):
        return json_reply({"input_tokens": 5})
    if path.endswith("/models"):
        return json_reply({"data": [], "has_more": False, "first_id": None, "last_id": None})
    return json_reply(BATCH if "/batches" in path else message())


def _ask(client: anthropic.Anthropic) -> None:
    client.messages.batches.retrieve("msgbatch_1")
    counted: Any = {"model": "claude", "messages": [{"role": "user", "content": "Hello"}]}
    client.messages.count_tokens(**counted)
    list(client.models.list())


def test_anthropics_own_spans(server: ProviderServer, provider: TracerProvider, pandaprobe: StrictPandaProbe) -> None:
    """The client's own span of a request without a model makes no trace, but stays in an agent's trace."""
    server.script = _anthropic
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        if getattr(client, "_tracer", None) is None:
            pytest.skip("this version makes no spans of its own")
    own: Any = {"open_telemetry": {"tracer_provider": provider}}
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, **own) as client:
        for _ in range(POLLS):
            _ask(client)
        assert provider.force_flush(60_000)
        assert pandaprobe.posts() == []
        with provider.get_tracer("app").start_as_current_span("agent", attributes={"gen_ai.agent.name": "a"}):
            _ask(client)
            client.messages.create(**REQUEST)
    assert provider.force_flush(60_000)
    (post,) = pandaprobe.posts()
    assert [span["name"] for span in post.body["spans"]] == [
        "agent",
        "anthropic.messages.batches.retrieve",
        "anthropic.messages.count_tokens",
        "anthropic.models.list",
        "anthropic.messages.create",
    ]
