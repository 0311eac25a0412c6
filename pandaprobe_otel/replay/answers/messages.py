"""Anthropic's Messages API: an answer without streaming, and as a stream of events.

Source: Anthropic's API reference for `/v1/messages` (message object, streaming events).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pandaprobe_otel.replay.answers.model_answer import ModelAnswer, Tokens
from pandaprobe_otel.replay.answers.text_chunks import pieces

INVENTED_SIGNATURE: Final = "cmVidWlsdA=="
"""Placeholder for the signature of a thought, which traces do not have. It works in playback, but services refuse it.
"""
_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_call": "tool_use",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
"""This protocol's name for each of OpenTelemetry's finish reasons, if they differ."""


def document(answer: ModelAnswer) -> dict[str, Any]:
    """Return the answer as it is without streaming."""
    reason = answer.first.finish_reason
    return {
        "id": answer.response_id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": list(_blocks(answer)),
        "stop_reason": _REASONS.get(reason or "", reason),
        "stop_sequence": None,
        "usage": _usage(answer.tokens or Tokens()),
    }


def events(whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the events of a stream that add up to the whole answer."""
    usage: Mapping[str, Any] = whole.get("usage") or {}
    begun: dict[str, Any] = {
        **whole,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(whole.get("content") or ()):
        empty = _EMPTY.get(block.get("type"), {})
        yield {"type": "content_block_start", "index": index, "content_block": {**block, **empty}}
        for delta in _deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ended = {"stop_reason": whole.get("stop_reason"), "stop_sequence": whole.get("stop_sequence")}
    yield {"type": "message_delta", "delta": ended, "usage": {"output_tokens": usage.get("output_tokens", 0)}}
    yield {"type": "message_stop"}


def refusal(status: int, message: str) -> dict[str, Any]:
    """Return the body of an HTTP error."""
    kinds = {429: "rate_limit_error", 401: "authentication_error", 404: "not_found_error", 529: "overloaded_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


_EMPTY: Final[Mapping[str, Mapping[str, Any]]] = {
    "text": {"text": ""},
    "tool_use": {"input": {}},
    "server_tool_use": {"input": {}},
    "mcp_tool_use": {"input": {}},
    "thinking": {"thinking": "", "signature": ""},
}


def _blocks(answer: ModelAnswer) -> Iterator[dict[str, Any]]:
    if answer.reasoning:
        yield {"type": "thinking", "thinking": answer.reasoning, "signature": INVENTED_SIGNATURE}
    choice = answer.first
    if choice.text is not None:
        yield {"type": "text", "text": choice.text}
    for call in choice.calls:
        yield {"type": "tool_use", "id": call.id, "name": call.name, "input": call.values}


def _deltas(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    kind = block.get("type")
    if kind == "text":
        for piece in pieces(block.get("text") or ""):
            yield {"type": "text_delta", "text": piece}
        for citation in block.get("citations") or ():
            yield {"type": "citations_delta", "citation": citation}
    elif kind == "thinking":
        for piece in pieces(block.get("thinking") or ""):
            yield {"type": "thinking_delta", "thinking": piece}
        yield {"type": "signature_delta", "signature": block.get("signature") or INVENTED_SIGNATURE}
    elif kind in _EMPTY:
        value: Any = block.get("input")
        for piece in pieces(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)):
            yield {"type": "input_json_delta", "partial_json": piece}


def _usage(tokens: Tokens) -> dict[str, Any]:
    """Return the token counts. In this protocol, input tokens do not include cached ones."""
    usage: dict[str, Any] = {
        "input_tokens": max(tokens.prompt - tokens.cache_read - tokens.cache_write, 0),
        "output_tokens": tokens.completion,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read,
    }
    if tokens.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": tokens.reasoning}
    return usage
