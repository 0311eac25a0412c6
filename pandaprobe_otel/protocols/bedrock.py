"""Bedrock's Converse, and the requests of InvokeModel, whose bodies have the form of the model's vendor.

Source: the service model of `bedrock-runtime` in botocore.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, cast
from urllib.parse import quote

from pandaprobe_otel.protocols import aws_frames
from pandaprobe_otel.protocols.anthropic import ANTHROPIC, INVENTED_SIGNATURE
from pandaprobe_otel.protocols.conversation import (
    Message,
    ModelAnswer,
    RequestedTool,
    Tokens,
    json_pieces,
    mapping,
    pieces,
    read_messages,
    without,
)
from pandaprobe_otel.protocols.encoding import JSON
from pandaprobe_otel.protocols.protocol import NAMES_THE_CALLER, ParsedRequest, Protocol, by_name

_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_call": "tool_use",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
}
"""This protocol's name for each of OpenTelemetry's finish reasons, if they differ."""


class Bedrock(Protocol):
    """`Converse` and `ConverseStream`."""

    name = "converse"
    family = "bedrock"
    host = "https://bedrock-runtime.us-east-1.amazonaws.com"
    pattern = re.compile(
        r"/model/(?P<model>.+)/(?P<operation>converse|converse-stream|invoke|invoke-with-response-stream)$"
    )
    ignored = NAMES_THE_CALLER | {"requestMetadata"}
    model_in_path = True
    expects = "a JSON object with a list of `messages`"
    chat_operations = frozenset({"converse", "converse-stream"})
    member = "stopReason"
    call_prefix = "tooluse_"
    streamed_as = aws_frames.CONTENT_TYPE

    def path(self, model: str, *, is_stream: bool) -> str:
        return f"/model/{quote(model, safe='')}/{'converse-stream' if is_stream else 'converse'}"

    def read_request(self, path: str, body: Mapping[str, Any]) -> ParsedRequest | None:
        found = super().read_request(path, body)
        if found is not None and found.operation.startswith("invoke") and "anthropic_version" in body:
            return replace(found, wire=ANTHROPIC, body=ANTHROPIC.fields(body))
        return found

    def fields(self, body: Mapping[str, Any]) -> dict[str, Any]:
        fields = super().fields(body)
        if isinstance(config := fields.get("toolConfig"), dict):
            fields["toolConfig"] = {**mapping(config), "tools": by_name(mapping(config).get("tools"))}
        return fields

    def read_messages(self, body: Mapping[str, Any]) -> list[Message] | None:
        turns: Any = body.get("messages")
        return read_messages(list(map(_with_bare_results, turns)), body.get("system")) if turns else None

    def write_answer(self, answer: ModelAnswer) -> dict[str, Any]:
        reason = answer.first.finish_reason or "stop"
        return {
            "output": {"message": {"role": "assistant", "content": list(_blocks(answer))}},
            "stopReason": _REASONS.get(reason, reason),
            "usage": _usage(answer.tokens or Tokens()),
            "metrics": {"latencyMs": 1},
        }

    def write_events(self, whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the events: each is an object of its name and its payload."""
        yield {"messageStart": {"role": "assistant"}}
        message = mapping(mapping(whole.get("output")).get("message"))
        for index, block in enumerate(message.get("content") or ()):
            place = {"contentBlockIndex": index}
            if use := mapping(block.get("toolUse")):
                yield {"contentBlockStart": {"start": {"toolUse": without(use, "input")}, **place}}
            for delta in _deltas(block):
                yield {"contentBlockDelta": {"delta": delta, **place}}
            yield {"contentBlockStop": place}
        yield {"messageStop": _members(whole, "stopReason", "additionalModelResponseFields")}
        yield {"metadata": _members(whole, "usage", "metrics", "trace", "performanceConfig", "serviceTier")}

    def write_stream(self, whole: Mapping[str, Any]) -> Iterator[bytes]:
        for event in self.write_events(whole):
            for name, payload in event.items():
                headers = {":event-type": name, ":content-type": JSON, ":message-type": "event"}
                yield aws_frames.frame_of({"headers": headers, "payload": payload})

    def refusal(self, status: int, message: str) -> dict[str, Any]:
        return {"message": message}


BEDROCK: Final = Bedrock()


def _members(whole: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: whole[name] for name in names if whole.get(name) is not None}


def _with_bare_results(turn: Any) -> Any:
    """Return a message whose tool results are plain values, if they consist of one JSON value."""
    content: Any = mapping(turn).get("content")
    if not isinstance(content, list):
        return turn
    return {**turn, "content": [_with_bare_result(block) for block in cast("Iterable[Any]", content)]}


def _with_bare_result(block: Any) -> Any:
    result = mapping(mapping(block).get("toolResult"))
    found: Any = result.get("content")
    if isinstance(found, list) and len(found) == 1 and "json" in (inner := mapping(found[0])):  # pyright: ignore[reportUnknownArgumentType]
        return {"toolResult": {**result, "content": inner["json"]}}
    return block


def _call(call: RequestedTool) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.values}}


def _blocks(answer: ModelAnswer) -> Iterator[dict[str, Any]]:
    if answer.reasoning:
        thought = {"text": answer.reasoning, "signature": INVENTED_SIGNATURE}
        yield {"reasoningContent": {"reasoningText": thought}}
    choice = answer.first
    if choice.text is not None:
        yield {"text": choice.text}
    yield from map(_call, choice.calls)


def _deltas(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if use := mapping(block.get("toolUse")):
        for piece in json_pieces(use.get("input")):
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
