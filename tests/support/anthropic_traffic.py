"""Bodies of Anthropic's API as sent over HTTP, after its published reference."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from openai_traffic import ANSWER as ANSWER
from openai_traffic import QUESTION as QUESTION
from openai_traffic import WORDS as WORDS

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


def uses(calls: Iterable[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the blocks of these tool calls."""
    return [
        {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": arguments}
        for index, (name, arguments) in enumerate(calls)
    ]


def events(
    *blocks: tuple[dict[str, Any], Sequence[dict[str, Any]]],
    started: dict[str, Any] | None = None,
    ended: dict[str, Any] | None = None,
) -> list[Any]:
    """Return a streamed message with these deltas for each block (default: WORDS), and these first and last fields."""
    given = blocks or (({"type": "text", "text": ""}, [{"type": "text_delta", "text": word} for word in WORDS]),)
    # The output tokens of the first event are only a placeholder.
    begun = started or message(stop_reason=None, usage={**USAGE, "output_tokens": 1})
    found: list[Any] = [{"type": "message_start", "message": {**begun, "content": []}}]
    for index, (block, deltas) in enumerate(given):
        found.append({"type": "content_block_start", "index": index, "content_block": block})
        if index == 0:
            found.append({"type": "ping"})
        found += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        found.append({"type": "content_block_stop", "index": index})
    last = ended or {"delta": {"stop_reason": "end_turn", "stop_sequence": None}}
    usage = {"output_tokens": USAGE["output_tokens"]}
    return [*found, {"type": "message_delta", "usage": usage, **last}, {"type": "message_stop"}]


def use_events(calls: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Any]:
    """Return a streamed message with these tool calls; the arguments of each come in two pieces."""
    blocks: list[Any] = []
    for block in uses(calls):
        written = json.dumps(block["input"])
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in (written[:4], written[4:])]
        blocks.append(({**block, "input": {}}, deltas))
    return events(*blocks, ended={"delta": {"stop_reason": "tool_use", "stop_sequence": None}})


def error(kind: str = "rate_limit_error", text: str = "Rate limited") -> dict[str, Any]:
    """Return the body of an error."""
    return {"type": "error", "error": {"type": kind, "message": text}}
