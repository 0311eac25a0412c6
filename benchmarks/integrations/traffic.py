"""What the providers answer in the benchmarks: an answer in one piece and a stream of CHUNKS pieces for each API."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Final

CHUNKS: Final = 200
TEXT: Final = "It is sunny and mild. " * 20
QUESTION: Final = "What is the weather in Paris? " * 10
MESSAGES: Final[list[dict[str, Any]]] = [
    {"role": "system", "content": "You are a weather bot that answers in one sentence."},
    {"role": "user", "content": QUESTION},
]
_WORDS: Final = (" sunny", " mild") * (CHUNKS // 2)  # litellm takes a model that repeats itself for a broken one
_AWS_EVENTS: Final = "application/vnd.amazon.eventstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """An answer, and a stream as the pieces in which it comes."""

    answer: bytes
    pieces: tuple[bytes, ...]
    stream_type: str = "text/event-stream"


def _events(*payloads: dict[str, Any], done: bool = False) -> tuple[bytes, ...]:
    return (*map(_event, payloads), b"data: [DONE]\n\n") if done else tuple(map(_event, payloads))


def _event(payload: dict[str, Any]) -> bytes:
    name = f"event: {payload['type']}\n" if "type" in payload else ""
    return f"{name}data: {json.dumps(payload, separators=(',', ':'))}\n\n".encode()


def openai() -> Traffic:
    """Chat completions, as OpenAI and those that speak like it."""
    usage = {
        "prompt_tokens": 120,
        "completion_tokens": 34,
        "total_tokens": 154,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 12},
    }
    about = {"id": "chatcmpl-1", "created": 1, "model": "gpt-5-mini-2026-08-07", "service_tier": "default"}
    message = {"role": "assistant", "content": TEXT}
    answer = {
        **about,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }

    def chunk(delta: dict[str, Any], **more: Any) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": more.pop("finish_reason", None)}
        return {**about, "object": "chat.completion.chunk", "choices": [choice], **more}

    end = chunk({}, finish_reason="stop", usage=usage)
    pieces = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": word}) for word in _WORDS), end]
    return Traffic(answer=json.dumps(answer).encode(), pieces=_events(*pieces, done=True))


_USAGE: Final = {"input_tokens": 120, "output_tokens": 34}
_MESSAGE: Final[dict[str, Any]] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5"}
_ANSWERED: Final = {
    **_MESSAGE,
    "content": [{"type": "text", "text": TEXT}],
    "stop_reason": "end_turn",
    "usage": _USAGE,
}


def anthropic() -> Traffic:
    """Messages of Anthropic's API."""
    return Traffic(answer=json.dumps(_ANSWERED).encode(), pieces=_events(*_message_events()))


def _message_events() -> list[dict[str, Any]]:
    begun = {**_MESSAGE, "content": [], "stop_reason": None, "stop_sequence": None, "usage": _USAGE}
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
            for word in _WORDS
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 34}},
        {"type": "message_stop"},
    ]


def google() -> Traffic:
    """Contents that Gemini generates."""
    usage = {"promptTokenCount": 120, "candidatesTokenCount": 34, "totalTokenCount": 154}
    about = {"usageMetadata": usage, "modelVersion": "gemini-3.8-flash", "responseId": "r1"}

    def said(text: str, **more: Any) -> dict[str, Any]:
        content = {"role": "model", "parts": [{"text": text}]}
        return {"candidates": [{"content": content, "index": 0, **more}], **about}

    pieces = [*map(said, _WORDS), said("", finishReason="STOP")]
    return Traffic(answer=json.dumps(said(TEXT, finishReason="STOP")).encode(), pieces=_events(*pieces))


def cohere() -> Traffic:
    """Chat of Cohere's second API."""
    usage = {"billed_units": {"input_tokens": 120, "output_tokens": 34}, "tokens": {"input_tokens": 120}}
    message = {"role": "assistant", "content": [{"type": "text", "text": TEXT}]}
    answer = {"id": "c1", "message": message, "finish_reason": "COMPLETE", "usage": usage}

    def content(kind: str, said: dict[str, Any]) -> dict[str, Any]:
        return {"type": kind, "index": 0, "delta": {"message": {"content": said}}}

    begun = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    pieces: list[dict[str, Any]] = [
        {"type": "message-start", "id": "c1", "delta": {"message": begun}},
        content("content-start", {"type": "text", "text": ""}),
        *(content("content-delta", {"text": word}) for word in _WORDS),
        {"type": "content-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}},
    ]
    return Traffic(answer=json.dumps(answer).encode(), pieces=_events(*pieces))


def ollama() -> Traffic:
    """Chat of Ollama: one JSON document a line."""
    about = {"model": "llama3.2", "created_at": "2026-08-07T00:00:00Z"}
    counts = {"done": True, "done_reason": "stop", "prompt_eval_count": 120, "eval_count": 34}
    answer = {**about, "message": {"role": "assistant", "content": TEXT}, **counts}
    pieces = [{**about, "message": {"role": "assistant", "content": word}, "done": False} for word in _WORDS]
    last = {**about, "message": {"role": "assistant", "content": ""}, **counts}
    lines = tuple(json.dumps(one).encode() + b"\n" for one in (*pieces, last))
    return Traffic(answer=json.dumps(answer).encode(), pieces=lines, stream_type="application/x-ndjson")


def bedrock_converse() -> Traffic:
    """Conversations of Bedrock's runtime."""
    usage = {"inputTokens": 120, "outputTokens": 34, "totalTokens": 154}
    answer = {
        "output": {"message": {"role": "assistant", "content": [{"text": TEXT}]}},
        "stopReason": "end_turn",
        "usage": usage,
        "metrics": {"latencyMs": 1},
    }
    pieces = (
        _aws_message("messageStart", {"role": "assistant"}),
        *(_aws_message("contentBlockDelta", {"delta": {"text": word}, "contentBlockIndex": 0}) for word in _WORDS),
        _aws_message("contentBlockStop", {"contentBlockIndex": 0}),
        _aws_message("messageStop", {"stopReason": "end_turn"}),
        _aws_message("metadata", {"usage": usage, "metrics": {"latencyMs": 1}}),
    )
    return Traffic(answer=json.dumps(answer).encode(), pieces=pieces, stream_type=_AWS_EVENTS)


def bedrock_invoke() -> Traffic:
    """Anthropic's messages, as Bedrock's runtime passes them on."""
    pieces = (
        _aws_message("chunk", {"bytes": base64.b64encode(json.dumps(one).encode()).decode()})
        for one in _message_events()
    )
    return Traffic(answer=json.dumps(_ANSWERED).encode(), pieces=tuple(pieces), stream_type=_AWS_EVENTS)


def _aws_message(name: str, data: dict[str, Any]) -> bytes:
    payload = json.dumps(data).encode()
    given = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    fields = b"".join(
        struct.pack(">B", len(key)) + key.encode() + struct.pack(">BH", 7, len(value)) + value.encode()
        for key, value in given.items()
    )
    lengths = struct.pack(">II", len(fields) + len(payload) + 16, len(fields))
    told = lengths + struct.pack(">I", zlib.crc32(lengths)) + fields + payload
    return told + struct.pack(">I", zlib.crc32(told))
