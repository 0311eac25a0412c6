"""The ollama client: chat, and generate."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import ollama

from conformance.adapter import Adapter, Expected, Wire, calls, forms
from ollama_traffic import (
    ANSWER,
    CHAT,
    MODEL,
    PROMPT,
    WORDS,
    chat_lines,
    chatted,
    generate_lines,
    generated,
    lines_reply,
)

_CALLS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (("get_weather", {"place": "Paris"}), ("get_time", {}))


@contextmanager
def client(url: str, timeout_s: float) -> Iterator[Any]:
    """Yield a client of the loopback server."""
    made: Any = ollama.Client(host=url, timeout=timeout_s)
    yield made
    made._client.close()


@asynccontextmanager
async def async_client(url: str, timeout_s: float) -> AsyncIterator[Any]:
    """Yield an asynchronous client of the loopback server."""
    made: Any = ollama.AsyncClient(host=url, timeout=timeout_s)
    yield made
    await made._client.aclose()


def _wire(whole: Any, lines: list[Any]) -> Wire:
    reply = lines_reply(lines)
    return Wire(whole=json.dumps(whole).encode(), chunks=reply.chunks, stream_type=reply.content_type)


def _adapter(title: str, operation: str, method: str, request: dict[str, Any], answer: Wire, **more: Any) -> Adapter:
    return Adapter(
        title=title,
        integration="ollama",
        client=client,
        async_client=async_client,
        calls={"plain": calls(method, request)},
        forms={"stream": forms(method, {**request, "stream": True}, leave_async="aclose")},
        answer=answer,
        refusal=b'{"error": "No."}',
        expected=Expected(
            span_name=f"{operation} {MODEL}",
            provider="ollama",
            response_model=MODEL,
            text=ANSWER,
            words=WORDS[:1],
            input_tokens=120,
            output_tokens=34,
            finish_reason="stop",
            tool_calls=_CALLS,
        ),
        **more,
    )


_USES: Final = [{"function": {"name": name, "arguments": arguments}} for name, arguments in _CALLS]
_GENERATED: Final = _wire(generated(), generate_lines())

ADAPTERS: Final = (
    _adapter(
        "ollama",
        "chat",
        "chat",
        CHAT,
        _wire(chatted(), chat_lines()),
        tools=_wire(chatted("", tool_calls=_USES), chat_lines({"tool_calls": _USES[:1]}, {"tool_calls": _USES[1:]})),
    ),
    _adapter(
        "ollama generate",
        "text_completion",
        "generate",
        PROMPT,
        _GENERATED,
        tools=_GENERATED,
        without=dict.fromkeys(("plain/tool calls", "stream/tool calls"), "a prompt has no tools"),
    ),
)
