"""OpenAI's Responses API, and its calls that are not chats."""

from __future__ import annotations

from typing import Any, Final

from openai_traffic import response
from provider_server import Reply, events_reply

from .openai_protocol import COUNTS, EMBEDDED
from .rows import row

Json = dict[str, Any]

_OUTPUT: Final[list[Json]] = [
    {
        "type": "reasoning",
        "id": "~",
        "summary": [{"type": "summary_text", "text": "~answer"}],
        "content": [{"type": "reasoning_text", "text": "~answer"}],
        "encrypted_content": "sealed",
    },
    {
        "type": "message",
        "id": "~",
        "role": "assistant",
        "status": "~",
        "content": [
            {
                "type": "output_text",
                "text": "~answer",
                "annotations": [{"type": "url_citation", "url": "~", "title": "t", "start_index": 0, "end_index": 1}],
                "logprobs": [{"token": "~", "logprob": -1, "bytes": [], "top_logprobs": []}],
            }
        ],
        "phase": "~",
    },
    {
        "type": "function_call",
        "id": "~",
        "call_id": "~",
        "name": "~answer",
        "arguments": '{"a": "~answer"}',
        "namespace": "~",
    },
    {
        "type": "web_search_call",
        "id": "~",
        "status": "completed",
        "action": {"type": "search", "query": "~", "sources": [{"url": "~"}]},
    },
    {
        "type": "file_search_call",
        "id": "s1",
        "queries": ["~"],
        "status": "completed",
        "results": [{"text": "~", "filename": "~"}],
    },
    {
        "type": "code_interpreter_call",
        "id": "i1",
        "code": "~",
        "container_id": "c",
        "status": "completed",
        "outputs": [{"type": "logs", "logs": "~"}],
    },
    {"type": "mcp_call", "id": "p1", "name": "~", "server_label": "~", "arguments": "~", "output": "~"},
    {"type": "image_generation_call", "id": "~", "status": "completed", "result": "%", "revised_prompt": "~"},
    {"type": "new_item", "id": "~", "inside": {"deep": ["~"]}},
]
"""Output of every kind."""
_INPUT: Final[Json] = {
    "instructions": "~",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "~question"},
                {"type": "input_image", "image_url": "data:%", "detail": "~"},
                {"type": "input_file", "filename": "~", "file_data": "data:%"},
            ],
        },
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "~question"},
        {"type": "function_call_output", "call_id": "c1", "output": "~question"},
        {
            "type": "computer_call_output",
            "call_id": "c3",
            "output": {"type": "computer_screenshot", "image_url": "data:%"},
        },
        {"type": "item_reference", "id": "~"},
    ],
    "tools": [
        {"type": "function", "name": "~", "parameters": {}, "strict": True, "description": "d"},
        {"type": "file_search", "vector_store_ids": ["~"]},
        {
            "type": "mcp",
            "server_label": "l",
            "server_url": "~",
            "authorization": "!",
            "headers": {"x": "!"},
            "require_approval": "never",
        },
    ],
}
_PARAMETERS: Final[Json] = {
    "reasoning": {"effort": "low", "summary": "~"},
    "text": {"format": {"type": "json_schema", "name": "~", "schema": {}}, "verbosity": "low"},
    "truncation": "~",
    "tool_choice": {"type": "function", "name": "~"},
    "metadata": {"deal": "~"},
    "user": "~",
    "include": ["~"],
    "prompt": {"id": "~", "variables": {"city": "~"}},
    "previous_response_id": "~",
    "max_tool_calls": "#",
    "prompt_cache_key": "~",
}
_RESPONSE: Final[Json] = {
    **response(*_OUTPUT),
    "id": "~",
    "model": "~",
    "instructions": [{"role": "developer", "content": [{"type": "input_text", "text": "~"}]}],
    "prompt": {"id": "p"},
    "new_member": "~",
    "content_filters": [{"blocked": "~"}],
    "usage": {
        "input_tokens": "#in",
        "output_tokens": "#out",
        "output_tokens_details": {"reasoning_tokens": "#"},
        "num_sources_used": "#",
    },
}
MESSAGE: Final[Json] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "~answer", "annotations": []}],
}
USAGE: Final[Json] = {"input_tokens": "#in", "output_tokens": "#out", "sources": "#"}
"""Token counts under OpenAI's newer names."""
_BROKEN: Final[Json] = {"output_index": 0, "content_index": 0, "item_id": "m1"}


def _response_stream(whole: Json) -> Reply:
    begun = {"type": "response.created", "response": {**whole, "status": "in_progress", "output": [], "usage": None}}
    return events_reply([begun, {"type": "response.completed", "response": whole}], named=True, done=False)


def _events(events: list[Json]) -> Reply:
    return events_reply(events, named=True, done=False)


row("openai", "responses.create", {"model": "m", "extra_body": {**_INPUT, **_PARAMETERS}}, _RESPONSE)
row(
    "openai",
    "responses.create",
    {"model": "m", "stream": True, "extra_body": _INPUT},
    _RESPONSE,
    replies=_response_stream,
    name="streamed",
)
row(
    "openai",
    "responses.create",
    {"model": "m", "stream": True, "input": "~question"},
    [
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {"type": "message", "id": "m1", "role": "assistant", "content": [], "status": "in_progress"},
        },
        {"type": "response.output_text.delta", **_BROKEN, "delta": "~answer", "logprobs": []},
        {
            "type": "response.output_text.annotation.added",
            **_BROKEN,
            "annotation_index": 0,
            "annotation": {"type": "url_citation", "url": "~", "title": "t", "start_index": 0, "end_index": 1},
        },
    ],
    replies=_events,
    name="stream that broke off",
)
row(
    "openai",
    "responses.compact",
    {"model": "m", "input": "~question", "instructions": "~"},
    {
        "id": "~",
        "object": "response.compaction",
        "created_at": 1,
        "output": [MESSAGE, {"type": "compaction", "id": "~", "encrypted_content": "sealed"}],
        "usage": USAGE,
        "beside": "~",
    },
)
row(
    "openai",
    "responses.retrieve",
    {"response_id": "resp_planted"},
    {
        **response(MESSAGE),
        "id": "~",
        "background": True,
        "instructions": "~",
        "metadata": {"deal": "~"},
        "usage": USAGE,
        "beside": "~",
    },
    operation="fetch_response",
)
row(
    "litellm",
    "responses",
    {"model": "openai/m", "input": "~question", "instructions": "~", "metadata": {"deal": "~"}},
    {**response(MESSAGE), "usage": USAGE},
)
row(
    "mistralai",
    "responses.create",
    {"model": "m", "input": [{"type": "message", "role": "user", "content": "~question"}]},
    {**response(MESSAGE), "usage": {**USAGE, "total_tokens": 3}},
)
row(
    "openai",
    "completions.create",
    {"model": "m", "prompt": "~question", "extra_body": {"suffix": "~", "best_of": "#", "echo": False}},
    {
        "id": "x",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "text": "~answer", "finish_reason": "stop", "logprobs": {"tokens": ["~"]}}],
        "usage": COUNTS,
    },
    operation="text_completion",
)
row(
    "openai",
    "embeddings.create",
    {"model": "m", "input": ["~question"], "encoding_format": "float", "extra_body": {"input_type": "~"}},
    {**EMBEDDED, "usage": {**EMBEDDED["usage"], "prompt_tokens_details": {"new": "#"}}},
    operation="embeddings",
)
_PICTURE_USAGE: Final[Json] = {"input_tokens": "#in", "output_tokens": "#out", "total_tokens": 3}
_PICTURES: Final[Json] = {
    "created": 1,
    "data": [{"b64_json": "%", "revised_prompt": "~answer"}],
    "quality": "~",
    "usage": _PICTURE_USAGE,
}
row(
    "openai",
    "images.generate",
    {"model": "m", "prompt": "~question", "extra_body": {"size": "~", "background": "~", "quality": "~"}},
    _PICTURES,
    operation="generate_content",
)


def _sound(data: bytes) -> Reply:
    return Reply(chunks=(data[:4], data[4:]), content_type="audio/mpeg")


_SPEECH: Final[Json] = {"model": "m", "input": "~question", "voice": "~"}
row(
    "openai",
    "audio.speech.create",
    {**_SPEECH, "extra_body": {"speed": "#"}},
    b"%",
    replies=_sound,
    operation="generate_content",
)
row("litellm", "speech", {**_SPEECH, "model": "openai/m"}, b"%", replies=_sound, operation="generate_content")
_HEARD: Final[Json] = {
    "text": "~answer",
    "segments": [{"id": 0, "text": "~", "start": 0, "end": 1, "speaker": "~"}],
    "language": "~",
}
row(
    "openai",
    "audio.transcriptions.create",
    {"model": "m", "file": ("~question", b"RIFF"), "prompt": "~question", "language": "~"},
    {**_HEARD, "usage": {"type": "tokens", "input_tokens": "#in", "output_tokens": "#out", "total_tokens": 3}},
    operation="generate_content",
)
row(
    "openai",
    "moderations.create",
    {"input": ["~question"], "model": "m", "extra_body": {"new": "~"}},
    {
        "id": "x",
        "model": "~",
        "results": [{"flagged": True, "categories": {"hate": True}, "category_scores": {"hate": "#"}}],
    },
    operation="moderation",
)
