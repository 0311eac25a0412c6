"""OpenAI's chat completions, which Azure, Mistral, Groq, Together and many others offer.

Source: OpenAI's API reference for `/chat/completions` (object, chunk object, `stream_options`) and `/embeddings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from pandaprobe_otel.protocols.conversation import Choice, ModelAnswer, Tokens, mapping, pieces, without
from pandaprobe_otel.protocols.protocol import (
    QuestionProtocol,
    StructuredQuestion,
    UnusableAnswerError,
    user_message,
)

_REASONS: Final = {"tool_call": "tool_calls"}
"""This protocol's name for each of OpenTelemetry's finish reasons, if they differ."""
_STREAMED: Final = frozenset({"content", "reasoning_content", "reasoning", "tool_calls"})


class Chat(QuestionProtocol):
    """`/chat/completions` and `/embeddings`.

    `cuts_calls`: stream a tool call as its name and then its arguments, as OpenAI does. Mistral's client accepts only
    whole calls.
    """

    name = "chat"
    family = "openai"
    host = "https://api.openai.com"
    base_path = "/v1"
    chat_path = "/chat/completions"
    pattern = re.compile(
        r"(?:/deployments/(?P<model>[^/]+))?/(?P<operation>chat/completions|completions|embeddings)$"  # Azure's model
    )
    operations: ClassVar[Mapping[str, str]] = {"chat/completions": "chat", "completions": "completion"}
    chat_operations = frozenset({"chat"})
    member = "choices"
    response_prefix = "chatcmpl-"
    end_of_stream = b"data: [DONE]\n\n"

    def __init__(self, *, cuts_calls: bool = True) -> None:
        self._cuts_calls = cuts_calls

    def write_answer(self, answer: ModelAnswer) -> dict[str, Any]:
        return {
            "id": answer.response_id,
            "object": "chat.completion",
            "created": answer.created,
            "model": answer.model,
            "choices": [
                {
                    "index": index,
                    "message": _message(choice, answer.reasoning if index == 0 else None),
                    "logprobs": None,
                    "finish_reason": _REASONS.get(choice.finish_reason or "", choice.finish_reason),
                }
                for index, choice in enumerate(answer.choices)
            ],
            **({} if answer.tokens is None else {"usage": _usage(answer.tokens)}),
        }

    def write_events(self, whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the chunks. The last one has the usage."""
        usage = whole.get("usage")
        head = {**without(whole, "choices", "usage"), "object": "chat.completion.chunk"}
        for choice in whole.get("choices") or ():
            for delta in self._deltas(choice.get("message") or {}):
                yield {**head, "choices": [{"index": choice.get("index", 0), "delta": delta, "finish_reason": None}]}
            last = {key: value for key, value in choice.items() if key != "message" and value is not None}
            yield {**head, "choices": [{"index": 0, **last, "delta": {}}]}
        if usage is not None:
            yield {**head, "choices": [], "usage": usage}

    def _deltas(self, message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        yield without(message, *_STREAMED)
        for member in ("reasoning_content", "reasoning", "content"):
            value = message.get(member)
            for piece in pieces(value) if isinstance(value, str) else [value] if value else ():
                yield {member: piece}
        for index, call in enumerate(message.get("tool_calls") or ()):
            function: Any = call.get("function")
            if not self._cuts_calls or not mapping(function):
                yield {"tool_calls": [{**call, "index": index}]}
                continue
            yield {"tool_calls": [{**call, "index": index, "function": {**function, "arguments": ""}}]}
            yield {"tool_calls": [{"index": index, "function": {"arguments": function.get("arguments")}}]}

    def refusal(self, status: int, message: str) -> dict[str, Any]:
        return openai_refusal(status, message)

    def key_headers(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}

    def write_question(self, question: StructuredQuestion, model: str, mode: int) -> dict[str, Any]:
        """Return a request with `json_schema`, or with `json_object`, or in plain words."""
        prompt = question.prompt if mode == 0 else question.in_words
        body: dict[str, Any] = {"model": model, "messages": user_message(prompt)}
        if mode == 0:
            schema = {"name": question.name, "schema": question.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif mode == 1:
            body["response_format"] = {"type": "json_object"}
        return body | ({} if question.seed is None else {"seed": question.seed})

    def read_text(self, answer: Any) -> str:
        """Return the content of the first choice."""
        try:
            content = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise UnusableAnswerError("the answer has no message") from None
        return content if isinstance(content, str) else ""

    def write_embedding(self, texts: Sequence[str], model: str) -> tuple[str, dict[str, Any]]:
        return "/embeddings", {"model": model, "input": list(texts)}

    def read_vectors(self, answer: Any) -> list[Sequence[float]]:
        """Return the vectors by their index."""
        return [item["embedding"] for item in sorted(answer["data"], key=lambda item: item["index"])]


def openai_refusal(status: int, message: str) -> dict[str, Any]:
    """Return the body of an HTTP error of OpenAI."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _message(choice: Choice, reasoning: str | None) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text}
    if reasoning:
        message["reasoning_content"] = reasoning
    if choice.calls:
        message["tool_calls"] = [call.as_function for call in choice.calls]
    return message


def _usage(tokens: Tokens) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "total_tokens": tokens.prompt + tokens.completion,
    }
    if tokens.cache_read:
        usage["prompt_tokens_details"] = {"cached_tokens": tokens.cache_read}
    if tokens.reasoning:
        usage["completion_tokens_details"] = {"reasoning_tokens": tokens.reasoning}
    return usage


CHAT: Final = Chat()
MISTRAL: Final = Chat(cuts_calls=False)
