"""Bedrock's `Converse` and `ConverseStream`: an answer without streaming, and as a stream of events.

Source: the service model of `bedrock-runtime` in botocore.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pandaprobe_otel.replay.answers.messages import INVENTED_SIGNATURE
from pandaprobe_otel.replay.answers.model_answer import ModelAnswer, Tokens, mapping
from pandaprobe_otel.replay.answers.text_chunks import pieces

_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_call": "tool_use",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
}
"""This protocol's name for each of OpenTelemetry's finish reasons, if they differ."""


def document(answer: ModelAnswer) -> dict[str, Any]:
    """Return the answer as it is without streaming."""
    reason = answer.first.finish_reason or "stop"
    return {
        "output": {"message": {"role": "assistant", "content": list(_blocks(answer))}},
        "stopReason": _REASONS.get(reason, reason),
        "usage": _usage(answer.tokens or Tokens()),
        "metrics": {"latencyMs": 1},
    }


def events(whole: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the events of a stream, with their names, that add up to the whole answer."""
    output: Mapping[str, Any] = whole.get("output") or {}
    message: Mapping[str, Any] = output.get("message") or {}
    yield "messageStart", {"role": "assistant"}
    for index, block in enumerate(message.get("content") or ()):
        place = {"contentBlockIndex": index}
        if use := mapping(block.get("toolUse")):
            start = {"toolUse": {key: value for key, value in use.items() if key != "input"}}
            yield "contentBlockStart", {"start": start, **place}
        for delta in _deltas(block):
            yield "contentBlockDelta", {"delta": delta, **place}
        yield "contentBlockStop", place
    yield "messageStop", _members(whole, "stopReason", "additionalModelResponseFields")
    yield "metadata", _members(whole, "usage", "metrics", "trace", "performanceConfig", "serviceTier")


def _members(whole: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: whole[name] for name in names if whole.get(name) is not None}


def _blocks(answer: ModelAnswer) -> Iterator[dict[str, Any]]:
    if answer.reasoning:
        thought = {"text": answer.reasoning, "signature": INVENTED_SIGNATURE}
        yield {"reasoningContent": {"reasoningText": thought}}
    choice = answer.first
    if choice.text is not None:
        yield {"text": choice.text}
    for call in choice.calls:
        yield {"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.values}}


def _deltas(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if use := mapping(block.get("toolUse")):
        value: Any = use.get("input")
        for piece in pieces(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)):
            yield {"toolUse": {"input": piece}}
    elif thought := mapping(mapping(block.get("reasoningContent")).get("reasoningText")):
        for piece in pieces(thought.get("text") or ""):
            yield {"reasoningContent": {"text": piece}}
        yield {"reasoningContent": {"signature": thought.get("signature") or INVENTED_SIGNATURE}}
    else:
        for piece in pieces(block.get("text") or ""):
            yield {"text": piece}


def _usage(tokens: Tokens) -> dict[str, int]:
    """Return the token counts. In this protocol, input tokens do not include cached ones."""
    usage = {
        "inputTokens": max(tokens.prompt - tokens.cache_read - tokens.cache_write, 0),
        "outputTokens": tokens.completion,
        "totalTokens": tokens.prompt + tokens.completion,
    }
    if tokens.cache_read:
        usage["cacheReadInputTokens"] = tokens.cache_read
    if tokens.cache_write:
        usage["cacheWriteInputTokens"] = tokens.cache_write
    return usage
