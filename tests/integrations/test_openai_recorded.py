"""Recorded traffic of OpenAI, Azure, DeepSeek and OpenRouter, replayed through the real client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from pandaprobe_otel_integrations.openai import OpenAIInstrumentor
from recorded_traffic import OWN, SHARED, Exchange, exchanges, replayed
from span_recorder import SpanRecorder

FETCHED = "/responses/"
CALLED = ("/chat/completions", "/responses", "/embeddings", "/completions")


def _recordings() -> list[Path]:
    found = sorted((OWN / "openai").glob("*.yaml"))
    index = SHARED / "INDEX.tsv"
    if index.exists():
        rows = [line.split("\t") for line in index.read_text(encoding="utf-8").splitlines()[1:]]
        found += [SHARED / row[0] for row in rows if row[1] in ("openai", "azure_openai", "openrouter", "deepseek")]
    return found


def _name(path: Path) -> str:
    return "/".join(path.parts[-2:])


@pytest.fixture
def instrumented(recorder: SpanRecorder) -> Iterator[None]:
    """The instrumentation is on."""
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=recorder.provider)
    yield
    instrumentor.uninstrument()


def test_shared_recordings_are_there() -> None:
    """Says so when the collection beside the checkout is missing, since the tests below are fewer then."""
    if not SHARED.exists():
        pytest.skip("no collection of recordings beside the checkout")
    assert len(_recordings()) > 40


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("recording", _recordings(), ids=_name)
def test_recording(recording: Path, recorder: SpanRecorder) -> None:
    """Every recorded call is one span that has the recorded tokens, model, finish reasons and text."""
    called = [one for one in exchanges(recording) if _is_call(one)]
    if not called:
        pytest.skip("no call of a model in this recording")
    with replayed(recording):
        for exchange in called:
            _call(exchange)
    for span, exchange in zip(recorder.spans, called, strict=True):
        _check(span, exchange)


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("recording", _recordings(), ids=_name)
async def test_recording_asynchronously(recording: Path, recorder: SpanRecorder) -> None:
    """The first recorded call through the asynchronous client gives the same span."""
    called = [one for one in exchanges(recording) if _is_call(one)]
    if not called:
        pytest.skip("no call of a model in this recording")
    with replayed(recording):
        await _call_async(called[0])
    _check(recorder.one(), called[0])


def _is_call(exchange: Exchange) -> bool:
    return exchange.path.endswith(CALLED) if exchange.method == "POST" else FETCHED in exchange.path


def _request(exchange: Exchange) -> tuple[str, str, dict[str, Any]]:
    """Base URL, path and further arguments of the client's `post` or `get`."""
    streamed = bool(exchange.request.get("stream")) or "stream=true" in exchange.url.lower()
    more: dict[str, Any] = {"cast_to": object, "stream": streamed}
    if exchange.method == "GET":
        base_url, _, response_id = exchange.url.partition(FETCHED)
        return base_url, f"{FETCHED}{response_id}", more
    path = next(path for path in CALLED if exchange.path.endswith(path))
    return exchange.url.partition("?")[0].removesuffix(path), path, {**more, "body": exchange.request}


def _call(exchange: Exchange) -> None:
    base_url, path, more = _request(exchange)
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as client, suppress(openai.APIStatusError):
        send: Any = client.get if exchange.method == "GET" else client.post
        answer = send(path, stream_cls=openai.Stream[object], **more)
        if more["stream"]:
            list(answer)


async def _call_async(exchange: Exchange) -> None:
    base_url, path, more = _request(exchange)
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        with suppress(openai.APIStatusError):
            send: Any = client.get if exchange.method == "GET" else client.post
            answer = await send(path, stream_cls=openai.AsyncStream[object], **more)
            if more["stream"]:
                [item async for item in answer]


def _check(span: ReadableSpan, exchange: Exchange) -> None:
    attributes: dict[str, Any] = dict(span.attributes or {})
    assert attributes.get("gen_ai.request.model") == exchange.request.get("model")
    if exchange.status >= 400 or any(payload.get("error") for payload in exchange.payloads):
        assert span.status.status_code is StatusCode.ERROR
        return
    assert span.status.status_code is StatusCode.UNSET
    usage = _usage(exchange) if exchange.method == "POST" else {}
    assert attributes.get("gen_ai.usage.input_tokens") == usage.get("prompt_tokens", usage.get("input_tokens"))
    if exchange.path.endswith("/embeddings"):
        return
    assert attributes.get("gen_ai.usage.output_tokens") == usage.get("completion_tokens", usage.get("output_tokens"))
    texts, calls = _answer(exchange)
    messages = json.loads(attributes.get("gen_ai.output.messages", "[]"))
    parts = [part for message in messages for part in message["parts"]]
    assert "".join(part["content"] for part in parts if part["type"] == "text") == texts
    assert [part["name"] for part in parts if part["type"] == "tool_call"] == calls


def _usage(exchange: Exchange) -> dict[str, Any]:
    found = [one.get("usage") or (one.get("response") or {}).get("usage") for one in exchange.payloads]
    return next((usage for usage in reversed(found) if usage), {})


def _answer(exchange: Exchange) -> tuple[str, list[str]]:
    """Text and names of called functions, choice by choice."""
    payloads = exchange.payloads
    if FETCHED in f"{exchange.path}/":
        final = next((one["response"] for one in reversed(payloads) if "response" in one), payloads[-1])
        items = final["output"]
        texts = [part.get("text") or part.get("refusal") or "" for item in items for part in item.get("content") or []]
        return "".join(texts), [item["name"] for item in items if item["type"] == "function_call"]
    texts_of: dict[int, str] = {}
    calls_of: dict[int, list[str]] = {}
    for payload in payloads:
        for choice in payload.get("choices", []):
            said = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
            index = choice["index"]
            texts_of[index] = texts_of.get(index, "") + (said.get("content") or "") + (said.get("refusal") or "")
            names = [call["function"].get("name") for call in said.get("tool_calls") or []]
            names.append((said.get("function_call") or {}).get("name"))
            calls_of.setdefault(index, []).extend(name for name in names if name)
    order = sorted(texts_of)
    return "".join(texts_of[index] for index in order), [name for index in order for name in calls_of[index]]
