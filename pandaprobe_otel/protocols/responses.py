"""OpenAI's Responses API.

Source: OpenAI's API reference for `/responses` (response object, streaming events).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pandaprobe_otel.protocols.chat import openai_refusal
from pandaprobe_otel.protocols.conversation import (
    Message,
    ModelAnswer,
    Tokens,
    json_pieces,
    pieces,
    read_messages,
)
from pandaprobe_otel.protocols.protocol import Protocol, user_message

_INCOMPLETE: Final = {
    "length": "max_output_tokens",
    "max_output_tokens": "max_output_tokens",
    "content_filter": "content_filter",
}
"""Reason why an answer is incomplete, by finish reason."""


class Responses(Protocol):
    """`/responses`."""

    name = "responses"
    family = "openai"
    host = "https://api.openai.com"
    base_path = "/v1"
    chat_path = "/responses"
    pattern = re.compile(r"(?:/deployments/(?P<model>[^/]+))?/(?P<operation>responses)$")
    turns = "input"
    expects = "a JSON object with `model` and `input`, a text or a list of items"
    chat_operations = frozenset({"responses"})
    member = "output"
    response_prefix = "resp_"
    names_events = True

    def fields(self, body: Mapping[str, Any]) -> dict[str, Any]:
        fields = super().fields(body)
        return {**fields, "input": user_message(fields["input"])} if isinstance(fields.get("input"), str) else fields

    def read_messages(self, body: Mapping[str, Any]) -> list[Message] | None:
        turns: Any = body.get("input")
        if not isinstance(turns, (str, list)):
            return None
        messages: list[Message] = []
        for message in read_messages(turns, body.get("instructions")):
            last = messages[-1] if messages else {}
            if message.get("tool_calls") and last.get("role") == message["role"]:
                # A text and each of its calls are one item each, and together one message.
                calls = [*(last.get("tool_calls") or ()), *message["tool_calls"]]
                messages[-1] = {**message, "content": last.get("content"), "tool_calls": calls}
            else:
                messages.append(message)
        return messages

    def write_answer(self, answer: ModelAnswer) -> dict[str, Any]:
        incomplete = _INCOMPLETE.get(answer.first.finish_reason or "")
        return {
            "id": answer.response_id,
            "object": "response",
            "created_at": answer.created,
            "status": "incomplete" if incomplete else "completed",
            "model": answer.model,
            "output": list(_items(answer, "incomplete" if incomplete else "completed")),
            "usage": None if answer.tokens is None else _usage(answer.tokens),
            "error": None,
            "incomplete_details": {"reason": incomplete} if incomplete else None,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }

    def write_events(self, whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for number, event in enumerate(_events(whole)):
            yield {**event, "sequence_number": number}

    def refusal(self, status: int, message: str) -> dict[str, Any]:
        return openai_refusal(status, message)


RESPONSES: Final = Responses()


def _events(whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    opened: dict[str, Any] = {**whole, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    yield {"type": "response.created", "response": opened}
    yield {"type": "response.in_progress", "response": opened}
    for index, item in enumerate(whole.get("output") or ()):
        begun, streamed = _STREAMED.get(item.get("type"), ({}, None))
        yield {
            "type": "response.output_item.added",
            "output_index": index,
            "item": {**item, "status": "in_progress", **begun} if streamed else item,
        }
        if streamed is not None:
            place = {"item_id": item.get("id"), "output_index": index}
            yield from streamed(place, item)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    status = whole.get("status") or "completed"
    yield {"type": f"response.{status}", "response": dict(whole)}


def _message_events(place: Mapping[str, Any], item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for number, part in enumerate(item.get("content") or ()):
        here = {**place, "content_index": number}
        member = "refusal" if part.get("type") == "refusal" else "text"
        name = f"response.{'refusal' if member == 'refusal' else 'output_text'}"
        yield {"type": "response.content_part.added", **here, "part": {**part, member: ""}}
        text = part.get(member) or ""
        more: dict[str, Any] = {} if member == "refusal" else {"logprobs": []}
        for piece in pieces(text):
            yield {"type": f"{name}.delta", **here, "delta": piece, **more}
        yield {"type": f"{name}.done", **here, member: text, **more}
        yield {"type": "response.content_part.done", **here, "part": part}


def _call_events(place: Mapping[str, Any], item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    arguments = item.get("arguments") or ""
    for piece in json_pieces(arguments):
        yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
    name = {"name": item.get("name"), "arguments": arguments}
    yield {"type": "response.function_call_arguments.done", **place, **name}


def _reasoning_events(place: Mapping[str, Any], item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for number, part in enumerate(item.get("summary") or ()):
        here = {**place, "summary_index": number}
        text = part.get("text") or ""
        yield {"type": "response.reasoning_summary_part.added", **here, "part": {**part, "text": ""}}
        for piece in pieces(text):
            yield {"type": "response.reasoning_summary_text.delta", **here, "delta": piece}
        yield {"type": "response.reasoning_summary_text.done", **here, "text": text}
        yield {"type": "response.reasoning_summary_part.done", **here, "part": part}


_Streamed = Callable[[Mapping[str, Any], Mapping[str, Any]], Iterator[dict[str, Any]]]
_STREAMED: Final[Mapping[str, tuple[Mapping[str, Any], _Streamed | None]]] = {
    "message": ({"content": []}, _message_events),
    "function_call": ({"arguments": ""}, _call_events),
    "reasoning": ({"summary": []}, _reasoning_events),
}
"""For each type of item, the members that are empty at its beginning, and the events that fill them."""


def _items(answer: ModelAnswer, status: str) -> Iterator[dict[str, Any]]:
    name = answer.response_id.removeprefix("resp_")
    choice = answer.first
    if answer.reasoning:
        summary = [{"type": "summary_text", "text": answer.reasoning}]
        yield {"type": "reasoning", "id": f"rs_{name}", "summary": summary, "status": "completed"}
    if choice.text is not None:
        part: dict[str, Any] = {"type": "output_text", "text": choice.text, "annotations": [], "logprobs": []}
        yield {"type": "message", "id": f"msg_{name}", "role": "assistant", "status": status, "content": [part]}
    for position, call in enumerate(choice.calls):
        yield {
            "type": "function_call",
            "id": f"fc_{name}_{position}",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
            "status": "completed",
        }


def _usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "input_tokens": tokens.prompt,
        "input_tokens_details": {"cached_tokens": tokens.cache_read},
        "output_tokens": tokens.completion,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.prompt + tokens.completion,
    }
