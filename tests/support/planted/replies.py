"""Replies of the providers to planted calls: documents and streams that add up to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from anthropic_traffic import events
from aws_events import stream_reply
from bedrock_traffic import converse_events
from provider_server import Reply, events_reply, json_reply

Json = dict[str, Any]
Replies = Callable[[Any], Reply | Sequence[Reply]]
"""Returns the provider's replies for an answer with its marks."""

refused: Final = partial(json_reply, status=400)
"""Replies of a service that refuses: the members of the error besides its message help to find the reason."""


def chat_stream(whole: Json) -> Reply:
    """Return the answer in chunks."""
    (choice,), usage = whole["choices"], whole["usage"]
    kept = {name: value for name, value in whole.items() if name not in ("choices", "usage")}
    message = {**choice["message"], "tool_calls": [{"index": 0, **choice["message"]["tool_calls"][0]}]}
    text = message.pop("content")
    rest = {name: value for name, value in choice.items() if name not in ("message", "logprobs")}
    first = {"index": 0, "delta": {"role": "assistant", "content": text[:5]}, "logprobs": choice["logprobs"]}
    choices: list[Json] = [first, {"index": 0, "delta": {"content": text[5:]}, "logprobs": None}]
    choices += [{"index": 0, "delta": {name: value}} for name, value in message.items()]
    pieces = [{"choices": [one]} for one in (*choices, {**rest, "delta": {}})]
    return events_reply(
        [{**kept, "object": "chat.completion.chunk", **one} for one in (*pieces, {"choices": [], "usage": usage})]
    )


def groq_stream(answer: Json) -> Reply:
    """Return an answer of Groq, which always has token counts, in a member of its own."""
    kept: Json = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    first = {"index": 0, "delta": answer["delta"], "finish_reason": None}
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    return events_reply(
        [{**kept, "choices": [first], "x_groq": {"id": "r"}}, {**kept, "choices": [last], "x_groq": answer["x_groq"]}]
    )


def response_stream(whole: Json) -> Reply:
    """Return the events of a response."""
    begun = {"type": "response.created", "response": {**whole, "status": "in_progress", "output": [], "usage": None}}
    return events_reply([begun, {"type": "response.completed", "response": whole}], named=True, done=False)


def message_stream(whole: Json) -> Reply:
    """Return the events of one of Anthropic's messages."""
    usage = whole["usage"]
    begun = {name: value for name, value in whole.items() if name not in ("container", "context_management")}
    begun |= {"stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
    last = {
        "delta": {name: whole[name] for name in ("stop_reason", "stop_sequence", "container")},
        "usage": {name: usage[name] for name in ("output_tokens", "server_tool_use")},
        "context_management": whole["context_management"],
    }
    blocks = [({**block, **_begun(block)}, _deltas(block)) for block in whole["content"]]
    return events_reply(events(*blocks, started=begun, ended=last), named=True, done=False)


def _begun(block: Json) -> Json:
    empty: dict[str, Json] = {"text": {"text": "", "citations": None}, "thinking": {"thinking": "", "signature": ""}}
    return empty.get(block["type"], {"input": {}} if "input" in block else {})


def _deltas(block: Json) -> list[Json]:
    if block["type"] == "text":
        texts = [{"type": "text_delta", "text": part} for part in (block["text"][:4], block["text"][4:])]
        return texts + [{"type": "citations_delta", "citation": citation} for citation in block["citations"]]
    if block["type"] == "thinking":
        thought = {"type": "thinking_delta", "thinking": block["thinking"]}
        return [thought, {"type": "signature_delta", "signature": "sealed"}]
    return [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}] if "input" in block else []


def converse_stream(whole: Json) -> Reply:
    """Return the frames of an answer of Bedrock Converse."""
    stop = {name: whole[name] for name in ("stopReason", "additionalModelResponseFields")}
    metadata = {name: whole[name] for name in ("usage", "metrics", "trace")}
    blocks = map(_converse_deltas, whole["output"]["message"]["content"])
    return stream_reply(converse_events(*blocks, messageStop=stop, metadata=metadata))


def _converse_deltas(block: Json) -> list[Json]:
    if "reasoningContent" in block:
        return [{"reasoningContent": {"text": block["reasoningContent"]["reasoningText"]["text"]}}]
    if "toolUse" in block:
        use = {name: value for name, value in block["toolUse"].items() if name != "input"}
        return [{"start": {"toolUse": use}}, {"toolUse": {"input": json.dumps(block["toolUse"]["input"])}}]
    if "citationsContent" in block:
        cited = block["citationsContent"]
        return [{"text": cited["content"][0]["text"]}, *({"citation": one} for one in cited["citations"])]
    return [block]


def cohere_stream(whole: Json) -> Reply:
    """Return the events of an answer of Cohere."""
    message = {"role": "assistant", "content": []}
    thought, text = whole["message"]["content"]
    (logprobs,), (citation,) = whole["logprobs"], whole["message"]["citations"]
    end = {"finish_reason": whole["finish_reason"], "usage": whole["usage"]}
    events: list[Json] = [
        {"type": "message-start", "id": whole["id"], "delta": {"message": message}},
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": thought["thinking"]}}},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        {
            "type": "content-delta",
            "index": 0,
            "delta": {"message": {"content": {"text": text["text"]}}},
            "logprobs": logprobs,
        },
        {"type": "citation-start", "index": 0, "delta": {"message": {"citations": citation}}},
        {"type": "citation-end", "index": 0},
        {"type": "content-end", "index": 0},
        {"type": "message-end", "delta": end},
    ]
    return events_reply(events, named=True, done=False)


def gemini_stream(whole: Json) -> Reply:
    """Stream text in chunks; the other members come with the last chunk."""
    (candidate,) = whole["candidates"]
    pieces: list[Json] = [{"content": {"parts": [part], "role": "model"}} for part in candidate["content"]["parts"]]
    pieces.append({"content": {"parts": [{"text": "x"}]}, "logprobsResult": candidate["logprobsResult"]})
    pieces.append({"groundingMetadata": candidate["groundingMetadata"]})
    early = ("content", "logprobsResult", "groundingMetadata")
    last = {name: value for name, value in candidate.items() if name not in early}
    return events_reply([*({"candidates": [one]} for one in pieces), {**whole, "candidates": [last]}], done=False)


def ollama_stream(whole: Json) -> Reply:
    """Return the lines of an answer of Ollama, each with one member of the message."""
    kept = {"model": whole["model"], "created_at": whole["created_at"], "done": False}
    lines = [
        {**kept, "message": {"role": "assistant", name: value}}
        for name, value in whole["message"].items()
        if name != "role"
    ]
    lines[0]["logprobs"] = whole["logprobs"]
    last = {name: value for name, value in whole.items() if name != "logprobs"}
    lines.append({**last, "message": {"role": "assistant", "content": ""}})
    return Reply(chunks=[json.dumps(one).encode() + b"\n" for one in lines], content_type="application/x-ndjson")


def sound(data: bytes) -> Reply:
    """Return audio in two chunks."""
    return Reply(chunks=(data[:4], data[4:]), content_type="audio/mpeg")


def transcription_stream(heard: Json) -> Reply:
    """Return a transcription, whose text comes in two pieces."""
    texts = [{"type": "transcription.text.delta", "text": part} for part in (heard["text"][:4], heard["text"][4:])]
    return events_reply([*texts, {"type": "transcription.done", **heard}], named=True, done=False)


REPLIES: Final[dict[str, Replies]] = {
    "document": json_reply,
    "refused": refused,
    "events": partial(events_reply, named=True, done=False),
    "chat stream": chat_stream,
    "groq stream": groq_stream,
    "response stream": response_stream,
    "anthropic stream": message_stream,
    "converse stream": converse_stream,
    "cohere stream": cohere_stream,
    "gemini stream": gemini_stream,
    "ollama stream": ollama_stream,
    "transcription stream": transcription_stream,
    "sound": sound,
}
"""The replies by their names in the table of calls."""
