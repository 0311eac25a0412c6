"""Bodies of OpenAI's API as sent over HTTP, after its published reference: whole answers and streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

QUESTION: Final = "What is the weather in Paris?"
WORDS: Final = ("Sunny", " and", " mild", ",", " 21", " degrees", ".")
ANSWER: Final = "".join(WORDS)
MODEL: Final = "gpt-5-mini"
ANSWERED_BY: Final = "gpt-5-mini-2026-08-07"
CHAT_USAGE: Final = {
    "prompt_tokens": 120,
    "completion_tokens": 34,
    "total_tokens": 154,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 12, "audio_tokens": 0},
}
RESPONSE_USAGE: Final = {
    "input_tokens": 120,
    "input_tokens_details": {"cached_tokens": 64},
    "output_tokens": 34,
    "output_tokens_details": {"reasoning_tokens": 12},
    "total_tokens": 154,
}
TOOL: Final[Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather at a place",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}


def completion(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a chat completion with one choice per message (default: ANSWER)."""
    given = messages or ({"role": "assistant", "content": ANSWER, "refusal": None},)
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": None, **message},
            "finish_reason": "tool_calls" if message.get("tool_calls") else "stop",
            "logprobs": None,
        }
        for index, message in enumerate(given)
    ]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": ANSWERED_BY,
        "choices": choices,
        "usage": CHAT_USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_1",
        **more,
    }


def chunk(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return one chunk of a streamed chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": ANSWERED_BY,
        "service_tier": "default",
        "system_fingerprint": "fp_1",
        "choices": list(choices),
        **more,
    }


def delta(index: int = 0, finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return one choice of a chunk."""
    return {"index": index, "delta": fields, "finish_reason": finish_reason, "logprobs": None}


def chat_chunks(words: Sequence[str] = WORDS) -> list[dict[str, Any]]:
    """Return a streamed chat completion: the role, one chunk per word, the finish reason, the usage."""
    found = [chunk(delta(role="assistant", content=""))]
    found += [chunk(delta(content=word)) for word in words]
    return [*found, chunk(delta(finish_reason="stop")), chunk(usage=CHAT_USAGE)]


def message_item(text: str = ANSWER, status: str = "completed") -> dict[str, Any]:
    """Return an output item of the Responses API."""
    content = [{"type": "output_text", "text": text, "annotations": []}] if text else []
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": content}


def response(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a response with these output items (default: ANSWER)."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": "completed",
        "model": ANSWERED_BY,
        "output": list(items) or [message_item()],
        "usage": RESPONSE_USAGE,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "service_tier": "default",
        **more,
    }


def response_events() -> list[dict[str, Any]]:
    """Return a streamed response with one message."""
    started = response(status="in_progress", usage=None, output=[])
    place = {"item_id": "msg_1", "output_index": 0}
    part = {"type": "output_text", "text": "", "annotations": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": started},
        {"type": "response.in_progress", "response": started},
        {"type": "response.output_item.added", "output_index": 0, "item": message_item("", "in_progress")},
        {"type": "response.content_part.added", **place, "content_index": 0, "part": part},
    ]
    events += [
        {"type": "response.output_text.delta", **place, "content_index": 0, "delta": word, "logprobs": []}
        for word in WORDS
    ]
    events += [
        {"type": "response.output_text.done", **place, "content_index": 0, "text": ANSWER, "logprobs": []},
        {"type": "response.content_part.done", **place, "content_index": 0, "part": {**part, "text": ANSWER}},
        {"type": "response.output_item.done", "output_index": 0, "item": message_item()},
        {"type": "response.completed", "response": response(message_item())},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def embedding(vector: Any = (0.25, -0.5, 0.75)) -> dict[str, Any]:
    """Return an answer of the embeddings API."""
    return {
        "object": "list",
        "model": "text-embedding-3-small",
        "data": [
            {"object": "embedding", "index": 0, "embedding": list(vector) if isinstance(vector, tuple) else vector}
        ],
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }


def error(message: str = "Rate limit reached", kind: str = "rate_limit_error") -> dict[str, Any]:
    """Return the body of an error."""
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}
