"""The wire format of Gemini's `generateContent`, as a whole and as a stream of chunks.

Source: Google's published API reference for `models.generateContent` and `models.streamGenerateContent`, on the Gemini
API and on Vertex AI. The path of the request contains the model and the kind of answer, whole or streamed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from pandaprobe_otel.demo.completions import Message, Reply, ToolCall, Usage, call_id, text_of, words

_PATH: Final = re.compile(r"/models/(?P<model>[^/:]+):(?P<method>generateContent|streamGenerateContent)$")


def request_in_path(path: str) -> dict[str, Any] | None:
    """Return `model` and `stream` from the path of a request; None for the path of another protocol."""
    found = _PATH.search(path)
    return None if found is None else {"model": found["model"], "stream": found["method"] == "streamGenerateContent"}


def conversation(request: Mapping[str, Any]) -> list[Message] | None:
    """Return the messages of a request in the form of chat completions; None without any."""
    asked: Any = request.get("contents")
    if not isinstance(asked, list):
        return None
    messages: list[Message] = []
    instruction: Any = request.get("systemInstruction")
    if instruction:
        messages.append({"role": "system", "content": text_of(instruction.get("parts"))})
    for content in cast("list[Mapping[str, Any]]", asked):
        messages.extend(_messages(content))
    return messages


def document(*, response_id: str, model: str, reply: Reply, usage: Usage) -> dict[str, Any]:
    """Return the body of a non-streamed answer."""
    return _answer(response_id, model, list(_parts(response_id, reply)), usage, is_last=True)


def events(*, response_id: str, model: str, reply: Reply, usage: Usage) -> Iterator[dict[str, Any]]:
    """Yield the chunks of a streamed answer: one per word, one with the calls. Each has the usage so far."""
    pieces = [[{"text": word}] for word in words(reply.text or "")]
    calls = list(_parts(response_id, Reply(tool_calls=reply.tool_calls)))
    pieces += [calls] if calls or not pieces else []
    for position, parts in enumerate(pieces, start=1):
        is_last = position == len(pieces)
        share = usage.completion_tokens if is_last else min(position, usage.completion_tokens)
        so_far = Usage(prompt_tokens=usage.prompt_tokens, completion_tokens=share)
        yield _answer(response_id, model, parts, so_far, is_last=is_last)


def _answer(
    response_id: str, model: str, parts: Sequence[Mapping[str, Any]], usage: Usage, *, is_last: bool
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    return {
        "candidates": [{**candidate, "finishReason": "STOP"} if is_last else candidate],
        "usageMetadata": {
            "promptTokenCount": usage.prompt_tokens,
            "candidatesTokenCount": usage.completion_tokens,
            "totalTokenCount": usage.prompt_tokens + usage.completion_tokens,
        },
        "modelVersion": model,
        "responseId": response_id,
    }


def _parts(response_id: str, reply: Reply) -> Iterator[dict[str, Any]]:
    if reply.text is not None:
        yield {"text": reply.text}
    for position, call in enumerate(reply.tool_calls):
        known_as = call_id(response_id, position)
        yield {"functionCall": {"id": known_as, "name": call.name, "args": dict(call.arguments)}}


def _messages(content: Mapping[str, Any]) -> Iterator[Message]:
    parts = cast("Sequence[Mapping[str, Any]]", content.get("parts") or ())
    for part in parts:
        if "functionResponse" in part:
            result: Mapping[str, Any] = part["functionResponse"]
            yield {"role": "tool", "tool_call_id": result.get("id"), "content": _result(result.get("response"))}
    text = text_of([part for part in parts if "text" in part])
    calls = [_call(part["functionCall"]) for part in parts if "functionCall" in part]
    role = "assistant" if content.get("role") == "model" else "user"
    if calls:
        yield {"role": role, "content": text or None, "tool_calls": calls}
    elif text:
        yield {"role": role, "content": text}


def _result(response: Any) -> str:
    """Return a function's result as text: by convention it is under `result` or `output`."""
    if isinstance(response, dict) and len(response) == 1:  # pyright: ignore[reportUnknownArgumentType]
        ((key, value),) = cast("dict[str, Any]", response).items()
        if key in ("result", "output"):
            response = value
    return response if isinstance(response, str) else json.dumps(response, ensure_ascii=False)


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    made = ToolCall(name=str(call.get("name")), arguments=call.get("args") or {})
    return {
        "id": call.get("id"),
        "type": "function",
        "function": {"name": made.name, "arguments": made.arguments_text},
    }
