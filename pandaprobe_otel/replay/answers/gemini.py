"""Gemini's `generateContent`: an answer without streaming, and as a stream of chunks.

Source: Google's API reference for `models.generateContent` and `models.streamGenerateContent`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pandaprobe_otel.replay.answers.model_answer import Choice, ModelAnswer, Tokens
from pandaprobe_otel.replay.answers.text_chunks import pieces

_REASONS: Final = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_call": "STOP",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "error": "OTHER",
}
"""This protocol's name for each of OpenTelemetry's finish reasons, if they differ."""


def document(answer: ModelAnswer) -> dict[str, Any]:
    """Return the answer as it is without streaming."""
    return {
        "candidates": [
            {
                "content": {"parts": list(_parts(choice, answer.reasoning if at == 0 else None)), "role": "model"},
                "index": at,
                **_reason(choice),
            }
            for at, choice in enumerate(answer.choices)
        ],
        **({} if answer.tokens is None else {"usageMetadata": _usage(answer.tokens)}),
        "modelVersion": answer.model,
        "responseId": answer.response_id,
    }


def events(whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the chunks of a stream that add up to the whole answer. A candidate's last chunk has the finish reason."""
    rest = {key: value for key, value in whole.items() if key != "candidates"}
    for candidate in whole.get("candidates") or ():
        ended = {key: value for key, value in candidate.items() if key not in ("content", "index")}
        place = {"index": candidate.get("index", 0)}
        content: Mapping[str, Any] = candidate.get("content") or {}
        streamed = [piece for part in content.get("parts") or () for piece in _pieces(part)]
        for number, part in enumerate(streamed, 1):
            end = ended if number == len(streamed) else {}
            yield {"candidates": [{"content": {**content, "parts": [part]}, **place, **end}], **rest}
        if not streamed:
            yield {"candidates": [{**candidate}], **rest}


def refusal(status: int, message: str) -> dict[str, Any]:
    """Return the body of an HTTP error."""
    kinds = {429: "RESOURCE_EXHAUSTED", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
    kind = kinds.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    return {"error": {"code": status, "message": message, "status": kind}}


def _pieces(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    text = part.get("text")
    if not isinstance(text, str) or "thoughtSignature" in part:
        yield part
        return
    for piece in pieces(text):
        yield {**part, "text": piece}


def _reason(choice: Choice) -> dict[str, str]:
    reason = choice.finish_reason
    return {} if reason is None else {"finishReason": _REASONS.get(reason, reason.upper())}


def _parts(choice: Choice, reasoning: str | None) -> Iterator[dict[str, Any]]:
    if reasoning:
        yield {"text": reasoning, "thought": True}
    if choice.text is not None:
        yield {"text": choice.text}
    for call in choice.calls:
        identity = {} if call.id == call.name else {"id": call.id}
        yield {"functionCall": {**identity, "name": call.name, "args": call.values}}


def _usage(tokens: Tokens) -> dict[str, int]:
    """Return the token counts. In this protocol, output tokens do not include those of thoughts."""
    usage = {
        "promptTokenCount": tokens.prompt,
        "candidatesTokenCount": tokens.completion - tokens.reasoning,
        "totalTokenCount": tokens.prompt + tokens.completion,
    }
    if tokens.reasoning:
        usage["thoughtsTokenCount"] = tokens.reasoning
    if tokens.cache_read:
        usage["cachedContentTokenCount"] = tokens.cache_read
    return usage
