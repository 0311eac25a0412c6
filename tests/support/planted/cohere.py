"""Both versions of Cohere's API."""

from __future__ import annotations

from typing import Any, Final

from provider_server import Reply, events_reply

from .rows import refused, row

Json = dict[str, Any]

_USAGE: Final[Json] = {
    "billed_units": {"input_tokens": "#in", "output_tokens": "#out"},
    "tokens": {"input_tokens": "#", "output_tokens": 1},
}
"""The billed units, and the tokens that the model saw."""
CITATION: Final[Json] = {
    "start": 0,
    "end": 1,
    "text": "~",
    "sources": [{"type": "document", "id": "~", "document": {"id": "d1", "snippet": "~"}}],
    "type": "TEXT_CONTENT",
}
_REQUEST: Final[Json] = {
    "model": "~",
    "messages": [
        {"role": "system", "content": "~"},
        {"role": "user", "content": "~question"},
        {
            "role": "assistant",
            "tool_plan": "~question",
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": "~question"}'}}
            ],
        },
        {
            "role": "tool",
            "tool_call_id": "t1",
            "content": [{"type": "document", "document": {"id": "~", "data": {"r": "~question"}}}],
        },
    ],
    "documents": [{"id": "d1", "data": {"text": "~", "title": "~"}}, "~"],
    "tools": [{"type": "function", "function": {"name": "~", "description": "~", "parameters": {}}}],
    "request_options": {
        "max_retries": 0,
        "additional_body_parameters": {
            "citation_options": {"mode": "~"},
            "thinking": {"type": "enabled", "token_budget": "#"},
            "response_format": {"type": "json_object", "schema": {"title": "~"}},
            "new": "~",
        },
    },
}


def _stream(whole: Json) -> Reply:
    message = {"role": "assistant", "content": []}
    thought, text = whole["message"]["content"]
    (logprobs,), (citation,) = whole["logprobs"], whole["message"]["citations"]
    end = {"finish_reason": whole["finish_reason"], "usage": whole["usage"]}
    events: list[Json] = [
        {"type": "message-start", "id": whole["id"], "delta": {"message": message}},
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": thought["thinking"]}}},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        {
            "type": "content-delta",
            "index": 0,
            "delta": {"message": {"content": {"text": text["text"]}}},
            "logprobs": logprobs,
        },
        {"type": "citation-start", "index": 0, "delta": {"message": {"citations": citation}}},
        {"type": "citation-end", "index": 0},
        {"type": "content-end", "index": 0},
        {"type": "message-end", "delta": end},
    ]
    return events_reply(events, named=True, done=False)


_ANSWER: Final[Json] = {
    "id": "~",
    "finish_reason": "COMPLETE",
    "message": {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "~answer"}, {"type": "text", "text": "~answer"}],
        "citations": [CITATION],
    },
    "usage": _USAGE,
    "logprobs": [{"token_ids": [1], "text": "~", "logprobs": [-0.5]}],
}
row("cohere", "chat", _REQUEST, _ANSWER)
row("cohere", "chat_stream", _REQUEST, _ANSWER, replies=_stream)
row(
    "cohere",
    "chat",
    {"model": "m", "messages": [{"role": "user", "content": "~question"}], "request_options": {"max_retries": 0}},
    {"id": "~", "message": "~", "more": ["~"]},
    replies=refused,
    name="refused",
)
row(
    "cohere v1",
    "chat",
    {
        "message": "~question",
        "preamble": "~",
        "chat_history": [{"role": "CHATBOT", "message": "~question"}],
        "documents": [{"text": "~"}],
        "prompt_truncation": "~",
        "connectors": [{"id": "~", "user_access_token": "!"}],
    },
    {
        "response_id": "~",
        "generation_id": "g",
        "text": "~answer",
        "finish_reason": "COMPLETE",
        "citations": [{"start": 0, "end": 1, "text": "~", "document_ids": ["d"]}],
        "documents": [{"id": "d", "snippet": "~"}],
        "search_queries": [{"text": "~", "generation_id": "g"}],
        "meta": _USAGE,
    },
)
row(
    "cohere",
    "rerank",
    {
        "model": "m",
        "query": "~",
        "documents": ["x"],
        "max_tokens_per_doc": "#",
        "request_options": {"additional_body_parameters": {"documents": [{"text": "~", "title": "~"}]}},
    },
    {
        "id": "~",
        "results": [{"index": 0, "relevance_score": 0.5}],
        "meta": {"billed_units": {"search_units": "#"}},
    },
    operation="retrieval",
)
row(
    "cohere",
    "embed",
    {
        "model": "m",
        "texts": ["~question"],
        "images": ["data:%"],
        "embedding_types": ["float"],
        "input_type": "~",
        "truncate": "~",
        "request_options": {"additional_body_parameters": {"priority": "#"}},
    },
    {
        "id": "e",
        "response_type": "embeddings_by_type",
        "embeddings": {"float": [[0.5, 0.25]]},
        "texts": [],
        "meta": {"billed_units": {"input_tokens": "#in", "images": "#"}, "warnings": ["~"]},
    },
    operation="embeddings",
)
row(
    "cohere v1",
    "audio.transcriptions.create",
    {"model": "aya", "language": "en", "file": ("a.mp3", b"ID3")},
    {"text": "~answer"},
    operation="generate_content",
)
