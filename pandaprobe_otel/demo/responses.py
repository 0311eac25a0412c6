"""The wire format of OpenAI's Responses API, as a whole and as a stream of events.

Source: OpenAI's published API reference for `/responses` (response object, streaming events).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pandaprobe_otel.demo.completions import CREATED, Message, Reply, Usage, call_id, text_of, words


def conversation(request: Mapping[str, Any]) -> list[Message] | None:
    """Return the messages of a request in the form of chat completions; None without any."""
    asked: Any = request.get("input")
    if not isinstance(asked, (str, list)):
        return None
    messages: list[Message] = []
    if request.get("instructions"):
        messages.append({"role": "system", "content": request["instructions"]})
    if isinstance(asked, str):
        return [*messages, {"role": "user", "content": asked}]
    for item in cast("list[Mapping[str, Any]]", asked):
        _add(messages, item)
    return messages


def document(*, response_id: str, model: str, reply: Reply, usage: Usage) -> dict[str, Any]:
    """Return the body of a non-streamed answer."""
    return _response(response_id, model, "completed", list(_items(response_id, reply)), usage)


def events(*, response_id: str, model: str, reply: Reply, usage: Usage) -> Iterator[dict[str, Any]]:
    """Yield the events of a streamed answer, one delta per word or call."""
    for number, event in enumerate(_events(response_id, model, reply, usage)):
        yield {**event, "sequence_number": number}


def _events(response_id: str, model: str, reply: Reply, usage: Usage) -> Iterator[dict[str, Any]]:
    opened = _response(response_id, model, "in_progress", [], None)
    yield {"type": "response.created", "response": opened}
    yield {"type": "response.in_progress", "response": opened}
    items = list(_items(response_id, reply))
    for index, item in enumerate(items):
        empty: dict[str, Any] = {"content": []} if item["type"] == "message" else {"arguments": ""}
        begun = {**item, "status": "in_progress", **empty}
        yield {"type": "response.output_item.added", "output_index": index, "item": begun}
        yield from _text_events(index, item) if item["type"] == "message" else _call_events(index, item)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {
        "type": "response.completed",
        "response": _response(response_id, model, "completed", items, usage),
    }


def _text_events(index: int, item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    (part,) = item["content"]
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
    for word in words(part["text"]):
        yield {"type": "response.output_text.delta", **place, "delta": word, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}


def _call_events(index: int, item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    place = {"item_id": item["id"], "output_index": index}
    yield {"type": "response.function_call_arguments.delta", **place, "delta": item["arguments"]}
    yield {
        "type": "response.function_call_arguments.done",
        **place,
        "name": item["name"],
        "arguments": item["arguments"],
    }


def _items(response_id: str, reply: Reply) -> Iterator[dict[str, Any]]:
    name = response_id.removeprefix("resp_")
    if reply.text is not None:
        part: dict[str, Any] = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
        yield {
            "type": "message",
            "id": f"msg_{name}",
            "role": "assistant",
            "status": "completed",
            "content": [part],
        }
    for position, call in enumerate(reply.tool_calls):
        yield {
            "type": "function_call",
            "id": f"fc_{name}_{position}",
            "call_id": call_id(name, position),
            "name": call.name,
            "arguments": call.arguments_text,
            "status": "completed",
        }


def _response(
    response_id: str, model: str, status: str, output: list[dict[str, Any]], usage: Usage | None
) -> dict[str, Any]:
    return {
        "id": response_id,
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "model": model,
        "output": output,
        "usage": None if usage is None else _usage(usage),
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "service_tier": "default",
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _add(messages: list[Message], item: Mapping[str, Any]) -> None:
    kind = item.get("type", "message")
    if kind == "message":
        messages.append({"role": item.get("role", "user"), "content": text_of(item.get("content"))})
    elif kind == "function_call_output":
        messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": text_of(item.get("output"))})
    elif kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        if not messages or "tool_calls" not in messages[-1]:
            said = messages.pop()["content"] if messages and messages[-1]["role"] == "assistant" else None
            messages.append({"role": "assistant", "content": said, "tool_calls": []})
        calls: Sequence[Any] = messages[-1]["tool_calls"]
        messages[-1] = {**messages[-1], "tool_calls": [*calls, call]}
