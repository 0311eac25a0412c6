"""Bodies of Anthropic's API as sent over HTTP, after its published reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

QUESTION: Final = "What is the weather in Paris?"
WORDS: Final = ("Sunny", " and", " mild", ",", " 21", " degrees", ".")
ANSWER: Final = "".join(WORDS)
MODEL: Final = "claude-sonnet-5"
ANSWERED_BY: Final = "claude-sonnet-5-20260801"
USAGE: Final = {
    "input_tokens": 36,
    "cache_read_input_tokens": 64,
    "cache_creation_input_tokens": 20,
    "output_tokens": 34,
    "service_tier": "standard",
}
TOOL: Final[Any] = {
    "name": "get_weather",
    "description": "Weather at a place",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}
REQUEST: Final[Any] = {
    "model": MODEL,
    "max_tokens": 300,
    "messages": [{"role": "user", "content": QUESTION}],
}


def message(*blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a message with these content blocks (default: ANSWER)."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": ANSWERED_BY,
        "content": list(blocks) or [{"type": "text", "text": ANSWER}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
        **more,
    }


def events(*blocks: tuple[dict[str, Any], Sequence[dict[str, Any]]], stop_reason: str = "end_turn") -> list[Any]:
    """Return a streamed message with these deltas for each block (default: WORDS)."""
    given = blocks or (({"type": "text", "text": ""}, [{"type": "text_delta", "text": word} for word in WORDS]),)
    # The output tokens of the first event are only a placeholder.
    started = message(stop_reason=None, usage={**USAGE, "output_tokens": 1}, content=[])
    found: list[Any] = [{"type": "message_start", "message": {**started, "content": []}}]
    for index, (block, deltas) in enumerate(given):
        found.append({"type": "content_block_start", "index": index, "content_block": block})
        if index == 0:
            found.append({"type": "ping"})
        found += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        found.append({"type": "content_block_stop", "index": index})
    stop = {"stop_reason": stop_reason, "stop_sequence": None}
    found.append({"type": "message_delta", "delta": stop, "usage": {"output_tokens": USAGE["output_tokens"]}})
    found.append({"type": "message_stop"})
    return found


def error(kind: str = "rate_limit_error", text: str = "Rate limited") -> dict[str, Any]:
    """Return the body of an error."""
    return {"type": "error", "error": {"type": kind, "message": text}}
