"""Ollama's own protocol: chat, generate, embeddings. It streams unless a request has `"stream": false`.

Source: Ollama's API reference for `/api/chat`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pandaprobe_otel.protocols.conversation import ModelAnswer, pieces
from pandaprobe_otel.protocols.encoding import LINES, json_bytes
from pandaprobe_otel.protocols.protocol import NAMES_THE_CALLER, Protocol


class Ollama(Protocol):
    """`/api/chat`, which streams as JSON lines."""

    name = family = "ollama"
    host = "http://localhost:11434"
    chat_path = "/api/chat"
    pattern = re.compile(r"/api/(?P<operation>chat|generate|embed|embeddings)$")
    ignored = NAMES_THE_CALLER | {"keep_alive"}
    chat_operations = frozenset({"chat"})
    member = "done"
    streamed_as = LINES

    def fields(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().fields(body), **({} if body.get("stream") is False else {"stream": True})}

    def write_answer(self, answer: ModelAnswer) -> dict[str, Any]:
        choice = answer.first
        message: dict[str, Any] = {"role": "assistant", "content": choice.text or ""}
        if answer.reasoning:
            message["thinking"] = answer.reasoning
        if choice.calls:
            calls = [{"function": {"name": call.name, "arguments": call.values}} for call in choice.calls]
            message["tool_calls"] = calls
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

    def write_events(self, whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the lines. The last one has the counts."""
        message: Mapping[str, Any] = whole.get("message") or {}
        head = {"model": whole.get("model"), "created_at": whole.get("created_at"), "done": False}
        empty = {"role": "assistant", "content": ""}
        for member in ("thinking", "content"):
            for piece in pieces(message.get(member) or ""):
                yield {**head, "message": {**empty, member: piece}}
        for call in message.get("tool_calls") or ():
            yield {**head, "message": {**empty, "tool_calls": [call]}}
        yield {**whole, "message": empty}

    def write_stream(self, whole: Mapping[str, Any]) -> Iterator[bytes]:
        return (json_bytes(event) + b"\n" for event in self.write_events(whole))

    def refusal(self, status: int, message: str) -> dict[str, Any]:
        return {"error": message}


OLLAMA: Final = Ollama()
