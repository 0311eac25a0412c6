"""The wire format of Anthropic's Messages API, as a whole and as a stream of events.

Source: Anthropic's published API reference for `/v1/messages` (message object, streaming events).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pandaprobe_otel.demo.completions import Message, Reply, ToolCall, Usage, call_id, text_of, words


def conversation(request: Mapping[str, Any]) -> list[Message] | None:
    """Return the messages of a request in the form of chat completions; None without any."""
    asked: Any = request.get("messages")
    if not isinstance(asked, list):
        return None
    messages: list[Message] = []
    if request.get("system"):
        messages.append({"role": "system", "content": text_of(request["system"])})
    for message in cast("list[Mapping[str, Any]]", asked):
        messages.extend(_messages(message))
    return messages


def document(*, response_id: str, model: str, reply: Reply, usage: Usage) -> dict[str, Any]:
    """Return the body of a non-streamed answer."""
    return {
        **_head(response_id, model),
        "content": list(_blocks(response_id, reply)),
        "stop_reason": _stop_reason(reply),
        "usage": _usage(usage, usage.completion_tokens),
    }


def events(*, response_id: str, model: str, reply: Reply, usage: Usage) -> Iterator[dict[str, Any]]:
    """Yield the events of a streamed answer, one delta per word or call."""
    begun: dict[str, Any] = {**_head(response_id, model), "content": [], "stop_reason": None, "usage": _usage(usage, 1)}
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(_blocks(response_id, reply)):
        empty: dict[str, Any] = {"text": ""} if block["type"] == "text" else {"input": {}}
        yield {"type": "content_block_start", "index": index, "content_block": {**block, **empty}}
        for delta in _deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": _stop_reason(reply), "stop_sequence": None},
        "usage": _usage(usage, usage.completion_tokens),
    }
    yield {"type": "message_stop"}


def _head(response_id: str, model: str) -> dict[str, Any]:
    return {"id": response_id, "type": "message", "role": "assistant", "model": model, "stop_sequence": None}


def _blocks(response_id: str, reply: Reply) -> Iterator[dict[str, Any]]:
    if reply.text is not None:
        yield {"type": "text", "text": reply.text}
    name = response_id.removeprefix("msg_")
    for position, call in enumerate(reply.tool_calls):
        yield {
            "type": "tool_use",
            "id": call_id(name, position, prefix="toolu"),
            "name": call.name,
            "input": dict(call.arguments),
        }


def _deltas(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if block["type"] == "text":
        for word in words(block["text"]):
            yield {"type": "text_delta", "text": word}
    else:
        call = ToolCall(name=block["name"], arguments=block["input"])
        yield {"type": "input_json_delta", "partial_json": call.arguments_text}


def _stop_reason(reply: Reply) -> str:
    return "tool_use" if reply.tool_calls else "end_turn"


def _usage(usage: Usage, output_tokens: int) -> dict[str, int]:
    return {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": output_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }


def _messages(message: Mapping[str, Any]) -> Iterator[Message]:
    role, content = message.get("role"), message.get("content")
    if not isinstance(content, list):
        yield {"role": role, "content": content}
        return
    blocks = cast("Sequence[Mapping[str, Any]]", content)
    for block in blocks:
        if block.get("type") == "tool_result":
            yield {
                "role": "tool",
                "tool_call_id": block.get("tool_use_id"),
                "content": text_of(block.get("content")),
            }
    text = text_of([block for block in blocks if block.get("type") == "text"])
    calls = [_call(block) for block in blocks if block.get("type") == "tool_use"]
    if calls:
        yield {"role": role, "content": text or None, "tool_calls": calls}
    elif text:
        yield {"role": role, "content": text}


def _call(block: Mapping[str, Any]) -> dict[str, Any]:
    call = ToolCall(name=str(block.get("name")), arguments=block.get("input") or {})
    return {
        "id": block.get("id"),
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments_text},
    }
