"""OpenAI's chat completions, which many services offer: an answer without streaming, and as a stream of chunks.

Source: OpenAI's API reference for `/chat/completions` (object, chunk object, `stream_options`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pandaprobe_otel.replay.answers.model_answer import Choice, ModelAnswer, Tokens
from pandaprobe_otel.replay.answers.text_chunks import pieces

_REASONS: Final = {"tool_call": "tool_calls"}
"""This protocol's name for each of OpenTelemetry's finish reasons, if they differ."""


def document(answer: ModelAnswer) -> dict[str, Any]:
    """Return the answer as it is without streaming."""
    return {
        "id": answer.response_id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [
            {
                "index": index,
                "message": _message(choice, answer.reasoning if index == 0 else None),
                "logprobs": None,
                "finish_reason": _REASONS.get(choice.finish_reason or "", choice.finish_reason),
            }
            for index, choice in enumerate(answer.choices)
        ],
        **({} if answer.tokens is None else {"usage": _usage(answer.tokens)}),
    }


def events(whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the chunks of a stream that add up to the whole answer. The last one has the usage."""
    usage = whole.get("usage")
    head = {
        **{key: value for key, value in whole.items() if key not in ("choices", "usage")},
        "object": "chat.completion.chunk",
    }
    for choice in whole.get("choices") or ():
        for delta in _deltas(choice.get("message") or {}):
            yield {**head, "choices": [{"index": choice.get("index", 0), "delta": delta, "finish_reason": None}]}
        last = {key: value for key, value in choice.items() if key != "message" and value is not None}
        yield {**head, "choices": [{"index": 0, **last, "delta": {}}]}
    if usage is not None:
        yield {**head, "choices": [], "usage": usage}


def refusal(status: int, message: str) -> dict[str, Any]:
    """Return the body of an HTTP error."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _message(choice: Choice, reasoning: str | None) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text}
    if reasoning:
        message["reasoning_content"] = reasoning
    if choice.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in choice.calls
        ]
    return message


_STREAMED: Final = frozenset({"content", "reasoning_content", "reasoning", "tool_calls"})


def _deltas(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield {key: value for key, value in message.items() if key not in _STREAMED}
    for member in ("reasoning_content", "reasoning", "content"):
        value = message.get(member)
        for piece in pieces(value) if isinstance(value, str) else [value] if value else ():
            yield {member: piece}
    for index, call in enumerate(message.get("tool_calls") or ()):
        yield {"tool_calls": [{**call, "index": index}]}  # In one piece: mistral's client does not accept fragments.


def _usage(tokens: Tokens) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "total_tokens": tokens.prompt + tokens.completion,
    }
    if tokens.cache_read:
        usage["prompt_tokens_details"] = {"cached_tokens": tokens.cache_read}
    if tokens.reasoning:
        usage["completion_tokens_details"] = {"reasoning_tokens": tokens.reasoning}
    return usage
