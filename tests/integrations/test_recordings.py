"""Recorded traffic of real providers, replayed through the real clients: each call is one span with what was recorded.

The expected values are read from the recordings here, without any code of the library. The asynchronous clients use the
same readers; conformance/ compares both.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anthropic
import boto3
import botocore
import cohere
import groq
import openai
import pytest
import together
from botocore.config import Config
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ParamValidationError
from google import genai
from google.oauth2.credentials import Credentials
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from conformance.libraries import mistralai
from pandaprobe_otel.registry import instrument, uninstrument
from recorded_traffic import SHARED, Exchange, exchanges, name, recordings, replayed
from span_recorder import SpanRecorder

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Tokens, text and names of called functions in an exchange."""

    tokens: tuple[int | None, int | None] = (None, None)
    text: str = ""
    calls: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """The way in which a client repeats an exchange, and the reader of its answer."""

    providers: Sequence[str]
    send: Callable[[Exchange], Any]
    """Returns the client's answer, which is then read to its end."""
    read: Callable[[Exchange], Recorded]
    is_call: Callable[[Exchange], bool] = lambda _: True


# -- OpenAI's protocol ------------------------------------------------------------------------------------------------
FETCHED = "/responses/"
CALLED = ("/chat/completions", "/responses", "/embeddings", "/completions")


def _is_call(exchange: Exchange) -> bool:
    """Return whether it is a model call, or a successful fetch of an earlier call's result."""
    if exchange.method == "POST":
        return exchange.path.endswith(CALLED)
    return FETCHED in exchange.path and exchange.status < 400


def _send_openai(exchange: Exchange) -> Any:
    streamed = bool(exchange.request.get("stream")) or "stream=true" in exchange.url.lower()
    # The oldest clients return plain objects only for the items of a stream.
    more: Json = {"cast_to": object if streamed else dict[str, object], "stream": streamed}
    if exchange.method == "GET":
        base_url, _, response_id = exchange.url.partition(FETCHED)
        path = f"{FETCHED}{response_id}"
    else:
        path = next(path for path in CALLED if exchange.path.endswith(path))
        base_url, more = exchange.url.partition("?")[0].removesuffix(path), {**more, "body": exchange.request}
    client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
    send: Any = client.get if exchange.method == "GET" else client.post
    return send(path, stream_cls=openai.Stream[object], **more)


def _send_like_openai(kind: Any) -> Callable[[Exchange], Any]:
    return lambda exchange: kind(api_key="none", max_retries=0).chat.completions.create(**exchange.request)


def _send_mistral(exchange: Exchange) -> Any:
    chat = mistralai.MODULE.Mistral(api_key="none").chat
    request = {key: value for key, value in exchange.request.items() if key != "stream"}
    return (chat.stream if exchange.request.get("stream") else chat.complete)(**request)


def _read_openai(exchange: Exchange) -> Recorded:
    """Return text and calls choice by choice. A fetch repeats tokens that its first call has."""
    payloads = exchange.payloads
    found = [one.get("usage") or (one.get("response") or {}).get("usage") for one in payloads]
    usage: Json = next((usage for usage in reversed(found) if usage), {}) if exchange.method == "POST" else {}
    given = usage.get("prompt_tokens", usage.get("input_tokens"))
    tokens = given, usage.get("completion_tokens", usage.get("output_tokens"))
    if exchange.path.endswith("/embeddings"):
        return Recorded(tokens=(given, None))
    if FETCHED in f"{exchange.path}/":
        final = next((one["response"] for one in reversed(payloads) if "response" in one), payloads[-1])
        parts = [part for item in final["output"] for part in item.get("content") or []]
        text = "".join(part.get("text") or part.get("refusal") or "" for part in parts)
        return Recorded(
            tokens=tokens, text=text, calls=[one["name"] for one in final["output"] if one["type"] == "function_call"]
        )
    texts: dict[int, str] = {}
    calls: dict[int, list[str]] = {}
    for choice in (choice for payload in payloads for choice in payload.get("choices", [])):
        message = choice.get("message") or choice.get("delta") or {"content": choice.get("text")}
        index = choice["index"]
        texts[index] = texts.get(index, "") + (message.get("content") or "") + (message.get("refusal") or "")
        names = [call["function"].get("name") for call in message.get("tool_calls") or []]
        names.append((message.get("function_call") or {}).get("name"))
        calls.setdefault(index, []).extend(filter(None, names))
    order = sorted(texts)
    text = "".join(texts[index] for index in order)
    return Recorded(tokens=tokens, text=text, calls=[name for index in order for name in calls[index]])


# -- Anthropic --------------------------------------------------------------------------------------------------------
def _send_anthropic(exchange: Exchange) -> Any:
    client = anthropic.Anthropic(api_key="none", max_retries=0)
    streamed = bool(exchange.request.get("stream"))
    stream: Any = {"stream": streamed, "stream_cls": anthropic.Stream[object]}
    return client.post("/v1/messages", body=exchange.request, cast_to=object, **stream)


def _read_anthropic(exchange: Exchange) -> Recorded:
    usage: Json = {}
    text, calls = "", []
    for payload in exchange.payloads:
        counts = payload.get("usage") or (payload.get("message") or {}).get("usage") or {}
        usage.update({key: value for key, value in counts.items() if value is not None})
        for block in payload.get("content") or [payload.get("content_block") or payload.get("delta") or {}]:
            text += block.get("text") or ""
            calls += [block["name"]] if block.get("type") == "tool_use" else []
    cached = (usage.get("cache_read_input_tokens") or 0) + (usage.get("cache_creation_input_tokens") or 0)
    return Recorded(tokens=(usage["input_tokens"] + cached, usage["output_tokens"]), text=text, calls=calls)


# -- Bedrock ----------------------------------------------------------------------------------------------------------
OPERATIONS = {
    "converse": "converse",
    "converse-stream": "converse_stream",
    "invoke": "invoke_model",
    "invoke-with-response-stream": "invoke_model_with_response_stream",
}


def _operation(exchange: Exchange) -> str:
    return OPERATIONS[exchange.path.rpartition("/")[2]]


def _send_bedrock(exchange: Exchange) -> Any:
    keys: Any = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    client: Any = boto3.Session(**keys).client("bedrock-runtime", config=Config(retries={"max_attempts": 0}))
    model = unquote(exchange.path).partition("/model/")[2].rpartition("/")[0]
    converses = _operation(exchange).startswith("converse")
    body = exchange.request if converses else {"body": json.dumps(exchange.request)}
    try:
        answer = getattr(client, _operation(exchange))(modelId=model, **body)
    except ParamValidationError as error:
        pytest.skip(f"botocore {botocore.__version__}: {error}")
    return answer.get("stream") or answer.get("body") or ()


def _read_bedrock(exchange: Exchange) -> Recorded:
    counts: Json = {}
    text, calls = "", []
    for payload in _bedrock_payloads(exchange):
        message = payload.get("message")
        usage = payload.get("usage") or payload.get("metadata", {}).get("usage")
        counts.update(usage or (message.get("usage") if isinstance(message, dict) else None) or {})
        whole = [*payload.get("output", {}).get("message", {}).get("content", []), *payload.get("content", [])]
        begun = [payload.get("contentBlockStart", {}).get("start", {}), payload.get("content_block", {})]
        for block in (*whole, *begun):
            text += block.get("text", "") if block not in begun else ""
            calls += [block["toolUse"]["name"]] if "toolUse" in block else []
            calls += [block["name"]] if block.get("type") == "tool_use" else []
        text += payload.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
        text += payload.get("delta", {}).get("text", "")
        text += (payload.get("generation") or "") + (payload.get("outputText") or "")
    cached = ("cacheReadInputTokens", "cacheWriteInputTokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    given = counts.get("inputTokens", counts.get("input_tokens"))
    answered = counts.get("outputTokens", counts.get("output_tokens"))
    tokens = None if given is None else given + sum(counts.get(key) or 0 for key in cached)
    return Recorded(tokens=(tokens, answered), text=text, calls=calls)


def _bedrock_payloads(exchange: Exchange) -> Iterator[Json]:
    """Yield the JSON of the answer, or of each of its events, without Bedrock's envelope."""
    if not _operation(exchange).endswith("stream"):
        yield json.loads(exchange.answer)
        return
    buffer = EventStreamBuffer()
    buffer.add_data(exchange.content)
    for event in buffer:
        kind = event.headers.get(":event-type") or event.headers[":exception-type"]
        data = json.loads(event.payload)
        yield json.loads(b64decode(data["bytes"])) if kind == "chunk" else {kind: data}


# -- Cohere -----------------------------------------------------------------------------------------------------------
def _send_cohere(exchange: Exchange) -> Any:
    client: Any = (cohere.ClientV2 if "/v2/" in exchange.path else cohere.Client)(api_key="none")
    method = exchange.path.rpartition("/")[2] + ("_stream" if exchange.request.get("stream") else "")
    request = {key: value for key, value in exchange.request.items() if key != "stream" and value is not None}
    return getattr(client, method)(**request)


def _read_cohere(exchange: Exchange) -> Recorded:
    payloads = exchange.payloads
    if "response" in payloads[-1]:
        whole: Json = payloads[-1]["response"]
    elif "type" not in payloads[0]:
        whole = payloads[0]
    else:
        pieces = [(one.get("delta") or {}).get("message", {}).get("content") or {} for one in payloads]
        text = "".join(piece.get("text", "") for piece in pieces if isinstance(piece, dict))
        whole = {"text": text, "usage": payloads[-1]["delta"]["usage"]}
    billed = (whole.get("usage") or whole.get("meta") or {})["billed_units"]
    message = whole.get("message") or {}
    parts = [*(message.get("content") or []), *whole.get("generations", [])]
    return Recorded(
        tokens=(billed.get("input_tokens"), billed.get("output_tokens")),
        text=str(whole.get("text") or "") + "".join(part.get("text", "") for part in parts),
        calls=[call["function"]["name"] for call in message.get("tool_calls") or []],
    )


# -- Google -----------------------------------------------------------------------------------------------------------
def _send_google(exchange: Exchange) -> Any:
    options: Any = {"api_version": exchange.path.split("/")[1]}
    place: Any = {"api_key": "none", "vertexai": False}
    if "/publishers/google/" in exchange.url:
        project, _, rest = exchange.path.partition("/projects/")[2].partition("/locations/")
        place = {"vertexai": True, "project": project, "location": rest.partition("/")[0]}
        place["credentials"] = Credentials("none")  # type: ignore[no-untyped-call]
    client: Any = genai.Client(http_options=options, **place)
    request = exchange.request
    if exchange.path.endswith("/interactions"):
        if not hasattr(client, "interactions"):
            pytest.skip("this version of the client has no interactions")
        answer = client.interactions.create(**request)
        return list(answer) if request.get("stream") else answer
    model = exchange.path.rpartition("/")[2].partition(":")[0]
    if "requests" in request:
        return client.models.embed_content(model=model, contents=[one["content"] for one in request["requests"]])
    config = dict(request.get("generationConfig", {}))
    config |= {member: request[member] for member in ("tools", "systemInstruction") if member in request}
    given: Json = {"model": model, "contents": request["contents"], "config": config}
    if ":streamGenerateContent" in exchange.path:
        return list(client.models.generate_content_stream(**given))  # the client ends its connections with itself
    return client.models.generate_content(**given)


def _read_google(exchange: Exchange) -> Recorded:
    text, calls = "", []
    counts: Json = {}
    for payload in exchange.payloads:
        counts.update(payload.get("usageMetadata") or payload.get("interaction", payload).get("usage") or {})
        text += "".join(part.get("text", "") for step in payload.get("steps", []) for part in step.get("content", []))
        text += payload.get("delta", {}).get("text", "")
        for candidate in payload.get("candidates", []):
            for part in candidate.get("content", {}).get("parts", []):
                text += part.get("text", "") if not part.get("thought") else ""
                calls += [part["functionCall"]["name"]] if "functionCall" in part else []
    if "total_input_tokens" in counts:
        given = counts["total_input_tokens"] + counts["total_tool_use_tokens"]
        tokens: Any = given, counts["total_output_tokens"] + counts["total_thought_tokens"]
    elif counts:
        given = counts["promptTokenCount"] + counts.get("toolUsePromptTokenCount", 0)
        tokens = given, counts.get("candidatesTokenCount", 0) + counts.get("thoughtsTokenCount", 0)
    else:
        tokens = None, None
    return Recorded(tokens=tokens, text=text, calls=calls)


OPENAI = Library(
    providers=("openai", "azure_openai", "openrouter", "deepseek"),
    send=_send_openai,
    read=_read_openai,
    is_call=_is_call,
)
LIBRARIES = {
    "openai": OPENAI,
    "groq": replace(OPENAI, providers=("groq",), send=_send_like_openai(groq.Groq)),
    "together": replace(OPENAI, providers=("together",), send=_send_like_openai(together.Together)),
    "mistralai": replace(OPENAI, providers=("mistralai",), send=_send_mistral),
    "anthropic": Library(
        providers=("anthropic",),
        send=_send_anthropic,
        read=_read_anthropic,
        is_call=lambda exchange: exchange.path.endswith("/messages"),
    ),
    "bedrock": Library(providers=("bedrock",), send=_send_bedrock, read=_read_bedrock),
    "cohere": Library(providers=("cohere",), send=_send_cohere, read=_read_cohere),
    "google_genai": Library(providers=("google-genai", "vertexai"), send=_send_google, read=_read_google),
}
RECORDINGS = [
    pytest.param(library, path, id=f"{library} {name(path)}")
    for library, each in LIBRARIES.items()
    for path in recordings(*each.providers)
]


def test_recordings_are_there() -> None:
    """The collection of recordings is complete; if it is missing, the test is skipped and there are fewer tests."""
    if not SHARED.exists():
        pytest.skip("no collection of recordings beside the checkout")
    assert len(RECORDINGS) > 40


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore:.*experimental")
@pytest.mark.parametrize(("library", "path"), RECORDINGS)
def test_recording(library: str, path: Path, recorder: SpanRecorder) -> None:
    """The app gets the same as without us; every recorded call is one span with its tokens, text and calls."""
    each = LIBRARIES[library]
    called = [one for one in exchanges(path) if each.is_call(one)]
    if not called:
        pytest.skip("no model call in this recording")
    with replayed(path):
        without = [_answer(each, exchange) for exchange in called]
    instrument(library, tracer_provider=recorder.provider)
    try:
        with replayed(path):
            assert [_answer(each, exchange) for exchange in called] == without
    finally:
        uninstrument(library)
    for span, exchange in zip(recorder.spans, called, strict=True):
        _check(span, exchange, each)


def _answer(library: Library, exchange: Exchange) -> str:
    """Return what the app reads, or the exception that the client raises for an error that was recorded."""
    try:
        answer = library.send(exchange)
        return repr(answer.read() if hasattr(answer, "read") else list(answer))
    except Exception as error:  # noqa: BLE001 - whatever the client raises
        return str(error)


def _check(span: ReadableSpan, exchange: Exchange, library: Library) -> None:
    attributes: Json = dict(span.attributes or {})
    known = f"{unquote(exchange.path)} {exchange.request.get('model')}"
    assert str(attributes.get("gen_ai.request.model")) in known
    failed = any(payload.get("error") for payload in exchange.payloads) or "Exception" in exchange.answer
    if exchange.status >= 400 or failed:
        assert span.status.status_code is StatusCode.ERROR
        return
    assert span.status.status_code is StatusCode.UNSET
    if attributes["gen_ai.operation.name"] in ("embeddings", "retrieval"):
        return
    expected = library.read(exchange)
    tokens = attributes.get("gen_ai.usage.input_tokens"), attributes.get("gen_ai.usage.output_tokens")
    assert expected.tokens in (tokens, (None, None) if library.providers == ("bedrock",) else tokens)
    parts = [
        part for message in json.loads(attributes.get("gen_ai.output.messages", "[]")) for part in message["parts"]
    ]
    assert "".join(part["content"] for part in parts if part["type"] == "text") == expected.text
    assert [part["name"] for part in parts if part["type"] == "tool_call"] == expected.calls
