"""Request formats of providers: OpenAI's, which most endpoints accept, and Anthropic's and Gemini's own.

The compatible endpoints of Anthropic and Gemini refuse or silently ignore a requested structure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from pandaprobe_otel.local.evaluation.judge import Question
from pandaprobe_otel.local.evaluation.judge_answers import with_schema

_MAX_TOKENS: Final = 4096
"""Bound that Anthropic requires. No answer to a question is this long, and all its models may write this much."""

Request = tuple[str, dict[str, Any]]
"""A path below the endpoint's address, and a body."""


class UnusableError(Exception):
    """The answer is not usable."""


class WireForm(Protocol):
    """Format of an endpoint's questions and answers.

    `modes` are ways to request a structure, the strictest first, since endpoints and models support different ones. The
    answer is always checked.
    """

    modes: int

    def headers(self, key: str) -> dict[str, str]:
        """Return the headers with the key."""
        ...

    def asking(self, question: Question, model: str, mode: int) -> Request:
        """Return the request for a question."""
        ...

    def said(self, answer: Any) -> str:
        """Return the text of an answer. Raises UnusableError with the reason if there is none."""
        ...

    def embedding(self, texts: Sequence[str], model: str) -> Request:
        """Return the request for vectors."""
        ...

    def vectors(self, answer: Any) -> list[Sequence[float]]:
        """Return the vectors in the order of the texts. Raises KeyError or TypeError for an invalid answer."""
        ...


class OpenAIForm:
    """`/chat/completions` and `/embeddings`."""

    modes = 3

    def headers(self, key: str) -> dict[str, str]:
        """Return the headers with the key."""
        return {"Authorization": f"Bearer {key}"}

    def asking(self, question: Question, model: str, mode: int) -> Request:
        """Return a request with `json_schema`, or with `json_object`, or in plain words."""
        prompt = question.prompt if mode == 0 else with_schema(question.prompt, question.schema)
        body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": prompt}]}
        if mode == 0:
            schema = {"name": question.metric, "schema": question.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif mode == 1:
            body["response_format"] = {"type": "json_object"}
        return "/chat/completions", body | ({} if question.seed is None else {"seed": question.seed})

    def said(self, answer: Any) -> str:
        """Return the content of the first choice."""
        try:
            content = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise UnusableError("the answer has no message") from None
        return content if isinstance(content, str) else ""

    def embedding(self, texts: Sequence[str], model: str) -> Request:
        """Return the request for vectors."""
        return "/embeddings", {"model": model, "input": list(texts)}

    def vectors(self, answer: Any) -> list[Sequence[float]]:
        """Return the vectors by their index."""
        return [item["embedding"] for item in sorted(answer["data"], key=lambda item: item["index"])]


class AnthropicForm:
    """`/v1/messages`. It has no embeddings."""

    modes = 3

    def headers(self, key: str) -> dict[str, str]:
        """Return the headers with the key and the version."""
        return {"x-api-key": key, "anthropic-version": "2023-06-01"}

    def asking(self, question: Question, model: str, mode: int) -> Request:
        """Return a request with `output_config` (newer models), or with a forced tool, or in plain words."""
        prompt = with_schema(question.prompt, question.schema) if mode == 2 else question.prompt
        messages = [{"role": "user", "content": prompt}]
        body: dict[str, Any] = {"model": model, "max_tokens": _MAX_TOKENS, "messages": messages}
        if mode == 0:
            body["output_config"] = {"format": {"type": "json_schema", "schema": question.schema}}
        elif mode == 1:
            tool = {"name": "answer", "description": "Give the answer.", "input_schema": question.schema}
            body |= {"tools": [tool], "tool_choice": {"type": "tool", "name": "answer"}}
        return "/v1/messages", body

    def said(self, answer: Any) -> str:
        """Return the arguments of the tool call, or else the text."""
        try:
            blocks: list[Mapping[str, Any]] = answer["content"]
            called = [json.dumps(block["input"]) for block in blocks if block["type"] == "tool_use"]
            text = "".join(block["text"] for block in blocks if block["type"] == "text")
        except (KeyError, TypeError):
            raise UnusableError("the answer has no content") from None
        if answer.get("stop_reason") in ("max_tokens", "refusal"):
            raise UnusableError(f"the answer ended with {answer['stop_reason']}")
        return called[0] if called else text

    def embedding(self, texts: Sequence[str], model: str) -> Request:
        """Raise UnusableError, since Anthropic has no embedding models."""
        raise UnusableError("Anthropic has no embedding models")

    def vectors(self, answer: Any) -> list[Sequence[float]]:
        """Raise KeyError, since there are no vectors."""
        raise KeyError("embeddings")


class GeminiForm:
    """`/v1beta/models/MODEL:generateContent` and `:batchEmbedContents`."""

    modes = 3

    def headers(self, key: str) -> dict[str, str]:
        """Return the headers with the key."""
        return {"x-goog-api-key": key}

    def asking(self, question: Question, model: str, mode: int) -> Request:
        """Return a request with `responseJsonSchema`, or for JSON, or in plain words."""
        prompt = question.prompt if mode == 0 else with_schema(question.prompt, question.schema)
        config: dict[str, Any] = {"responseMimeType": "application/json"} if mode < 2 else {}
        if mode == 0:
            config["responseJsonSchema"] = question.schema
        if question.seed is not None:
            config["seed"] = question.seed
        contents = [{"role": "user", "parts": [{"text": prompt}]}]
        return f"/v1beta/models/{model}:generateContent", {"contents": contents, "generationConfig": config}

    def said(self, answer: Any) -> str:
        """Return the text of the first candidate, without its thoughts."""
        try:
            feedback: Mapping[str, Any] = answer.get("promptFeedback") or {}
            candidate: Mapping[str, Any] = answer["candidates"][0] if not feedback.get("blockReason") else {}
            parts: list[Mapping[str, Any]] = candidate.get("content", {}).get("parts") or []
        except (AttributeError, KeyError, IndexError, TypeError):
            raise UnusableError("the answer has no content") from None
        if feedback.get("blockReason"):
            raise UnusableError(f"the question was blocked: {feedback['blockReason']}")
        if candidate.get("finishReason") not in (None, "STOP"):
            raise UnusableError(f"the answer ended with {candidate['finishReason']}")
        return "".join(str(part.get("text", "")) for part in parts if not part.get("thought"))

    def embedding(self, texts: Sequence[str], model: str) -> Request:
        """Return the request for vectors."""
        asked = [{"model": f"models/{model}", "content": {"parts": [{"text": text}]}} for text in texts]
        return f"/v1beta/models/{model}:batchEmbedContents", {"requests": asked}

    def vectors(self, answer: Any) -> list[Sequence[float]]:
        """Return the vectors in their order, which is that of the texts."""
        return [item["values"] for item in answer["embeddings"]]
