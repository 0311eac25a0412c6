"""Mistral and Ollama."""

from __future__ import annotations

import json
from typing import Any, Final

from provider_server import Reply, events_reply

from .openai_protocol import BARE_CHAT, COUNTS, EMBEDDED, TOOL
from .rows import refused, row

Json = dict[str, Any]

row(
    "mistralai",
    "chat.complete",
    {
        **BARE_CHAT,
        "model": "~",
        "tools": [TOOL],
        "response_format": {"type": "json_schema", "json_schema": {"name": "~", "schema": {}}},
        "prediction": {"type": "content", "content": "~"},
        "parallel_tool_calls": False,
        "random_seed": "#",
        "safe_prompt": True,
    },
    {
        "id": "~",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": "~answer"}]},
                        {"type": "text", "text": "~answer"},
                        {"type": "reference", "reference_ids": ["~"]},
                    ],
                },
                "finish_reason": "stop",
            }
        ],
        "usage": {**COUNTS, "prompt_audio_seconds": "#"},
    },
)
_COMPLETED: Final[Json] = {
    "id": "~",
    "object": "x",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "~answer"}, "finish_reason": "stop"}],
    "usage": COUNTS,
}
row("mistralai", "agents.complete", {"agent_id": "~", "messages": BARE_CHAT["messages"]}, _COMPLETED)
row(
    "mistralai",
    "embeddings.create",
    {"model": "m", "inputs": ["~question"]},
    {**EMBEDDED, "id": "~"},
    operation="embeddings",
)
row(
    "mistralai",
    "chat.complete",
    BARE_CHAT,
    {"message": "~", "type": "~", "code": "~"},
    replies=refused,
    name="refused",
)
row(
    "mistralai",
    "beta.conversations.start",
    {
        "model": "~",
        "inputs": [{"role": "user", "content": "~question", "type": "message.input", "object": "entry"}],
        "instructions": "~",
        "tools": [TOOL],
        "completion_args": {"tool_choice": "auto", "response_format": {"type": "text"}, "max_tokens": "#"},
        "name": "~",
        "description": "~",
        "store": False,
    },
    {
        "object": "conversation.response",
        "conversation_id": "~",
        "outputs": [
            {
                "type": "tool.execution",
                "id": "e",
                "object": "entry",
                "name": "web_search",
                "arguments": "~answer",
                "info": {"found": "~"},
            },
            {
                "type": "message.output",
                "id": "m",
                "object": "entry",
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "~answer"},
                    {"type": "tool_reference", "tool": "web_search", "title": "~", "url": "~"},
                ],
                "model": "m",
            },
        ],
        "usage": {**COUNTS, "connectors": {"web_search": "#"}},
    },
)
row(
    "mistralai",
    "ocr.process",
    {"model": "ocr", "document": {"type": "document_url", "document_url": "~question"}, "image_limit": "#"},
    {
        "model": "ocr",
        "pages": [{"index": 0, "markdown": "~answer", "images": [], "dimensions": None, "header": "~"}],
        "document_annotation": "~",
        "usage_info": {"pages_processed": "#"},
    },
    operation="generate_content",
)
row(
    "mistralai",
    "fim.complete",
    {"model": "m", "prompt": "~question", "suffix": "~", "stop": ["~"]},
    _COMPLETED,
    operation="text_completion",
)
row(
    "mistralai",
    "classifiers.moderate",
    {"model": "m", "inputs": ["~question"]},
    {
        "id": "~",
        "model": "m",
        "results": [{"categories": {"~answer": True}, "category_scores": {"hate": 0.7}}],
        "beside": "~",
    },
    operation="moderation",
)
_HEARD: Final[Json] = {
    "model": "m",
    "text": "~answer",
    "language": "~",
    "segments": [{"text": "~", "start": 0.5, "end": 1.5, "speaker_id": "~"}],
    "usage": {**COUNTS, "prompt_audio_seconds": "#"},
}
_FILE: Final[Json] = {"model": "m", "file": {"file_name": "~question", "content": b"ID3"}, "language": "~"}
row("mistralai", "audio.transcriptions.complete", _FILE, _HEARD, operation="generate_content")
row(
    "mistralai",
    "audio.transcriptions.complete",
    {"model": "m", "file_url": "~"},
    _HEARD,
    operation="generate_content",
    name="by address",
)
row(
    "mistralai",
    "audio.transcriptions.stream",
    _FILE,
    _HEARD,
    replies=lambda heard: events_reply(
        [
            *({"type": "transcription.text.delta", "text": part} for part in (heard["text"][:4], heard["text"][4:])),
            {"type": "transcription.done", **heard},
        ],
        named=True,
        done=False,
    ),
    operation="generate_content",
)

_CHAT: Final[Json] = {
    "model": "~",
    "messages": [
        {"role": "system", "content": "~"},
        {"role": "user", "content": "~question", "images": [b"%"]},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": "~"}}}]},
        {"role": "tool", "tool_name": "f", "content": "~question"},
    ],
    "tools": [TOOL],
    "format": {"type": "object", "title": "~"},
    "options": {"temperature": 0.5, "num_ctx": "#"},
    "keep_alive": "~",
    "think": True,
}
_ANSWER: Final[Json] = {
    "model": "~",
    "created_at": "2026-01-01T00:00:00Z",
    "message": {
        "role": "assistant",
        "content": "~answer",
        "thinking": "~answer",
        "tool_calls": [{"function": {"name": "~answer", "arguments": {"a": "~answer"}}}],
    },
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": "#in",
    "eval_count": "#out",
    "total_duration": "#",
    "logprobs": [{"token": "~", "logprob": -1}],
}


def _lines(whole: Json) -> Reply:
    kept = {"model": whole["model"], "created_at": whole["created_at"], "done": False}
    lines = [
        {**kept, "message": {"role": "assistant", name: value}}
        for name, value in whole["message"].items()
        if name != "role"
    ]
    lines[0]["logprobs"] = whole["logprobs"]
    last = {name: value for name, value in whole.items() if name != "logprobs"}
    lines.append({**last, "message": {"role": "assistant", "content": ""}})
    return Reply(chunks=[json.dumps(one).encode() + b"\n" for one in lines], content_type="application/x-ndjson")


row("ollama", "chat", _CHAT, _ANSWER)
row("ollama", "chat", {**_CHAT, "stream": True}, _ANSWER, replies=_lines, name="streamed")
for _streams in (False, True):
    row(
        "ollama",
        "chat",
        {**BARE_CHAT, "stream": _streams},
        {"error": "~", "code": "~", "details": [{"field": "~"}]},
        replies=refused,
        name="refused stream" if _streams else "refused",
    )
row(
    "ollama",
    "generate",
    {
        "model": "m",
        "prompt": "~question",
        "suffix": "~",
        "system": "~",
        "template": "~",
        "context": [1, 2, 3],
        "options": {"num_ctx": "#"},
    },
    {
        "model": "m",
        "response": "~answer",
        "done": True,
        "done_reason": "stop",
        "context": [1, 2],
        "load_duration": "#",
    },
    operation="text_completion",
)
row(
    "ollama",
    "embed",
    {"model": "m", "input": ["~question"], "truncate": False, "options": {"num_ctx": "#"}},
    {"model": "~", "embeddings": [[0.5, 0.25]], "total_duration": "#", "prompt_eval_count": "#in"},
    operation="embeddings",
)
