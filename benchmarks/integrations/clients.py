"""The client libraries on a transport in this process: what is asked, and what the provider answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

CHUNKS = 1000
TEXT = "It is sunny and mild. " * 20
QUESTION = "What is the weather in Paris? " * 10
MESSAGES: Any = [
    {"role": "system", "content": "You are a weather bot that answers in one sentence."},
    {"role": "user", "content": QUESTION},
]
CHAT: dict[str, Any] = {"model": "gpt-5-mini", "messages": MESSAGES}
MESSAGE: dict[str, Any] = {**CHAT, "messages": MESSAGES[1:], "max_tokens": 500}

OPENAI_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5-mini-2026-08-07",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 120, "completion_tokens": 34, "total_tokens": 154},
}
OPENAI_CHUNK = {
    **OPENAI_ANSWER,
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"content": " sunny"}, "finish_reason": None}],
    "usage": None,
}
USAGE = {"input_tokens": 120, "output_tokens": 34}
ANTHROPIC_ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "content": [{"type": "text", "text": TEXT}],
    "stop_reason": "end_turn",
    "usage": USAGE,
}
ANTHROPIC_CHUNK = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " sunny"}}
COHERE_ANSWER = {
    "id": "c1",
    "message": {"role": "assistant", "content": [{"type": "text", "text": TEXT}]},
    "finish_reason": "COMPLETE",
    "usage": {"billed_units": USAGE},
}
COHERE_CHUNK = {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": " sunny"}}}}


@dataclass(frozen=True)
class Work:
    """One call that is answered in one piece, and one stream of CHUNKS events."""

    call: Callable[[], Any]
    open_stream: Callable[[], Any]

    def stream(self) -> None:
        """Open the stream and read all of it."""
        for _ in self.open_stream():
            pass


def _event(payload: dict[str, Any]) -> bytes:
    name = f"event: {payload['type']}\n" if "type" in payload else ""
    return f"{name}data: {json.dumps(payload)}\n\n".encode()


def _http(http: Any, answer: dict[str, Any], chunk: dict[str, Any]) -> Any:
    """A client of httpx or httpx2 whose provider is a function."""
    whole, event = json.dumps(answer).encode(), _event(chunk)

    class Pieces(http.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for _ in range(CHUNKS):
                yield event
            yield b"data: [DONE]\n\n"

    def provider(request: Any) -> Any:
        if b'"stream":true' in request.content.replace(b" ", b""):
            headers = {"content-type": "text/event-stream"}
            return http.Response(200, headers=headers, stream=Pieces(), request=request)
        headers = {"content-type": "application/json"}
        return http.Response(200, headers=headers, content=whole, request=request)

    return http.Client(transport=http.MockTransport(provider))


def _stainless(module: str, class_name: str) -> Any:
    base = import_module(f"{module}._base_client")
    http: Any = getattr(base, "httpx2", None) or base.httpx
    answer, chunk = (ANTHROPIC_ANSWER, ANTHROPIC_CHUNK) if module == "anthropic" else (OPENAI_ANSWER, OPENAI_CHUNK)
    kind = getattr(import_module(module), class_name)
    return kind(api_key="none", http_client=_http(http, answer, chunk))


def _like_openai(module: str, class_name: str) -> Work:
    completions = _stainless(module, class_name).chat.completions
    return Work(lambda: completions.create(**CHAT), lambda: completions.create(**CHAT, stream=True))


def _anthropic() -> Work:
    messages = _stainless("anthropic", "Anthropic").messages
    return Work(lambda: messages.create(**MESSAGE), lambda: messages.create(**MESSAGE, stream=True))


def _mistralai() -> Work:
    http = import_module("httpx2" if find_spec("httpx2") else "httpx")
    client = import_module("mistralai.client").Mistral(api_key="none", client=_http(http, OPENAI_ANSWER, OPENAI_CHUNK))
    return Work(lambda: client.chat.complete(**CHAT), lambda: client.chat.stream(**CHAT))


def _cohere() -> Work:
    client = import_module("cohere").ClientV2(
        api_key="none", httpx_client=_http(import_module("httpx"), COHERE_ANSWER, COHERE_CHUNK)
    )
    return Work(lambda: client.chat(**CHAT), lambda: client.chat_stream(**CHAT))


def _litellm() -> Work:
    litellm = import_module("litellm")
    chat = {**CHAT, "model": "openai/gpt-5-mini", "client": _stainless("openai", "OpenAI"), "api_key": "none"}
    return Work(lambda: litellm.completion(**chat), lambda: litellm.completion(**chat, stream=True))


CLIENTS: dict[str, Callable[[], Work]] = {
    "openai": lambda: _like_openai("openai", "OpenAI"),
    "anthropic": _anthropic,
    "groq": lambda: _like_openai("groq", "Groq"),
    "together": lambda: _like_openai("together", "Together"),
    "mistralai": _mistralai,
    "cohere": _cohere,
    "litellm": _litellm,
}
"""By the name in the registry."""
