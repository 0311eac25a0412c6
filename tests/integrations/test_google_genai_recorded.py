"""Recorded traffic of the Gemini API and of Vertex AI, replayed through the real client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.oauth2.credentials import Credentials
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from pandaprobe_otel.registry import instrument, uninstrument
from recorded_traffic import Exchange, exchanges, name, recordings, replayed
from span_recorder import SpanRecorder

RECORDINGS = recordings("google-genai", "vertexai")

pytestmark = [
    pytest.mark.skipif(not RECORDINGS, reason="no collection of recordings beside the checkout"),
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def instrumented(recorder: SpanRecorder) -> Iterator[None]:
    """Instrument the library for each test."""
    instrument("google_genai", tracer_provider=recorder.provider)
    yield
    uninstrument("google_genai")


@pytest.mark.parametrize("recording", RECORDINGS, ids=name)
def test_recording(recording: Path, recorder: SpanRecorder) -> None:
    """Every recorded call is one span with the recorded tokens, reason, text and calls."""
    called = exchanges(recording)
    with replayed(recording):
        client = _client(called[0])
        for exchange in called:
            with suppress(genai.errors.APIError):
                result = _method(client, exchange)(**_arguments(exchange))
                if exchange.request.get("stream") or ":stream" in exchange.url:
                    list(result)
        client.close()
    for span, exchange in zip(recorder.spans, called, strict=True):
        _check(span, exchange)


@pytest.mark.outer
@pytest.mark.parametrize("recording", RECORDINGS, ids=name)
async def test_recording_asynchronously(recording: Path, recorder: SpanRecorder) -> None:
    """The asynchronous client passes the checks of the synchronous one."""
    called = exchanges(recording)
    with replayed(recording):
        client = _client(called[0])
        for exchange in called:
            with suppress(genai.errors.APIError):
                result = await _method(client.aio, exchange)(**_arguments(exchange))
                if exchange.request.get("stream") or ":stream" in exchange.url:
                    [one async for one in result]
        await client.aio.aclose()
        client.close()
    for span, exchange in zip(recorder.spans, called, strict=True):
        _check(span, exchange)


def _client(exchange: Exchange) -> genai.Client:
    options: Any = {"api_version": exchange.path.split("/")[1]}
    if "/publishers/google/" not in exchange.url:
        return genai.Client(api_key="none", vertexai=False, http_options=options)
    project, _, rest = exchange.path.partition("/projects/")[2].partition("/locations/")
    location = rest.partition("/")[0]
    token: Any = Credentials("none")  # type: ignore[no-untyped-call]
    return genai.Client(vertexai=True, project=project, location=location, credentials=token, http_options=options)


def _method(client: Any, exchange: Exchange) -> Any:
    if exchange.path.endswith("/interactions"):
        if not hasattr(client, "interactions"):
            pytest.skip("this version of the client has no interactions")
        return client.interactions.create
    if exchange.path.endswith("EmbedContents"):
        return client.models.embed_content
    if ":streamGenerateContent" in exchange.path:
        return client.models.generate_content_stream
    return client.models.generate_content


def _arguments(exchange: Exchange) -> dict[str, Any]:
    request = exchange.request
    if exchange.path.endswith("/interactions"):
        return request
    model = exchange.path.rpartition("/")[2].partition(":")[0]
    if "requests" in request:
        return {"model": model, "contents": [one["content"] for one in request["requests"]]}
    config = dict(request.get("generationConfig", {}))
    for member in ("tools", "systemInstruction"):
        if member in request:
            config[member] = request[member]
    return {"model": model, "contents": request["contents"], "config": config}


def _check(span: ReadableSpan, exchange: Exchange) -> None:
    attributes: dict[str, Any] = dict(span.attributes or {})
    assert exchange.path.endswith("/interactions") or attributes["gen_ai.request.model"] in exchange.path
    if exchange.status >= 400:
        assert span.status.status_code is StatusCode.ERROR
        return
    assert span.status.status_code is StatusCode.UNSET
    if exchange.path.endswith("EmbedContents"):
        assert attributes["gen_ai.embeddings.dimension.count"] == len(exchange.payloads[0]["embeddings"][0]["values"])
        return
    prompt, said, text, calls = _recorded(exchange)
    assert attributes.get("gen_ai.usage.input_tokens") == prompt
    assert attributes.get("gen_ai.usage.output_tokens") == said
    parts = [part for message in json.loads(attributes["gen_ai.output.messages"]) for part in message["parts"]]
    assert "".join(part["content"] for part in parts if part["type"] == "text") == text
    assert [part["name"] for part in parts if part["type"] == "tool_call"] == calls


def _recorded(exchange: Exchange) -> tuple[int | None, int | None, str, list[str]]:
    """Return the input and output tokens, the text, and the names of called functions."""
    text = ""
    calls: list[str] = []
    counts: dict[str, Any] = {}
    if exchange.path.endswith("/interactions"):
        whole: dict[str, Any] = next(
            (one.get("interaction", one) for one in reversed(exchange.payloads) if "usage" in str(one)), {}
        )
        usage = whole["usage"]
        for payload in exchange.payloads:
            steps = payload.get("steps", [])
            text += "".join(part.get("text", "") for step in steps for part in step.get("content", []))
            text += payload.get("delta", {}).get("text", "")
        said = usage["total_output_tokens"] + usage["total_thought_tokens"]
        return usage["total_input_tokens"] + usage["total_tool_use_tokens"], said, text, calls
    for payload in exchange.payloads:
        counts.update(payload.get("usageMetadata", {}))
        for candidate in payload.get("candidates", []):
            for part in candidate.get("content", {}).get("parts", []):
                text += part.get("text", "") if not part.get("thought") else ""
                calls += [part["functionCall"]["name"]] if "functionCall" in part else []
    if not counts:
        return None, None, text, calls
    said = counts.get("candidatesTokenCount", 0) + counts.get("thoughtsTokenCount", 0)
    return counts["promptTokenCount"] + counts.get("toolUsePromptTokenCount", 0), said, text, calls
