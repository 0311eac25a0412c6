"""Real answers become spans, answers are rebuilt from the spans, and these answers become equal spans again."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.adapter import Adapter, Wire
from conformance.libraries import anthropic, bedrock, google_genai, openai
from pandaprobe_otel.mapping import map_trace
from pandaprobe_otel.registry import instrument, uninstrument
from pandaprobe_otel.replay.answers.protocols import protocol_of
from pandaprobe_otel.replay.answers.rebuild import rebuilt
from provider_server import ProviderServer, Reply
from rebuilt_spans import served
from rings import IN_FULL
from span_recorder import SpanRecorder
from streamed_forms import Sighting, read_to_the_end

pytestmark = list(IN_FULL)
ADAPTERS = (*openai.ADAPTERS[:2], anthropic.ADAPTERS[0], google_genai.ADAPTERS[0], bedrock.ADAPTERS[0])


def _sent(wire: Wire, *, stream: bool) -> Reply:
    if stream:
        return Reply(chunks=wire.chunks, content_type=wire.stream_type)
    return Reply(chunks=(wire.whole,))


def _span(adapter: Adapter, server: ProviderServer, recorder: SpanRecorder, *, stream: bool) -> dict[str, Any]:
    recorder.clear()
    with adapter.client(server.url, 30.0) as client:
        if stream:
            read_to_the_end(adapter.forms["stream"], client, Sighting())
        else:
            adapter.calls["plain"](client, Sighting())
    (span,) = map_trace(recorder.spans)["spans"]
    return span  # type: ignore[no-any-return]


def _told(span: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a span that describe the answer."""
    metadata = {key: span["metadata"].get(key) for key in ("finish_reasons", "response_id", "provider", "stream")}
    return {"output": span["output"], "usage": span.get("token_usage"), "model": span.get("model"), **metadata}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("what", ["answer", "tools"])
@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda one: one.title)
def test_a_rebuilt_answer_makes_the_same_span(
    adapter: Adapter, what: str, stream: bool, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """The span of a service's answer equals the span of the answer that is rebuilt from it."""
    uninstrument(adapter.integration)  # another test of this process may have left it instrumented
    instrument(adapter.integration, tracer_provider=recorder.provider)
    try:
        server.replies(_sent(getattr(adapter, what), stream=stream))
        first = _span(adapter, server, recorder, stream=stream)
        protocol = protocol_of(first)
        assert protocol is not None
        server.replies(served(rebuilt(first, protocol)))
        again = _span(adapter, server, recorder, stream=stream)
    finally:
        uninstrument(adapter.integration)
    assert _told(again) == _told(first)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda one: one.title)
def test_a_refusal_stays_one(adapter: Adapter, server: ProviderServer, recorder: SpanRecorder) -> None:
    """An HTTP error is rebuilt with its status, so that the client raises the same exception and does not retry."""
    uninstrument(adapter.integration)  # another test of this process may have left it instrumented
    instrument(adapter.integration, tracer_provider=recorder.provider)
    try:
        refused = adapter.refused
        server.replies(refused(400) if refused is not None else Reply(chunks=(adapter.refusal,), status=400))
        with pytest.raises(Exception) as first, adapter.client(server.url, 30.0) as client:
            adapter.calls["plain"](client, Sighting())
        (span,) = map_trace(recorder.spans)["spans"]
        protocol = protocol_of(span)
        assert protocol is not None
        server.replies(served(rebuilt(span, protocol)))
        server.received.clear()
        with pytest.raises(Exception) as again, adapter.client(server.url, 30.0) as client:
            adapter.calls["plain"](client, Sighting())
    finally:
        uninstrument(adapter.integration)
    assert type(again.value).__name__ == type(first.value).__name__  # botocore creates classes for each client
    assert len(server.received) == 1
