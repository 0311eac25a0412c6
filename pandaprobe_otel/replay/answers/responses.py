"""OpenAI's Responses API: an answer without streaming, and as a stream of events.

Source: OpenAI's API reference for `/responses` (response object, streaming events).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pandaprobe_otel.replay.answers.model_answer import ModelAnswer, Tokens
from pandaprobe_otel.replay.answers.text_chunks import pieces

_INCOMPLETE: Final = {
    "length": "max_output_tokens",
    "max_output_tokens": "max_output_tokens",
    "content_filter": "content_filter",
}
"""Reason why an answer is incomplete, by finish reason."""


def document(answer: ModelAnswer) -> dict[str, Any]:
    """Return the answer as it is without streaming."""
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


def events(whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the events of a stream that add up to the whole answer."""
    for number, event in enumerate(_events(whole)):
        yield {**event, "sequence_number": number}


def _events(whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    opened: dict[str, Any] = {**whole, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    yield {"type": "response.created", "response": opened}
    yield {"type": "response.in_progress", "response": opened}
    for index, item in enumerate(whole.get("output") or ()):
        kind = item.get("type")
        begun, streamed = _BEGUN.get(kind, {}), _STREAMED.get(kind)
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
    for piece in pieces(arguments):
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


_STREAMED: Final = {"message": _message_events, "function_call": _call_events, "reasoning": _reasoning_events}
_BEGUN: Final[Mapping[str, Mapping[str, Any]]] = {
    "message": {"content": []},
    "function_call": {"arguments": ""},
    "reasoning": {"summary": []},
}


def _items(answer: ModelAnswer, status: str) -> Iterator[dict[str, Any]]:
    name = answer.response_id.removeprefix("resp_")
    choice = answer.first
    if answer.reasoning:
        yield {
            "type": "reasoning",
            "id": f"rs_{name}",
            "summary": [{"type": "summary_text", "text": answer.reasoning}],
            "status": "completed",
        }
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
