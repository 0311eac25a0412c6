"""Ollama's own chat API: an answer without streaming, and as a stream of JSON lines.

Source: Ollama's API reference for `/api/chat`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pandaprobe_otel.replay.answers.model_answer import ModelAnswer
from pandaprobe_otel.replay.answers.text_chunks import pieces


def document(answer: ModelAnswer) -> dict[str, Any]:
    """Return the answer as it is without streaming."""
    choice = answer.first
    message: dict[str, Any] = {"role": "assistant", "content": choice.text or ""}
    if answer.reasoning:
        message["thinking"] = answer.reasoning
    if choice.calls:
        message["tool_calls"] = [{"function": {"name": call.name, "arguments": call.values}} for call in choice.calls]
    reason = choice.finish_reason or "stop"
    counts = answer.tokens
    return {
        "model": answer.model,
        "created_at": datetime.fromtimestamp(answer.created, UTC).isoformat(),
        "message": message,
        "done": True,
        "done_reason": "stop" if reason in ("tool_call", "tool_calls") else reason,
        **({} if counts is None else {"prompt_eval_count": counts.prompt, "eval_count": counts.completion}),
    }


def events(whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the lines of a stream that add up to the whole answer. The last one has the counts."""
    message: Mapping[str, Any] = whole.get("message") or {}
    head = {"model": whole.get("model"), "created_at": whole.get("created_at"), "done": False}
    for member in ("thinking", "content"):
        for piece in pieces(message.get(member) or ""):
            said = {"role": "assistant", "content": "", member: piece}
            yield {**head, "message": said}
    for call in message.get("tool_calls") or ():
        yield {**head, "message": {"role": "assistant", "content": "", "tool_calls": [call]}}
    yield {**whole, "message": {"role": "assistant", "content": ""}}


def refusal(status: int, message: str) -> dict[str, Any]:
    """Return the body of an HTTP error."""
    return {"error": message}
