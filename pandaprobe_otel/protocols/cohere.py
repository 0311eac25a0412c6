"""Cohere's own protocol: chat, embeddings, ranking.

Source: Cohere's API reference for `/v2/chat` (response object, streamed events).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pandaprobe_otel.protocols.conversation import ModelAnswer, Tokens, pieces
from pandaprobe_otel.protocols.protocol import Protocol

_REASONS: Final = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "tool_call": "TOOL_CALL",
    "tool_calls": "TOOL_CALL",
    "content_filter": "ERROR_TOXIC",
}
"""This protocol's name for each of OpenTelemetry's finish reasons, if they differ."""


class Cohere(Protocol):
    """`/v2/chat`."""

    name = family = "cohere"
    host = "https://api.cohere.com"
    chat_path = "/v2/chat"
    pattern = re.compile(r"/v[12]/(?P<operation>chat|generate|embed|rerank)$")
    chat_operations = frozenset({"chat"})
    member = "finish_reason"
    names_events = True

    def write_answer(self, answer: ModelAnswer) -> dict[str, Any]:
        choice = answer.first
        message: dict[str, Any] = {"role": "assistant"}
        content: list[dict[str, str]] = []
        if answer.reasoning:
            content.append({"type": "thinking", "thinking": answer.reasoning})
        if choice.text is not None and not choice.calls:
            content.append({"type": "text", "text": choice.text})
        if choice.text is not None and choice.calls:
            message["tool_plan"] = choice.text
        if content:
            message["content"] = content
        if choice.calls:
            message["tool_calls"] = [call.as_function for call in choice.calls]
        reason = choice.finish_reason or "stop"
        return {
            "id": answer.response_id,
            "finish_reason": _REASONS.get(reason, reason.upper()),
            "message": message,
            "usage": _usage(answer.tokens or Tokens()),
        }

    def write_events(self, whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        message: Mapping[str, Any] = whole.get("message") or {}
        empty: dict[str, Any] = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        yield {"type": "message-start", "id": whole.get("id"), "delta": {"message": empty}}
        for piece in pieces(message.get("tool_plan") or ""):
            yield {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": piece}}}
        for index, block in enumerate(message.get("content") or ()):
            yield from _content(index, block)
        for index, call in enumerate(message.get("tool_calls") or ()):
            yield from _call(index, call)
        ended = {"finish_reason": whole.get("finish_reason"), "usage": whole.get("usage")}
        yield {"type": "message-end", "delta": ended}

    def refusal(self, status: int, message: str) -> dict[str, Any]:
        return {"message": message}


COHERE: Final = Cohere()


def _content(index: int, block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    member = "thinking" if block.get("type") == "thinking" else "text"
    begun = {**block, member: ""}
    yield {"type": "content-start", "index": index, "delta": {"message": {"content": begun}}}
    for piece in pieces(block.get(member) or ""):
        yield {"type": "content-delta", "index": index, "delta": {"message": {"content": {member: piece}}}}
    yield {"type": "content-end", "index": index}


def _call(index: int, call: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    function: Mapping[str, Any] = call.get("function") or {}
    begun = {**call, "function": {**function, "arguments": ""}}
    yield {"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": begun}}}
    for piece in pieces(function.get("arguments") or ""):
        delta = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
        yield {"type": "tool-call-delta", "index": index, "delta": delta}
    yield {"type": "tool-call-end", "index": index}


def _usage(tokens: Tokens) -> dict[str, Any]:
    counts = {"input_tokens": tokens.prompt, "output_tokens": tokens.completion}
    return {"billed_units": counts, "tokens": counts}
