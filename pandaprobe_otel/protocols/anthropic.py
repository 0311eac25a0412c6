"""Anthropic's Messages API, directly or through Vertex AI. Bedrock wraps its bodies differently.

Source: Anthropic's API reference for `/v1/messages` (message object, streaming events, structured outputs).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pandaprobe_otel.protocols.conversation import (
    Message,
    ModelAnswer,
    RequestedTool,
    Tokens,
    json_pieces,
    pieces,
    read_messages,
)
from pandaprobe_otel.protocols.protocol import (
    QuestionProtocol,
    StructuredQuestion,
    UnusableAnswerError,
    user_message,
)

INVENTED_SIGNATURE: Final = "cmVidWlsdA=="
"""Placeholder for the signature of a thought, which traces do not have. It works in playback, but services refuse it.
"""
_MAX_TOKENS: Final = 4096
"""Bound that the service requires. All its models may write this much."""
_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_call": "tool_use",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
"""This protocol's name for each of OpenTelemetry's finish reasons, if they differ."""
_EMPTY: Final[Mapping[str, Mapping[str, Any]]] = {
    "text": {"text": ""},
    "tool_use": {"input": {}},
    "server_tool_use": {"input": {}},
    "mcp_tool_use": {"input": {}},
    "thinking": {"thinking": "", "signature": ""},
}
_ERRORS: Final = {
    429: "rate_limit_error", 401: "authentication_error", 404: "not_found_error", 529: "overloaded_error",
}  # fmt: skip


class Anthropic(QuestionProtocol):
    """`/v1/messages`. It has no embeddings."""

    name = "messages"
    family = "anthropic"
    host = "https://api.anthropic.com"
    chat_path = "/v1/messages"
    pattern = re.compile(
        r"(?:/v1/|/publishers/anthropic/models/(?P<model>[^/:]+):)"
        r"(?P<operation>messages|messages/count_tokens|complete|rawPredict|streamRawPredict)$"
    )
    chat_operations = frozenset({"messages", "rawPredict", "streamRawPredict"})
    member = "content"
    response_prefix = "msg_"
    call_prefix = "toolu_"
    names_events = True

    def read_messages(self, body: Mapping[str, Any]) -> list[Message] | None:
        turns: Any = body.get("messages")
        return read_messages(turns, body.get("system")) if isinstance(turns, list) else None

    def write_answer(self, answer: ModelAnswer) -> dict[str, Any]:
        reason = answer.first.finish_reason
        return {
            "id": answer.response_id,
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": list(_blocks(answer)),
            "stop_reason": _REASONS.get(reason or "", reason),
            "stop_sequence": None,
            "usage": _usage(answer.tokens or Tokens()),
        }

    def write_events(self, whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        usage: Mapping[str, Any] = whole.get("usage") or {}
        unfinished: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
        yield {"type": "message_start", "message": {**whole, **unfinished, "usage": {**usage, "output_tokens": 1}}}
        for index, block in enumerate(whole.get("content") or ()):
            empty = _EMPTY.get(block.get("type"), {})
            yield {"type": "content_block_start", "index": index, "content_block": {**block, **empty}}
            for delta in _deltas(block):
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}
        ended = {"stop_reason": whole.get("stop_reason"), "stop_sequence": whole.get("stop_sequence")}
        yield {"type": "message_delta", "delta": ended, "usage": usage}  # LangChain reads the counts of the input here
        yield {"type": "message_stop"}

    def refusal(self, status: int, message: str) -> dict[str, Any]:
        kind = _ERRORS.get(status, "invalid_request_error" if status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}}

    def key_headers(self, key: str) -> dict[str, str]:
        """Return the headers with the key and the version."""
        return {"x-api-key": key, "anthropic-version": "2023-06-01"}

    def write_question(self, question: StructuredQuestion, model: str, mode: int) -> dict[str, Any]:
        """Return a request with `output_config` (newer models), or with a forced tool, or in plain words."""
        prompt = question.in_words if mode == 2 else question.prompt
        body: dict[str, Any] = {"model": model, "max_tokens": _MAX_TOKENS, "messages": user_message(prompt)}
        if mode == 0:
            body["output_config"] = {"format": {"type": "json_schema", "schema": question.schema}}
        elif mode == 1:
            tool = {"name": "answer", "description": "Give the answer.", "input_schema": question.schema}
            body |= {"tools": [tool], "tool_choice": {"type": "tool", "name": "answer"}}
        return body

    def read_text(self, answer: Any) -> str:
        """Return the arguments of the tool call, or else the text."""
        try:
            blocks: list[Mapping[str, Any]] = answer["content"]
            called = [json.dumps(block["input"]) for block in blocks if block["type"] == "tool_use"]
            text = "".join(block["text"] for block in blocks if block["type"] == "text")
        except (KeyError, TypeError):
            raise UnusableAnswerError("the answer has no content") from None
        if answer.get("stop_reason") in ("max_tokens", "refusal"):
            raise UnusableAnswerError(f"the answer ended with {answer['stop_reason']}")
        return called[0] if called else text

    def write_embedding(self, texts: Sequence[str], model: str) -> tuple[str, dict[str, Any]]:
        """Raise UnusableAnswerError, since Anthropic has no embedding models."""
        raise UnusableAnswerError("Anthropic has no embedding models")

    def read_vectors(self, answer: Any) -> list[Sequence[float]]:
        """Raise KeyError, since there are no vectors."""
        raise KeyError("embeddings")


ANTHROPIC: Final = Anthropic()


def _call(call: RequestedTool) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": call.values}


def _blocks(answer: ModelAnswer) -> Iterator[dict[str, Any]]:
    if answer.reasoning:
        yield {"type": "thinking", "thinking": answer.reasoning, "signature": INVENTED_SIGNATURE}
    choice = answer.first
    if choice.text is not None:
        yield {"type": "text", "text": choice.text}
    yield from map(_call, choice.calls)


def _deltas(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    kind = block.get("type")
    if kind == "text":
        for piece in pieces(block.get("text") or ""):
            yield {"type": "text_delta", "text": piece}
        for citation in block.get("citations") or ():
            yield {"type": "citations_delta", "citation": citation}
    elif kind == "thinking":
        for piece in pieces(block.get("thinking") or ""):
            yield {"type": "thinking_delta", "thinking": piece}
        yield {"type": "signature_delta", "signature": block.get("signature") or INVENTED_SIGNATURE}
    elif kind in _EMPTY:
        for piece in json_pieces(block.get("input")):
            yield {"type": "input_json_delta", "partial_json": piece}


def _usage(tokens: Tokens) -> dict[str, Any]:
    """Return the token counts. In this protocol, input tokens do not include cached ones."""
    usage: dict[str, Any] = {
        "input_tokens": max(tokens.prompt - tokens.cache_read - tokens.cache_write, 0),
        "output_tokens": tokens.completion,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read,
    }
    if tokens.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": tokens.reasoning}
    return usage
