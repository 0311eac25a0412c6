"""OpenAI's chat completions, for OpenAI itself and for services that speak their protocol."""

from __future__ import annotations

from typing import Any, Final

from like_openai import CLIENTS
from provider_server import Reply, events_reply

from .rows import refused, row

Json = dict[str, Any]

PARAMETERS: Final[Json] = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "~", "schema": {}}},
    "logprobs": True,
    "top_logprobs": "#",
    "tool_choice": {"type": "function", "function": {"name": "~"}},
    "parallel_tool_calls": False,
    "metadata": {"deal": "~"},
    "user": "~",
    "store": True,
    "prediction": {"type": "content", "content": "~"},
    "web_search_options": {"user_location": {"approximate": {"city": "~"}}},
    "thinking": {"type": "enabled", "budget_tokens": "#"},
    "something_new": {"inside": ["~"]},
    "api_key": "!",
}
"""Parameters that have no attribute of their own."""
MESSAGES: Final[list[Json]] = [
    {"role": "system", "content": "~"},
    {
        "role": "user",
        "name": "~",
        "new_member": {"type": "~"},
        "content": [
            {"type": "text", "text": "~question", "new_member": {"type": "~"}},
            {"type": "image_url", "image_url": {"url": "data:%", "detail": "~"}},
            {"type": "input_audio", "input_audio": {"data": "%", "format": "wav"}},
            {"type": "file", "file": {"filename": "~", "file_data": "data:%"}},
            {"type": "new_part", "new": "~"},
        ],
    },
    {
        "role": "assistant",
        "content": "~",
        "reasoning_content": "~",
        "tool_calls": [
            {
                "id": "~",
                "type": "function",
                "function": {"name": "~", "arguments": '{"city": "~"}'},
                "extra_content": {"new": "~"},
            }
        ],
        "annotations": [{"url": "~"}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "~", "status": "~"},
]
"""Messages of every role, with parts of every kind."""
SCHEMA: Final[Json] = {"type": "object", "properties": {"city": {"type": "string", "description": "~"}}}
TOOL: Final[Json] = {"type": "function", "function": {"name": "~", "description": "~", "parameters": SCHEMA}}
TOOLS: Final[list[Json]] = [
    {"type": "function", "function": {**TOOL["function"], "strict": True, "new": "~"}},
    {"type": "custom", "custom": {"name": "c", "format": {"definition": "~"}}},
]
CHAT: Final[Json] = {"model": "m", "messages": MESSAGES, "tools": TOOLS}
BARE_CHAT: Final[Json] = {"model": "m", "messages": [{"role": "user", "content": "~question"}]}
USAGE: Final[Json] = {
    "prompt_tokens": "#in",
    "completion_tokens": "#out",
    "prompt_tokens_details": {"image_tokens": "#", "new": "#"},
    "cost": 0.0123,
    "cost_details": {"upstream": "#"},
    "num_search_queries": "#",
}
COUNTS: Final[Json] = {"prompt_tokens": "#in", "completion_tokens": "#out", "total_tokens": 3}
EMBEDDED: Final[Json] = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
    "model": "~",
    "usage": {"prompt_tokens": "#in", "total_tokens": 3},
}
_RARE: Final[Json] = {"refusal": "~", "executed_tools": [{"output": "~"}]}
_RARE_OF_CHOICE: Final[Json] = {
    "native_finish_reason": "~",
    "content_filter_results": {"hate": {"severity": "~"}},
}


def _answer(rare: Json, rare_of_choice: Json) -> Json:
    message = {
        "role": "assistant",
        "content": "~answer",
        "reasoning": "~",
        "annotations": [{"type": "url_citation", "url_citation": {"url": "~", "title": "t"}}],
        "images": [{"type": "image_url", "image_url": {"url": "data:%"}}],
        "tool_calls": [{"id": "c2", "type": "function", "function": {"name": "f", "arguments": '["~"]'}}],
        **rare,
    }
    token = {"token": "~", "logprob": -0.5, "bytes": [1], "top_logprobs": []}
    choice = {"index": 0, "message": message, "finish_reason": "stop", **rare_of_choice}
    return {
        "id": "~",
        "object": "chat.completion",
        "created": 1,
        "model": "~",
        "provider": "~",
        "citations": ["~"],
        "choices": [{**choice, "logprobs": {"content": [token], "refusal": None}}],
        "usage": USAGE,
    }


ANSWER: Final = _answer(_RARE, _RARE_OF_CHOICE)
"""An answer with every member that a service may send."""
COMMON_ANSWER: Final = _answer({}, {})
"""The members that litellm keeps in its chunks."""


def chat_stream(whole: Json) -> Reply:
    """Return the answer in chunks."""
    (choice,), usage = whole["choices"], whole["usage"]
    kept = {name: value for name, value in whole.items() if name not in ("choices", "usage")}
    message = {**choice["message"], "tool_calls": [{"index": 0, **choice["message"]["tool_calls"][0]}]}
    text = message.pop("content")
    rest = {name: value for name, value in choice.items() if name not in ("message", "logprobs")}
    first = {"index": 0, "delta": {"role": "assistant", "content": text[:5]}, "logprobs": choice["logprobs"]}
    choices: list[Json] = [first, {"index": 0, "delta": {"content": text[5:]}, "logprobs": None}]
    choices += [{"index": 0, "delta": {name: value}} for name, value in message.items()]
    pieces = [{"choices": [one]} for one in (*choices, {**rest, "delta": {}})]
    return events_reply(
        [{**kept, "object": "chat.completion.chunk", **one} for one in (*pieces, {"choices": [], "usage": usage})]
    )


def _groq_stream(answer: Json) -> Reply:
    """Return an answer of Groq, which always has token counts, in a member of its own."""
    kept: Json = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    first = {"index": 0, "delta": answer["delta"], "finish_reason": None}
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    return events_reply(
        [{**kept, "choices": [first], "x_groq": {"id": "r"}}, {**kept, "choices": [last], "x_groq": answer["x_groq"]}]
    )


_ERROR: Final[Json] = {
    "error": {
        "message": "~",
        "type": "~",
        "param": "~",
        "code": "~",
        "innererror": {"code": "~", "content_filter_result": {"hate": {"filtered": True, "severity": "~"}}},
    }
}

row("openai", "chat.completions.create", {**CHAT, "model": "~", "extra_body": PARAMETERS}, ANSWER)
row(
    "openai",
    "chat.completions.create",
    {"model": "m", "messages": MESSAGES, "stream": True},
    ANSWER,
    replies=chat_stream,
    name="streamed",
)
for _client in ("openai", "groq"):
    row(
        _client,
        "chat.completions.create",
        {**BARE_CHAT, "stream": True},
        {
            "delta": {"role": "assistant", "content": "~answer", "executed_tools": [{"output": "~"}]},
            "x_groq": {"id": "~", "usage": {**COUNTS, "total_time": "#"}},
        },
        replies=_groq_stream,
        name="of Groq, streamed",
    )
row("openai", "chat.completions.create", {**BARE_CHAT, "stream": True}, _ERROR, replies=refused, name="refused stream")
for _client in ("openai", *CLIENTS):
    row(_client, "chat.completions.create", BARE_CHAT, _ERROR, replies=refused, name="refused")
row(
    "cerebras",
    "chat.completions.create",
    {**CHAT, "extra_body": {**PARAMETERS, "clear_thinking": True}},
    {**ANSWER, "service_tier": "~", "time_info": {"queue_time": "#", "completion_time": "#"}},
)
row(
    "groq",
    "chat.completions.create",
    {**CHAT, "extra_body": {**PARAMETERS, "service_tier": "~", "search_settings": {"d": "~"}}},
    {**ANSWER, "service_tier": "~", "x_groq": {"id": "~"}},
)
row(
    "together",
    "chat.completions.create",
    {**CHAT, "extra_body": {**PARAMETERS, "repetition_penalty": "#", "safety_model": "~"}},
    {**ANSWER, "prompt": [{"text": "~"}]},
)
row(
    "together",
    "completions.create",
    {"model": "m", "prompt": "~question", "extra_body": {"safety_model": "~", "echo": False}},
    {**ANSWER, "object": "text_completion", "choices": [{"index": 0, "text": "~answer", "finish_reason": "stop"}]},
    operation="text_completion",
)
row("together", "embeddings.create", {"model": "m", "input": "~question"}, EMBEDDED, operation="embeddings")
row(
    "together",
    "rerank.create",
    {
        "model": "m",
        "query": "~",
        "documents": [{"text": "~", "url": "~"}],
        "rank_fields": ["~"],
        "return_documents": True,
    },
    {
        "id": "r",
        "object": "rerank",
        "model": "m",
        "results": [{"index": 0, "relevance_score": 0.5, "document": {"text": "~", "title": "~"}}],
        "usage": {"prompt_tokens": "#", "completion_tokens": 0, "total_tokens": 1},
    },
    operation="retrieval",
)
row(
    "together",
    "images.generate",
    {"model": "m", "prompt": "~question", "extra_body": {"steps": "#", "negative_prompt": "~", "image_url": "~"}},
    {"id": "i", "model": "m", "object": "list", "data": [{"index": 0, "type": "b64_json", "b64_json": "%"}]},
    operation="generate_content",
)

_LITELLM_CHAT: Final[Json] = {
    "model": "openai/~",
    "messages": [{"role": "user", "content": "~question", "new_member": {"type": "~"}}],
    "tools": [TOOL],
    "response_format": {"type": "json_schema", "json_schema": {"name": "~", "schema": {}}},
    "metadata": {"deal": "~"},
    "user": "~",
    "top_logprobs": "#",
    "logprobs": True,
    "extra_body": {"new": "~"},
    "api_key": "!",
    "extra_headers": {"x-key": "!"},
}
row("litellm", "completion", _LITELLM_CHAT, ANSWER)
row("litellm", "completion", {**_LITELLM_CHAT, "stream": True}, COMMON_ANSWER, replies=chat_stream, name="streamed")
row(
    "litellm",
    "text_completion",
    {"model": "text-completion-openai/m", "prompt": "~question", "suffix": "~", "user": "~"},
    {
        "id": "~",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "text": "~answer", "finish_reason": "stop"}],
        "usage": COUNTS,
    },
    operation="text_completion",
)
row(
    "litellm",
    "embedding",
    {"model": "openai/text-embedding-3-small", "input": ["~question"], "user": "~"},
    EMBEDDED,
    operation="embeddings",
)
row(
    "litellm",
    "image_generation",
    {"model": "openai/gpt-image-2", "prompt": "~question"},
    {"created": 1, "data": [{"url": "~answer"}]},
    operation="generate_content",
)
row(
    "litellm",
    "transcription",
    {"model": "openai/whisper-1", "file": ("a.mp3", b"ID3")},
    {"text": "~answer"},
    operation="generate_content",
)
