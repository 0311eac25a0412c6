"""Recorded chats of OpenAI-compatible services: how a client repeats them, and a check of its spans."""

from __future__ import annotations

import json
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from recorded_traffic import Exchange

FETCHED = "/responses/"
CALLED = ("/chat/completions", "/responses", "/embeddings", "/completions")


def is_call(exchange: Exchange) -> bool:
    """Return whether the exchange makes a span: a model call, or a successful fetch of an earlier call's result."""
    if exchange.method == "POST":
        return exchange.path.endswith(CALLED)
    return FETCHED in exchange.path and exchange.status < 400


def request_of(exchange: Exchange) -> tuple[str, str, dict[str, Any]]:
    """Return base URL, path and further arguments for the client's `post` or `get`."""
    streamed = bool(exchange.request.get("stream")) or "stream=true" in exchange.url.lower()
    # The oldest clients return plain objects only for the items of a stream.
    more: dict[str, Any] = {"cast_to": object if streamed else dict[str, object], "stream": streamed}
    if exchange.method == "GET":
        base_url, _, response_id = exchange.url.partition(FETCHED)
        return base_url, f"{FETCHED}{response_id}", more
    path = next(path for path in CALLED if exchange.path.endswith(path))
    return exchange.url.partition("?")[0].removesuffix(path), path, {**more, "body": exchange.request}


def check(span: ReadableSpan, exchange: Exchange) -> None:
    """Check that the span has the recorded tokens, text and names of called functions."""
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
    """Return text and names of called functions, choice by choice."""
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
