"""Recorded traffic of Anthropic, replayed through the real client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anthropic
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from pandaprobe_otel.registry import instrument, uninstrument
from recorded_traffic import Exchange, exchanges, name, recordings, replayed
from span_recorder import SpanRecorder

RECORDINGS = recordings("anthropic")


@pytest.fixture(autouse=True)
def instrumented(recorder: SpanRecorder) -> Iterator[None]:
    """Instrument the library for each test."""
    instrument("anthropic", tracer_provider=recorder.provider)
    yield
    uninstrument("anthropic")


@pytest.mark.skipif(not RECORDINGS, reason="no collection of recordings beside the checkout")
@pytest.mark.parametrize("recording", RECORDINGS, ids=name)
def test_recording(recording: Path, recorder: SpanRecorder) -> None:
    """Every recorded call is one span with the recorded tokens, stop reason, text and calls."""
    called = [one for one in exchanges(recording) if one.path.endswith("/messages")]
    with replayed(recording):
        for exchange in called:
            _call(exchange)
    for span, exchange in zip(recorder.spans, called, strict=True):
        _check(span, exchange)


@pytest.mark.outer
@pytest.mark.skipif(not RECORDINGS, reason="no collection of recordings beside the checkout")
@pytest.mark.parametrize("recording", RECORDINGS, ids=name)
async def test_recording_asynchronously(recording: Path, recorder: SpanRecorder) -> None:
    """The asynchronous client passes the checks of the synchronous one."""
    called = [one for one in exchanges(recording) if one.path.endswith("/messages")]
    with replayed(recording):
        for exchange in called:
            await _call_async(exchange)
    for span, exchange in zip(recorder.spans, called, strict=True):
        _check(span, exchange)


def _arguments(exchange: Exchange) -> dict[str, Any]:
    streamed = bool(exchange.request.get("stream"))
    return {"body": exchange.request, "cast_to": object, "stream": streamed}


def _call(exchange: Exchange) -> None:
    with anthropic.Anthropic(api_key="none", max_retries=0) as client, suppress(anthropic.APIStatusError):
        answer: Any = client.post("/v1/messages", stream_cls=anthropic.Stream[object], **_arguments(exchange))
        if exchange.request.get("stream"):
            list(answer)


async def _call_async(exchange: Exchange) -> None:
    async with anthropic.AsyncAnthropic(api_key="none", max_retries=0) as client:
        with suppress(anthropic.APIStatusError):
            streams = anthropic.AsyncStream[object]
            answer: Any = await client.post("/v1/messages", stream_cls=streams, **_arguments(exchange))
            if exchange.request.get("stream"):
                [item async for item in answer]


def _check(span: ReadableSpan, exchange: Exchange) -> None:
    attributes: dict[str, Any] = dict(span.attributes or {})
    assert attributes["gen_ai.request.model"] == exchange.request["model"]
    if exchange.status >= 400:
        assert span.status.status_code is StatusCode.ERROR
        return
    usage = _usage(exchange)
    cached = (usage.get("cache_read_input_tokens") or 0) + (usage.get("cache_creation_input_tokens") or 0)
    assert attributes["gen_ai.usage.input_tokens"] == usage["input_tokens"] + cached
    assert attributes["gen_ai.usage.output_tokens"] == usage["output_tokens"]
    parts = [part for message in json.loads(attributes["gen_ai.output.messages"]) for part in message["parts"]]
    text, calls, thought = _answer(exchange)
    assert "".join(part["content"] for part in parts if part["type"] == "text") == text
    assert "".join(part["content"] for part in parts if part["type"] == "reasoning") == thought
    assert [part["name"] for part in parts if part["type"] == "tool_call"] == calls
    assert all(isinstance(part["arguments"], dict) for part in parts if part["type"] == "tool_call")


def _usage(exchange: Exchange) -> dict[str, Any]:
    usage: dict[str, Any] = {}
    for payload in exchange.payloads:
        found = payload.get("usage") or (payload.get("message") or {}).get("usage") or {}
        usage.update({key: value for key, value in found.items() if value is not None})
    return usage


def _answer(exchange: Exchange) -> tuple[str, list[str], str]:
    text, thought, calls = "", "", []
    for payload in exchange.payloads:
        blocks = payload.get("content") or [payload.get("content_block") or payload.get("delta") or {}]
        for block in blocks:
            text += block.get("text") or ""
            thought += block.get("thinking") or ""
            if block.get("type") == "tool_use":
                calls.append(block["name"])
    return text, calls, thought
