"""Anthropic's messages, whole and streamed."""

from __future__ import annotations

import json
from typing import Any, Final

from anthropic_traffic import events
from provider_server import Reply, events_reply

from .rows import refused, row

Json = dict[str, Any]

_NEEDED: Final[Json] = {
    "model": "~",
    "max_tokens": 512,
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "~question", "new_member": {"type": "~"}},
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "~"},
                    "title": "~",
                    "context": "~",
                },
                {"type": "search_result", "source": "~", "title": "t", "content": []},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "~question", "signature": "sealed"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"city": "~question"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "is_error": True,
                    "content": [
                        {"type": "text", "text": "~question"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "%"}},
                    ],
                    "new": "~",
                },
                {"type": "text", "text": "~question"},
            ],
        },
    ],
}
_MORE: Final[Json] = {
    "system": [{"type": "text", "text": "~", "new_member": {"type": "~"}}],
    "tools": [
        {"name": "~", "description": "~", "input_schema": {"title": "~"}, "new": "~"},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 2, "blocked_domains": ["~"]},
    ],
    "thinking": {"type": "enabled", "budget_tokens": "#"},
    "tool_choice": {"type": "tool", "name": "~"},
    "metadata": {"user_id": "~"},
    "service_tier": "~",
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"title": "~"}}},
    "mcp_servers": [{"type": "url", "url": "~", "authorization_token": "!"}],
    "thread": {"type": "continue", "previous_message_id": "~"},
    "new": "~",
}
_REQUEST: Final[Json] = {**_NEEDED, "extra_body": _MORE}
BODY: Final[Json] = {**_NEEDED, **_MORE}
"""A request as it is sent, with blocks of every kind, and with parameters that have no attribute."""
MESSAGE: Final[Json] = {
    "id": "~",
    "type": "message",
    "role": "assistant",
    "model": "~",
    "content": [
        {"type": "thinking", "thinking": "~answer", "signature": "sealed"},
        {
            "type": "text",
            "text": "~answer",
            "citations": [
                {
                    "type": "char_location",
                    "cited_text": "~",
                    "document_index": 0,
                    "document_title": "d",
                    "start_char_index": 0,
                    "end_char_index": 8,
                }
            ],
        },
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "~answer"}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "s1",
            "content": [{"type": "web_search_result", "url": "~", "title": "t", "encrypted_content": "sealed"}],
        },
        {"type": "tool_use", "id": "t2", "name": "~answer", "input": {"city": "~answer"}, "caller": {"type": "~"}},
        {"type": "new_block", "new": {"deep": ["~"]}},
    ],
    "stop_reason": "stop_sequence",
    "stop_sequence": "~",
    "container": {"id": "~"},
    "context_management": {"applied": ["~"]},
    "usage": {
        "input_tokens": "#in",
        "output_tokens": "#out",
        "server_tool_use": {"web_search_requests": "#"},
        "cache_creation": {"ephemeral_1h_input_tokens": "#"},
        "new": "#",
    },
}
"""An answer with blocks of every kind, and with every member that can accompany them."""


def _message_stream(whole: Json) -> Reply:
    usage = whole["usage"]
    begun = {name: value for name, value in whole.items() if name not in ("container", "context_management")}
    begun |= {"stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
    last = {
        "delta": {name: whole[name] for name in ("stop_reason", "stop_sequence", "container")},
        "usage": {name: usage[name] for name in ("output_tokens", "server_tool_use")},
        "context_management": whole["context_management"],
    }
    blocks = [({**block, **_begun(block)}, _deltas(block)) for block in whole["content"]]
    return events_reply(events(*blocks, started=begun, ended=last), named=True, done=False)


def _begun(block: Json) -> Json:
    empty: dict[str, Json] = {"text": {"text": "", "citations": None}, "thinking": {"thinking": "", "signature": ""}}
    return empty.get(block["type"], {"input": {}} if "input" in block else {})


def _deltas(block: Json) -> list[Json]:
    if block["type"] == "text":
        texts = [{"type": "text_delta", "text": part} for part in (block["text"][:4], block["text"][4:])]
        return texts + [{"type": "citations_delta", "citation": citation} for citation in block["citations"]]
    if block["type"] == "thinking":
        thought = {"type": "thinking_delta", "thinking": block["thinking"]}
        return [thought, {"type": "signature_delta", "signature": "sealed"}]
    return [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}] if "input" in block else []


row("anthropic", "messages.create", _REQUEST, MESSAGE)
row("anthropic", "messages.create", {**_REQUEST, "stream": True}, MESSAGE, replies=_message_stream, name="streamed")
row(
    "anthropic",
    "messages.create",
    {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "~question"}]},
    {"type": "error", "error": {"type": "~", "message": "~"}, "request_id": "~"},
    replies=refused,
    name="refused",
)
