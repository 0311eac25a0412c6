"""Anthropic's messages, whole and streamed, and batches of messages."""

from __future__ import annotations

import json
import uuid
from typing import Any

import anthropic

from library_members import skip_without
from provider_server import ProviderServer, Reply, events_reply, json_reply

from .plants import Plants, planted

Json = dict[str, Any]


def client(server: ProviderServer) -> Any:
    """Return Anthropic's client."""
    return anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)


def request(plant: Plants) -> Json:
    """Return a request with blocks of every kind, and with parameters that have no attribute."""
    image = {"type": "base64", "media_type": "image/png", "data": plant.picture("picture")}
    document = {"type": "text", "media_type": "text/plain", "data": plant.text("document")}
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "is_error": True,
        "content": [{"type": "text", "text": plant.text("tool result")}, {"type": "image", "source": image}],
        "new": plant.text("beside the result"),
    }
    content = [
        {"type": "text", "text": plant.text("question"), "new_member": {"type": plant.text("beside text")}},
        {"type": "document", "source": document, "title": plant.text("title"), "context": plant.text("context")},
        {"type": "search_result", "source": plant.text("source"), "title": "t", "content": []},
    ]
    return {
        "model": plant.text("asked model"),
        "max_tokens": 512,
        "system": [{"type": "text", "text": plant.text("system"), "new_member": {"type": plant.text("of system")}}],
        "messages": [
            {"role": "user", "content": content},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": plant.text("earlier thought"), "signature": "sealed"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"city": plant.text("argument")}},
                ],
            },
            {"role": "user", "content": [result, {"type": "text", "text": plant.text("and now")}]},
        ],
        "tools": [
            {
                "name": plant.text("tool"),
                "description": plant.text("about"),
                "input_schema": {"title": plant.text("schema")},
                "new": plant.text("beside tool"),
            },
            {
                "type": "web_search_20250305",
                "name": "web_search",
                "max_uses": 2,
                "blocked_domains": [plant.text("domain")],
            },
        ],
        "thinking": {"type": "enabled", "budget_tokens": plant.number("budget")},
        "tool_choice": {"type": "tool", "name": plant.text("tool choice")},
        "metadata": {"user_id": plant.text("user")},
        "service_tier": plant.text("tier"),
        "output_config": {
            "effort": "low",
            "format": {"type": "json_schema", "schema": {"title": plant.text("format")}},
        },
        "mcp_servers": [{"type": "url", "url": plant.text("mcp"), "authorization_token": plant.sealed()}],
        "thread": {"type": "continue", "previous_message_id": plant.text("previous")},
        "new": plant.text("new parameter"),
    }


def blocks(plant: Plants) -> list[Json]:
    """Return an answer with blocks of every kind."""
    citation = {
        "type": "char_location",
        "cited_text": plant.text("citation"),
        "document_index": 0,
        "document_title": "d",
        "start_char_index": 0,
        "end_char_index": 8,
    }
    found = {"type": "web_search_result", "url": plant.text("url"), "title": "t", "encrypted_content": "sealed"}
    return [
        {"type": "thinking", "thinking": plant.text("thought"), "signature": "sealed"},
        {"type": "text", "text": plant.text("answer"), "citations": [citation]},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": plant.text("query")}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [found]},
        {
            "type": "tool_use",
            "id": "t2",
            "name": plant.text("called"),
            "input": {"city": plant.text("new argument")},
            "caller": {"type": plant.text("caller")},
        },
        {"type": "new_block", "new": {"deep": [plant.text("new block")]}},
    ]


def message(plant: Plants) -> Json:
    """Return the answer, with every member that can accompany its blocks."""
    return {
        "id": plant.text("id"),
        "type": "message",
        "role": "assistant",
        "model": plant.text("model"),
        "content": blocks(plant),
        "stop_reason": "stop_sequence",
        "stop_sequence": plant.text("stop sequence"),
        "container": {"id": plant.text("container")},
        "usage": {
            "input_tokens": plant.number("input tokens"),
            "output_tokens": plant.number("output tokens"),
            "server_tool_use": {"web_search_requests": plant.number("searches")},
            "cache_creation": {"ephemeral_1h_input_tokens": plant.number("written for an hour")},
            "new": plant.number("new count"),
        },
    }


@planted("anthropic", "message")
def _messages(server: ProviderServer, plant: Plants) -> object:
    server.replies(json_reply(message(plant)))
    given = request(plant)
    with client(server) as made:
        needed = {name: given.pop(name) for name in ("model", "max_tokens", "messages")}
        return made.messages.create(**needed, extra_body=given)


@planted("anthropic", "message stream")
def _message_stream(server: ProviderServer, plant: Plants) -> object:
    whole = message(plant)
    content, usage = whole["content"], whole.pop("usage")
    ended = {name: whole.pop(name) for name in ("stop_reason", "stop_sequence", "container")}
    start = {**whole, "content": [], "stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
    events: list[Json] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(content):
        events.append({"type": "content_block_start", "index": index, "content_block": {**block, **_begun(block)}})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in _deltas(block)]
        events.append({"type": "content_block_stop", "index": index})
    told = {"output_tokens": usage["output_tokens"], "server_tool_use": usage["server_tool_use"]}
    more = {"context_management": {"applied": [plant.text("edits")]}}
    events += [{"type": "message_delta", "delta": ended, "usage": told, **more}, {"type": "message_stop"}]
    server.replies(events_reply(events, named=True, done=False))
    given = request(plant)
    with client(server) as made:
        needed = {name: given.pop(name) for name in ("model", "max_tokens", "messages")}
        return list(made.messages.create(**needed, extra_body=given, stream=True))


def _begun(block: Json) -> Json:
    empty: dict[str, Json] = {"text": {"text": "", "citations": None}, "thinking": {"thinking": "", "signature": ""}}
    return empty.get(block["type"], {"input": {}} if "input" in block else {})


def _deltas(block: Json) -> list[Json]:
    if block["type"] == "text":
        text = block["text"]
        said = [{"type": "text_delta", "text": text[:4]}, {"type": "text_delta", "text": text[4:]}]
        return said + [{"type": "citations_delta", "citation": citation} for citation in block["citations"]]
    if block["type"] == "thinking":
        thought = {"type": "thinking_delta", "thinking": block["thinking"]}
        return [thought, {"type": "signature_delta", "signature": "sealed"}]
    if "input" in block:
        return [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
    return []


@planted("anthropic", "batch")
def _batch(server: ProviderServer, plant: Plants) -> object:
    server.replies(
        json_reply(
            {
                "id": plant.text("id"),
                "type": "message_batch",
                "processing_status": "in_progress",
                "request_counts": {"processing": plant.number("processing")},
            }
        )
    )
    with client(server) as made:
        skip_without(made, "messages.batches")
        return made.messages.batches.create(requests=[{"custom_id": plant.text("custom"), "params": request(plant)}])


@planted("anthropic", "results of a batch")
def _results(server: ProviderServer, plant: Plants) -> object:
    line = {"custom_id": plant.text("custom"), "result": {"type": "succeeded", "message": message(plant)}}
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": plant.text("error")}}
    failed = {"custom_id": plant.text("failed"), "result": {"type": "errored", "error": error}}
    ended = {
        "id": "b",
        "type": "message_batch",
        "processing_status": "ended",
        "results_url": f"{server.url}/v1/messages/batches/b/results",
    }
    lines = "".join(json.dumps(one) + "\n" for one in (line, failed)).encode()
    server.replies(json_reply(ended), Reply(chunks=(lines,), content_type="application/x-jsonl"))
    with client(server) as made:
        skip_without(made, "messages.batches")
        return list(made.messages.batches.results(uuid.uuid4().hex))
