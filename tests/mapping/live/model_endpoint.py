"""A scripted model behind the APIs of OpenAI (chat, responses, embeddings), Anthropic and Gemini.

A question with BUSY is refused with status 429. A request that offers tools and has no tool result is answered with a
call of the first tool, any other request with one sentence. Every answer has token counts, and all exchanges are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from exchanges import (
    ANSWER,
    CITY,
    REFUSED,
    Exchange,
    Json,
    Usage,
    arguments_text,
    of_chat,
    of_gemini,
    of_messages,
    of_responses,
    tools_of,
)

from provider_server import ProviderServer, Received, Reply, events_reply, json_reply

OPENAI, CLAUDE, GEMINI = "gpt-4o-mini-2026-02-03", "claude-sonnet-4-5-20260203", "gemini-2.5-flash"
OPENAI_USAGE = Usage(prompt=211, completion=43, cache_read=128, reasoning=7)
CLAUDE_USAGE = Usage(prompt=171, completion=43, cache_read=128, cache_write=20)
GEMINI_USAGE = Usage(prompt=211, completion=43, cache_read=128, reasoning=7)
EMBEDDING_USAGE = Usage(prompt=9, completion=0)


class ModelEndpoint:
    """The endpoint of the scripted model; `exchanges` has all answered requests, in order."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._server = ProviderServer()
        self._server.script = self._answer
        self._apis: dict[str, Callable[[Json, str], Reply]] = {
            "/chat/completions": self._chat,
            "/responses": self._responses,
            "/embeddings": self._embeddings,
            "/messages": self._messages,
        }

    def __enter__(self) -> ModelEndpoint:
        self._server.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._server.__exit__(*error)

    @property
    def url(self) -> str:
        """The root URL; OpenAI's client needs it with `/v1`."""
        return self._server.url

    def _answer(self, request: Received) -> Reply:
        path = request.path.partition("?")[0]
        if request.method != "POST":
            return json_reply({}, status=404)
        for end, api in self._apis.items():
            if path.endswith(end):
                return api(request.json, path)
        return (
            self._gemini(request.json, path) if "generateContent" in path.replace("streamG", "g") else Reply(status=404)
        )

    def _decide(self, body: Json, read: tuple[str, str], model: str, usage: Usage) -> Exchange:
        roles, question = read
        streamed = bool(body.get("stream"))
        if "BUSY" in question:
            exchange = Exchange(str(body.get("model")), roles, question, error=REFUSED, streamed=streamed)
        elif tools_of(body) and "t" not in roles:
            name, schema = next(iter(tools_of(body).items()))
            arguments = dict.fromkeys(schema.get("properties") or (), CITY)
            exchange = Exchange(model, roles, question, calls=((name, arguments),), usage=usage, streamed=streamed)
        else:
            exchange = Exchange(model, roles, question, text=ANSWER, usage=usage, streamed=streamed)
        self.exchanges.append(exchange)
        return exchange

    # -- OpenAI ---------------------------------------------------------------------------------------------------

    def _chat(self, body: Json, _: str) -> Reply:
        said = self._decide(body, of_chat(body), OPENAI, OPENAI_USAGE)
        if said.error:
            return json_reply({"error": {"message": said.error, "type": "requests", "code": "rate_limit"}}, status=429)
        finish = "tool_calls" if said.calls else "stop"
        calls = [
            {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments_text(arguments)}}
            for i, (name, arguments) in enumerate(said.calls)
        ]
        message = {"role": "assistant", "content": said.text, **({"tool_calls": calls} if calls else {})}
        head = {"id": f"chatcmpl-{len(self.exchanges)}", "created": 1770000000, "model": OPENAI}
        usage = {
            "prompt_tokens": 211,
            "completion_tokens": 43,
            "total_tokens": 254,
            "prompt_tokens_details": {"cached_tokens": 128},
            "completion_tokens_details": {"reasoning_tokens": 7},
        }
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
            return json_reply({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        deltas: list[Json] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": word} for word in _words(said.text)]
        deltas += [{"tool_calls": [{**call, "index": i}]} for i, call in enumerate(calls)]
        chunks: list[Json] = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if (body.get("stream_options") or {}).get("include_usage"):
            chunks.append({"choices": [], "usage": usage})
        else:
            self.exchanges[-1] = replace(said, usage=None)
        return events_reply([{**head, "object": "chat.completion.chunk", **chunk} for chunk in chunks])

    def _responses(self, body: Json, _: str) -> Reply:
        said = self._decide(body, of_responses(body), OPENAI, OPENAI_USAGE)
        if said.error:
            return json_reply({"error": {"message": said.error, "type": "requests", "code": "rate_limit"}}, status=429)
        number = len(self.exchanges)
        text: Json = {"type": "output_text", "text": said.text, "annotations": []}
        items: list[Json] = [
            {
                "type": "function_call",
                "id": f"fc_{number}",
                "call_id": f"call_{i}",
                "name": name,
                "arguments": arguments_text(arguments),
                "status": "completed",
            }
            for i, (name, arguments) in enumerate(said.calls)
        ] or [{"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": [text]}]
        response = {
            "id": f"resp_{number}",
            "object": "response",
            "created_at": 1770000000,
            "status": "completed",
            "model": OPENAI,
            "output": items,
            "error": None,
            "incomplete_details": None,
            "instructions": body.get("instructions"),
            "metadata": {},
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": body.get("tools") or [],
            "top_p": 1.0,
            "usage": {
                "input_tokens": 211,
                "output_tokens": 43,
                "total_tokens": 254,
                "input_tokens_details": {"cached_tokens": 128},
                "output_tokens_details": {"reasoning_tokens": 7},
            },
        }
        if not body.get("stream"):
            return json_reply(response)
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": {**response, "output": [], "usage": None, "status": "in_progress"}}
        ]
        for index, item in enumerate(items):
            place = {"output_index": index, "item_id": item["id"], "content_index": 0}
            events.append({"type": "response.output_item.added", "output_index": index, "item": item})
            events += [{"type": "response.output_text.delta", "delta": w, **place} for w in _words(said.text)]
            events.append({"type": "response.output_item.done", "output_index": index, "item": item})
        events.append({"type": "response.completed", "response": response})
        numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
        return events_reply(numbered, named=True, done=False)

    def _embeddings(self, body: Json, _: str) -> Reply:
        given = body["input"]
        texts = given if isinstance(given, list) else [given]
        self.exchanges.append(Exchange("text-embedding-3-small", "", str(texts[0]), usage=EMBEDDING_USAGE))
        rows = [{"object": "embedding", "index": i, "embedding": [0.1, 0.2]} for i in range(len(texts))]
        usage = {"prompt_tokens": 9, "total_tokens": 9}
        return json_reply({"object": "list", "data": rows, "model": "text-embedding-3-small", "usage": usage})

    # -- Anthropic ------------------------------------------------------------------------------------------------

    def _messages(self, body: Json, _: str) -> Reply:
        said = self._decide(body, of_messages(body), CLAUDE, CLAUDE_USAGE)
        if said.error:
            return json_reply(
                {"type": "error", "error": {"type": "rate_limit_error", "message": said.error}}, status=429
            )
        blocks: list[dict[str, Any]] = [{"type": "text", "text": said.text}] if said.text else []
        blocks += [
            {"type": "tool_use", "id": f"toolu_{i}", "name": name, "input": arguments}
            for i, (name, arguments) in enumerate(said.calls)
        ]
        counts = {"input_tokens": 23, "cache_read_input_tokens": 128, "cache_creation_input_tokens": 20}
        message = {
            "id": f"msg_{len(self.exchanges)}",
            "type": "message",
            "role": "assistant",
            "model": CLAUDE,
            "content": blocks,
            "stop_reason": "tool_use" if said.calls else "end_turn",
            "stop_sequence": None,
            "usage": {**counts, "output_tokens": 43},
        }
        if not body.get("stream"):
            return json_reply(message)
        start = {**message, "content": [], "stop_reason": None, "usage": {**counts, "output_tokens": 1}}
        events: list[Json] = [{"type": "message_start", "message": start}]
        for index, block in enumerate(blocks):
            if block["type"] == "text":
                empty: Json = {"type": "text", "text": ""}
                deltas: list[Json] = [{"type": "text_delta", "text": word} for word in _words(said.text)]
            else:
                empty = {**block, "input": {}}
                deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
            events.append({"type": "content_block_start", "index": index, "content_block": empty})
            events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
            events.append({"type": "content_block_stop", "index": index})
        stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
        events.append({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 43}})
        events.append({"type": "message_stop"})
        return events_reply(events, named=True, done=False)

    # -- Gemini ---------------------------------------------------------------------------------------------------

    def _gemini(self, body: Json, path: str) -> Reply:
        said = self._decide(body, of_gemini(body), GEMINI, GEMINI_USAGE)
        if said.error:
            return json_reply(
                {"error": {"code": 429, "message": said.error, "status": "RESOURCE_EXHAUSTED"}}, status=429
            )
        parts: list[Json] = [{"functionCall": {"name": name, "args": arguments}} for name, arguments in said.calls]
        parts = parts or [{"text": said.text}]
        answer = {
            "candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": parts}}],
            "usageMetadata": {
                "promptTokenCount": 211,
                "candidatesTokenCount": 36,
                "thoughtsTokenCount": 7,
                "cachedContentTokenCount": 128,
                "totalTokenCount": 254,
            },
            "modelVersion": GEMINI,
            "responseId": f"gem-{len(self.exchanges)}",
        }
        return events_reply([answer], done=False) if "stream" in path else json_reply(answer)


def _words(text: str | None) -> Sequence[str]:
    return [f"{word} " for word in text.split(" ")[:-1]] + text.split(" ")[-1:] if text else []
