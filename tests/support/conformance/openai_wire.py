"""Answers of a provider that speaks OpenAI's chat completions, for all clients of this protocol."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from openai_traffic import (
    ANSWER,
    ANSWERED_BY,
    CHAT_USAGE,
    MODEL,
    QUESTION,
    TOOL,
    WORDS,
    chat_chunks,
    chunk,
    completion,
    delta,
    error,
)
from provider_server import sse

from .adapter import Expected, Wire

REQUEST: Final[dict[str, Any]] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": QUESTION}],
    "tools": [TOOL],
}
TOOL_CALLS: Final = (("get_weather", {"place": "Paris"}), ("get_time", {"place": "Rome"}))
REFUSAL: Final = json.dumps(error()).encode()


def _calls() -> list[dict[str, Any]]:
    return [
        {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for index, (name, arguments) in enumerate(TOOL_CALLS)
    ]


def _call_chunks() -> list[dict[str, Any]]:
    """Return two parallel tool calls; each begins with its name, and its arguments come in two chunks."""
    chunks = [chunk(delta(role="assistant", content=None))]
    for index, call in enumerate(_calls()):
        written = call["function"]["arguments"]
        begun = {"index": index, **call, "function": {"name": call["function"]["name"], "arguments": ""}}
        pieces = [{"index": index, "function": {"arguments": part}} for part in (written[:4], written[4:])]
        chunks += [chunk(delta(tool_calls=[piece])) for piece in (begun, *pieces)]
    return [*chunks, chunk(delta(finish_reason="tool_calls")), chunk(usage=CHAT_USAGE)]


def events(payloads: Sequence[Any], *, done: bool = True, named: bool = False) -> list[bytes]:
    """Return server-sent events, one in each chunk."""
    return [sse(payload, named=named) for payload in payloads] + ([b"data: [DONE]\n\n"] if done else [])


def _whole_call_chunks() -> list[dict[str, Any]]:
    chunks = [chunk(delta(role="assistant", content=""))]
    chunks += [chunk(delta(tool_calls=[{"index": index, **call}])) for index, call in enumerate(_calls())]
    return [*chunks, chunk(delta(finish_reason="tool_calls")), chunk(usage=CHAT_USAGE)]


ANSWERED: Final = Wire(whole=json.dumps(completion()).encode(), chunks=events(chat_chunks()))
TOOLS: Final = Wire(whole=json.dumps(completion({"tool_calls": _calls()})).encode(), chunks=events(_call_chunks()))

TOOLS_WHOLE: Final = Wire(whole=TOOLS.whole, chunks=events(_whole_call_chunks()))
"""Tool calls in one chunk each, as some services send them and some clients require them."""


def expected(provider: str) -> Expected:
    """Return the expected span of a chat with this provider."""
    return Expected(
        span_name=f"chat {MODEL}",
        provider=provider,
        response_model=ANSWERED_BY,
        text=ANSWER,
        words=[word for word in WORDS if len(word) > 4],
        input_tokens=120,
        output_tokens=34,
        finish_reason="stop",
        tool_calls=TOOL_CALLS,
    )
