"""The cohere client: both versions of its chat."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import cohere
from cohere.core import RequestOptions

from conformance import openai_wire
from conformance.adapter import Adapter, Wire
from openai_traffic import ANSWER, MODEL, QUESTION, WORDS
from streamed_forms import AsyncOpened, Opened, Sighting

ONCE: Final = RequestOptions(max_retries=0)
CHAT: Final[dict[str, Any]] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": QUESTION}],
    "request_options": ONCE,
}
CHAT_V1: Final[dict[str, Any]] = {"model": MODEL, "message": QUESTION, "request_options": ONCE}
USAGE: Final = {
    "billed_units": {"input_tokens": 120, "output_tokens": 34},
    "tokens": {"input_tokens": 182, "output_tokens": 40},
}


def client(url: str, timeout_s: float) -> cohere.ClientV2:
    """Return a client of the loopback server; it has the methods of the first version too."""
    return cohere.ClientV2(api_key="none", base_url=url, timeout=timeout_s)


def async_client(url: str, timeout_s: float) -> cohere.AsyncClientV2:
    """Return an asynchronous client of the loopback server."""
    return cohere.AsyncClientV2(api_key="none", base_url=url, timeout=timeout_s)


def client_v1(url: str, timeout_s: float) -> cohere.Client:
    """Return a client of the first version."""
    return cohere.Client(api_key="none", base_url=url, timeout=timeout_s)


def async_client_v1(url: str, timeout_s: float) -> cohere.AsyncClient:
    """Return an asynchronous client of the first version."""
    return cohere.AsyncClient(api_key="none", base_url=url, timeout=timeout_s)


def _forms(request: dict[str, Any]) -> dict[str, Any]:
    def plain(client: Any, seen: Sighting) -> None:
        seen.read(client.chat(**request))

    def raw(client: Any, seen: Sighting) -> None:
        answer = seen.saw(client.with_raw_response.chat(**request))
        seen.read(answer.data)

    async def plain_async(client: Any, seen: Sighting) -> None:
        seen.read(await client.chat(**request))

    async def raw_async(client: Any, seen: Sighting) -> None:
        answer = seen.saw(await client.with_raw_response.chat(**request))
        seen.read(answer.data)

    def stream(client: Any, seen: Sighting) -> Opened:
        opened = seen.saw(client.chat_stream(**request))
        return Opened(opened, opened.close)

    def raw_stream(client: Any, seen: Sighting) -> Opened:
        manager = seen.saw(client.with_raw_response.chat_stream(**request))
        answer = seen.saw(manager.__enter__())
        return Opened(seen.saw(answer.data), lambda: manager.__exit__(None, None, None))

    async def stream_async(client: Any, seen: Sighting) -> AsyncOpened:
        opened = seen.saw(client.chat_stream(**request))
        return AsyncOpened(opened, opened.aclose)

    async def raw_stream_async(client: Any, seen: Sighting) -> AsyncOpened:
        manager = seen.saw(client.with_raw_response.chat_stream(**request))
        answer = seen.saw(await manager.__aenter__())
        return AsyncOpened(seen.saw(answer.data), lambda: manager.__aexit__(None, None, None))

    return {
        "calls": {"plain": plain, "raw": raw},
        "async_calls": {"plain": plain_async, "raw": raw_async},
        "forms": {"stream": stream, "raw stream": raw_stream},
        "async_forms": {"stream": stream_async, "raw stream": raw_stream_async},
    }


def _answer(message: dict[str, Any], reason: str) -> bytes:
    whole = {"role": "assistant", **message}
    return json.dumps({"id": "c1", "message": whole, "finish_reason": reason, "usage": USAGE}).encode()


def _event(kind: str, index: int | None = None, **more: Any) -> dict[str, Any]:
    return {"type": kind, **({} if index is None else {"index": index}), **more}


def _part(kind: str, index: int, **message: Any) -> dict[str, Any]:
    return _event(kind, index, delta={"message": message})


_START: Final = _event("message-start", id="c1", delta={"message": {"role": "assistant", "content": []}})


def _end(reason: str) -> dict[str, Any]:
    return _event("message-end", delta={"finish_reason": reason, "usage": USAGE})


def _text_events() -> list[dict[str, Any]]:
    return [
        _START,
        _part("content-start", 0, content={"type": "text", "text": ""}),
        *(_part("content-delta", 0, content={"text": word}) for word in WORDS),
        _event("content-end", 0),
        _end("COMPLETE"),
    ]


def _calls() -> list[dict[str, Any]]:
    return [
        {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for index, (name, arguments) in enumerate(openai_wire.TOOL_CALLS)
    ]


def _call_events() -> list[dict[str, Any]]:
    found = [_START]
    for index, call in enumerate(_calls()):
        written = call["function"]["arguments"]
        begun = {**call, "function": {**call["function"], "arguments": ""}}
        found.append(_part("tool-call-start", index, tool_calls=begun))
        pieces = ({"function": {"arguments": piece}} for piece in (written[:4], written[4:]))
        found += [_part("tool-call-delta", index, tool_calls=piece) for piece in pieces]
        found.append(_event("tool-call-end", index))
    return [*found, _end("TOOL_CALL")]


V2: Final = Adapter(
    title="cohere",
    integration="cohere",
    client=client,
    async_client=async_client,
    **_forms(CHAT),
    answer=Wire(
        whole=_answer({"content": [{"type": "text", "text": ANSWER}]}, "COMPLETE"),
        chunks=openai_wire.events(_text_events(), named=True),
    ),
    tools=Wire(
        whole=_answer({"tool_plan": "I ask.", "tool_calls": _calls()}, "TOOL_CALL"),
        chunks=openai_wire.events(_call_events(), named=True),
    ),
    refusal=json.dumps({"message": "No."}).encode(),
    expected=replace(openai_wire.expected("cohere"), response_model=None),
    needs={"raw": "with_raw_response"},
)


def _answer_v1(**more: Any) -> dict[str, Any]:
    return {"response_id": "r1", "generation_id": "g1", "finish_reason": "COMPLETE", "meta": USAGE, **more}


def _lines(*events: dict[str, Any], answer: dict[str, Any]) -> list[bytes]:
    end = {"is_finished": True, "event_type": "stream-end", "response": answer, "finish_reason": "COMPLETE"}
    start = {"is_finished": False, "event_type": "stream-start", "generation_id": "g1"}
    middle = ({"is_finished": False, **event} for event in events)
    return [json.dumps(event).encode() + b"\n" for event in (start, *middle, end)]


_TEXT_V1: Final = _answer_v1(text=ANSWER)
_CALLS_V1: Final = _answer_v1(
    text="", tool_calls=[{"name": name, "parameters": arguments} for name, arguments in openai_wire.TOOL_CALLS]
)

V1: Final = replace(
    V2,
    title="cohere v1",
    client=client_v1,
    async_client=async_client_v1,
    **_forms(CHAT_V1),
    answer=Wire(
        whole=json.dumps(_TEXT_V1).encode(),
        chunks=_lines(*({"event_type": "text-generation", "text": word} for word in WORDS), answer=_TEXT_V1),
        stream_type="application/stream+json",
    ),
    tools=Wire(
        whole=json.dumps(_CALLS_V1).encode(),
        chunks=_lines({"event_type": "tool-calls-generation", "tool_calls": _CALLS_V1["tool_calls"]}, answer=_CALLS_V1),
        stream_type="application/stream+json",
    ),
)

ADAPTERS: Final = (V2, V1)
