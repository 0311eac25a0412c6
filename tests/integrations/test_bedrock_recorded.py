"""Recorded traffic of Amazon Bedrock, replayed through boto3 and aiobotocore."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import botocore
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ClientError, EventStreamError, ParamValidationError
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from pandaprobe_otel.registry import instrument, uninstrument
from recorded_traffic import Exchange, exchanges, name, recordings, replayed
from span_recorder import SpanRecorder

RECORDINGS = recordings("bedrock")
KEYS: Any = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
OPERATIONS = {
    "converse": "converse",
    "converse-stream": "converse_stream",
    "invoke": "invoke_model",
    "invoke-with-response-stream": "invoke_model_with_response_stream",
}

pytestmark = pytest.mark.skipif(not RECORDINGS, reason="no collection of recordings beside the checkout")


@pytest.fixture(autouse=True)
def instrumented(recorder: SpanRecorder) -> Iterator[None]:
    """Instrument the library for each test."""
    instrument("bedrock", tracer_provider=recorder.provider)
    yield
    uninstrument("bedrock")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Return the client that all recordings use."""
    config = Config(retries={"max_attempts": 0})
    made: Any = boto3.Session(**KEYS).client("bedrock-runtime", config=config)
    yield made
    made.close()


@pytest.mark.parametrize("recording", RECORDINGS, ids=name)
def test_recording(recording: Path, client: Any, recorder: SpanRecorder) -> None:
    """Every recorded call is one span with the recorded tokens, reason, text and calls."""
    called = exchanges(recording)
    with replayed(recording):
        for exchange in called:
            with suppress(ClientError, EventStreamError), _known_to_this_version():
                answer = getattr(client, _operation(exchange))(**_arguments(exchange))
                if "stream" in answer or _operation(exchange).endswith("stream"):
                    list(answer.get("stream") or answer["body"])
                elif "body" in answer:
                    answer["body"].read()
    for span, exchange in zip(recorder.spans, called, strict=True):
        _check(span, exchange)


@pytest.mark.outer
@pytest.mark.parametrize("recording", RECORDINGS, ids=name)
async def test_recording_asynchronously(recording: Path, recorder: SpanRecorder) -> None:
    """aiobotocore passes the checks of boto3."""
    called = exchanges(recording)
    config = AioConfig(retries={"max_attempts": 0})
    made: Any = get_session().create_client("bedrock-runtime", config=config, **KEYS)
    with replayed(recording):
        async with made as client:
            for exchange in called:
                with suppress(ClientError, EventStreamError), _known_to_this_version():
                    answer = await getattr(client, _operation(exchange))(**_arguments(exchange))
                    if "stream" in answer or _operation(exchange).endswith("stream"):
                        [one async for one in answer.get("stream") or answer["body"]]
                    elif "body" in answer:
                        await answer["body"].read()
    for span, exchange in zip(recorder.spans, called, strict=True):
        _check(span, exchange)


@contextmanager
def _known_to_this_version() -> Iterator[None]:
    try:
        yield
    except ParamValidationError as error:
        pytest.skip(f"botocore {botocore.__version__}: {error}")


def _operation(exchange: Exchange) -> str:
    return OPERATIONS[exchange.path.rpartition("/")[2]]


def _arguments(exchange: Exchange) -> dict[str, Any]:
    model = unquote(exchange.path).partition("/model/")[2].rpartition("/")[0]
    if _operation(exchange).startswith("converse"):
        return {"modelId": model, **exchange.request}
    return {"modelId": model, "body": json.dumps(exchange.request)}


def _check(span: ReadableSpan, exchange: Exchange) -> None:
    attributes: dict[str, Any] = dict(span.attributes or {})
    assert attributes["gen_ai.request.model"] in unquote(exchange.path)
    if exchange.status >= 400:
        assert span.status.status_code is StatusCode.ERROR
        return
    payloads = _payloads(exchange)
    failed = any("Exception" in str(list(payload)) for payload in payloads)
    assert span.status.status_code is (StatusCode.ERROR if failed else StatusCode.UNSET)
    counts = _counts(payloads)
    if counts:
        assert attributes["gen_ai.usage.input_tokens"] == counts[0]
        assert attributes["gen_ai.usage.output_tokens"] == counts[1]
    text, calls = _said(payloads)
    parts = [part for message in json.loads(attributes["gen_ai.output.messages"]) for part in message["parts"]]
    assert "".join(part["content"] for part in parts if part["type"] == "text") == text
    assert [part["name"] for part in parts if part["type"] == "tool_call"] == calls


def _payloads(exchange: Exchange) -> list[dict[str, Any]]:
    """Return the JSON of the answer, or of each of its events, without Bedrock's envelope."""
    if not _operation(exchange).endswith("stream"):
        return [json.loads(exchange.answer)]
    buffer = EventStreamBuffer()
    buffer.add_data(exchange.content)
    found: list[dict[str, Any]] = []
    for event in buffer:
        kind = event.headers.get(":event-type") or event.headers[":exception-type"]
        data = json.loads(event.payload)
        found.append(json.loads(b64decode(data["bytes"])) if kind == "chunk" else {kind: data})
    return found


def _counts(payloads: list[dict[str, Any]]) -> tuple[int, int] | None:
    """Return the input tokens, cached ones included, and the output tokens."""
    counts: dict[str, Any] = {}
    for payload in payloads:
        usage = payload.get("usage") or payload.get("metadata", {}).get("usage") or {}
        message = payload.get("message")
        if isinstance(message, dict):
            usage = usage or message.get("usage") or {}
        counts.update(usage)
    cached = [counts.get(key) or 0 for key in ("cacheReadInputTokens", "cacheWriteInputTokens")]
    cached += [counts.get(key) or 0 for key in ("cache_read_input_tokens", "cache_creation_input_tokens")]
    given = counts.get("inputTokens", counts.get("input_tokens"))
    said = counts.get("outputTokens", counts.get("output_tokens"))
    return None if given is None or said is None else (given + sum(cached), said)


def _said(payloads: list[dict[str, Any]]) -> tuple[str, list[str]]:
    text = ""
    calls: list[str] = []
    for payload in payloads:
        message = payload.get("output", {}).get("message", {})
        for block in [*message.get("content", []), *payload.get("content", [])]:
            text += block.get("text", "")
            calls += [block["toolUse"]["name"]] if "toolUse" in block else []
            calls += [block["name"]] if block.get("type") == "tool_use" else []
        text += payload.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
        text += payload.get("delta", {}).get("text", "")
        text += payload.get("generation", "") or ""
        text += payload.get("outputText", "") or ""
        start = payload.get("contentBlockStart", {}).get("start", {})
        calls += [start["toolUse"]["name"]] if "toolUse" in start else []
        block = payload.get("content_block", {})
        calls += [block["name"]] if block.get("type") == "tool_use" else []
    return text, calls
