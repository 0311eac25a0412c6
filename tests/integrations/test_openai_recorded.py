"""Recorded traffic of OpenAI, Azure, DeepSeek and OpenRouter, replayed through the real client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import openai
import pytest

import recorded_chats
from pandaprobe_otel_integrations.openai import OpenAIInstrumentor
from recorded_traffic import SHARED, Exchange, exchanges, name, recordings, replayed
from span_recorder import SpanRecorder

RECORDINGS = recordings("openai", "azure_openai", "openrouter", "deepseek")


@pytest.fixture
def instrumented(recorder: SpanRecorder) -> Iterator[None]:
    """Instrument the library for each test."""
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=recorder.provider)
    yield
    instrumentor.uninstrument()


def test_shared_recordings_are_there() -> None:
    """The collection of recordings is complete; if it is missing, the test is skipped and there are fewer tests."""
    if not SHARED.exists():
        pytest.skip("no collection of recordings beside the checkout")
    assert len(RECORDINGS) > 40


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("recording", RECORDINGS, ids=name)
def test_recording(recording: Path, recorder: SpanRecorder) -> None:
    """Every recorded call is one span with the recorded tokens, model, finish reasons and text."""
    called = [one for one in exchanges(recording) if recorded_chats.is_call(one)]
    if not called:
        pytest.skip("no model call in this recording")
    with replayed(recording), _as_old_clients_can():
        for exchange in called:
            _call(exchange)
    for span, exchange in zip(recorder.spans, called, strict=True):
        recorded_chats.check(span, exchange)


@pytest.mark.outer
@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("recording", RECORDINGS, ids=name)
async def test_recording_asynchronously(recording: Path, recorder: SpanRecorder) -> None:
    """The asynchronous client passes the checks of the synchronous one."""
    called = [one for one in exchanges(recording) if recorded_chats.is_call(one)]
    if not called:
        pytest.skip("no model call in this recording")
    with replayed(recording), _as_old_clients_can():
        for exchange in called:
            await _call_async(exchange)
    for span, exchange in zip(recorder.spans, called, strict=True):
        recorded_chats.check(span, exchange)


@contextmanager
def _as_old_clients_can() -> Iterator[None]:
    """Skip the test for an old client that needs a content type which the recording lacks, with or without us."""
    try:
        yield
    except AttributeError as error:
        if "'NoneType' object has no attribute 'split'" not in str(error):
            raise
        pytest.skip("this version needs a content type, which the recording lacks")


def _call(exchange: Exchange) -> None:
    base_url, path, more = recorded_chats.request_of(exchange)
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as client, suppress(openai.APIStatusError):
        send: Any = client.get if exchange.method == "GET" else client.post
        answer = send(path, stream_cls=openai.Stream[object], **more)
        if more["stream"]:
            list(answer)


async def _call_async(exchange: Exchange) -> None:
    base_url, path, more = recorded_chats.request_of(exchange)
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        with suppress(openai.APIStatusError):
            send: Any = client.get if exchange.method == "GET" else client.post
            answer = await send(path, stream_cls=openai.AsyncStream[object], **more)
            if more["stream"]:
                [item async for item in answer]
