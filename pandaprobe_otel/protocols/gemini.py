"""Gemini's `generateContent`, of the Gemini API and of Vertex AI. The path names the model and the operation.

Source: Google's API reference for `models.generateContent`, `models.streamGenerateContent` and
`models.batchEmbedContents`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import quote

from pandaprobe_otel.protocols.conversation import (
    Choice,
    Message,
    ModelAnswer,
    RequestedTool,
    Tokens,
    mapping,
    pieces,
    read_messages,
    without,
)
from pandaprobe_otel.protocols.protocol import (
    NAMES_THE_CALLER,
    QuestionProtocol,
    StructuredQuestion,
    UnusableAnswerError,
)

_REASONS: Final = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_call": "STOP",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "error": "OTHER",
}
"""This protocol's name for each of OpenTelemetry's finish reasons, if they differ."""
_ERRORS: Final = {429: "RESOURCE_EXHAUSTED", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}


class Gemini(QuestionProtocol):
    """`/v1beta/models/MODEL:generateContent` and `:batchEmbedContents`."""

    name = family = "gemini"
    host = "https://generativelanguage.googleapis.com"
    pattern = re.compile(r"/(?P<model>(?:models|tunedModels|endpoints)/[^/:]+):(?P<operation>\w+)$")
    turns = "contents"
    ignored = NAMES_THE_CALLER | {"labels"}
    model_in_path = True
    expects = "a JSON object with a list of `contents`"
    chat_operations = frozenset({"generateContent", "streamGenerateContent"})
    member = "candidates"

    def path(self, model: str, *, is_stream: bool) -> str:
        method = "streamGenerateContent?alt=sse" if is_stream else "generateContent"
        return f"/v1beta/models/{quote(model, safe='')}:{method}"

    def read_messages(self, body: Mapping[str, Any]) -> list[Message] | None:
        turns: Any = body.get("contents")
        instructions = body.get("systemInstruction") or body.get("system_instruction")
        if not isinstance(turns, list):
            return None
        return read_messages([_with_bare_results(turn) for turn in cast("Iterable[Any]", turns)], instructions)

    def write_answer(self, answer: ModelAnswer) -> dict[str, Any]:
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

    def write_events(self, whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the chunks. A candidate's last chunk has the finish reason."""
        rest = without(whole, "candidates")
        for candidate in whole.get("candidates") or ():
            ended = without(candidate, "content", "index")
            place = {"index": candidate.get("index", 0)}
            content: Mapping[str, Any] = candidate.get("content") or {}
            streamed = [piece for part in content.get("parts") or () for piece in _pieces(part)]
            for number, part in enumerate(streamed, 1):
                end = ended if number == len(streamed) else {}
                yield {"candidates": [{"content": {**content, "parts": [part]}, **place, **end}], **rest}
            if not streamed:
                yield {"candidates": [{**candidate}], **rest}

    def refusal(self, status: int, message: str) -> dict[str, Any]:
        kind = _ERRORS.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
        return {"error": {"code": status, "message": message, "status": kind}}

    def key_headers(self, key: str) -> dict[str, str]:
        return {"x-goog-api-key": key}

    def write_question(self, question: StructuredQuestion, model: str, mode: int) -> dict[str, Any]:
        """Return a request with `responseJsonSchema`, or for JSON, or in plain words."""
        prompt = question.prompt if mode == 0 else question.in_words
        config: dict[str, Any] = {"responseMimeType": "application/json"} if mode < 2 else {}
        if mode == 0:
            config["responseJsonSchema"] = question.schema
        if question.seed is not None:
            config["seed"] = question.seed
        return {"contents": [{"role": "user", "parts": [{"text": prompt}]}], "generationConfig": config}

    def read_text(self, answer: Any) -> str:
        """Return the text of the first candidate, without its thoughts."""
        try:
            feedback: Mapping[str, Any] = answer.get("promptFeedback") or {}
            candidate: Mapping[str, Any] = answer["candidates"][0] if not feedback.get("blockReason") else {}
            parts: list[Mapping[str, Any]] = candidate.get("content", {}).get("parts") or []
        except (AttributeError, KeyError, IndexError, TypeError):
            raise UnusableAnswerError("the answer has no content") from None
        if feedback.get("blockReason"):
            raise UnusableAnswerError(f"the question was blocked: {feedback['blockReason']}")
        if candidate.get("finishReason") not in (None, "STOP"):
            raise UnusableAnswerError(f"the answer ended with {candidate['finishReason']}")
        return "".join(str(part.get("text", "")) for part in parts if not part.get("thought"))

    def write_embedding(self, texts: Sequence[str], model: str) -> tuple[str, dict[str, Any]]:
        asked = [{"model": f"models/{model}", "content": {"parts": [{"text": text}]}} for text in texts]
        return f"/v1beta/models/{model}:batchEmbedContents", {"requests": asked}

    def read_vectors(self, answer: Any) -> list[Sequence[float]]:
        """Return the vectors in their order, which is that of the texts."""
        return [item["values"] for item in answer["embeddings"]]


GEMINI: Final = Gemini()


def _with_bare_results(turn: Any) -> Any:
    """Return a turn whose function results are plain values: by convention, one is under `result` or `output`."""
    parts: Any = mapping(turn).get("parts")
    if not isinstance(parts, list):
        return turn
    return {**turn, "parts": [_with_bare_result(part) for part in cast("Iterable[Any]", parts)]}


def _with_bare_result(part: Any) -> Any:
    function = mapping(mapping(part).get("functionResponse"))
    response = mapping(function.get("response"))
    if [*response] not in (["result"], ["output"]):
        return part
    return {"functionResponse": {**function, "response": next(iter(response.values()))}}


def _call(call: RequestedTool) -> dict[str, Any]:
    identity = {} if call.id == call.name else {"id": call.id}
    return {"functionCall": {**identity, "name": call.name, "args": call.values}}


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
    yield from map(_call, choice.calls)


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
