"""The google-genai client: contents and chats, and interactions."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, Final

import google.auth.credentials
from google import genai

from conformance.adapter import Adapter, Expected, Wire, calls, forms
from gemini_traffic import (
    ANSWER,
    ANSWERED_BY,
    MODEL,
    QUESTION,
    WORDS,
    answer,
    call,
    called,
    candidate,
    chunks,
    error,
    interaction,
    interaction_events,
)
from provider_server import sse
from streamed_forms import Opened, Sighting, in_a_loop, settled

_VERIFY: Final = {"verify": ssl.create_default_context()}
_REQUEST: Final[dict[str, Any]] = {"model": MODEL, "contents": QUESTION}
_CALLS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (("get_weather", {"place": "Paris"}), ("get_time", {}))


def _options(url: str, timeout_s: float) -> Any:
    timeout_ms = int(timeout_s * 1000)
    options: Any = {"base_url": url, "timeout": timeout_ms, "client_args": _VERIFY, "async_client_args": _VERIFY}
    if "retry_options" in genai.types.HttpOptions.model_fields:
        options["retry_options"] = {"attempts": 1}
    return options


def _made(url: str, timeout_s: float) -> genai.Client:
    return genai.Client(api_key="none", vertexai=False, http_options=_options(url, timeout_s))


def _made_on_vertex(url: str, timeout_s: float) -> genai.Client:
    credentials: Any = google.auth.credentials.AnonymousCredentials()  # type: ignore[no-untyped-call]
    credentials.token = "none"
    options = _options(url, timeout_s)
    return genai.Client(vertexai=True, project="p", location="l", credentials=credentials, http_options=options)


@contextmanager
def vertex_client(url: str, timeout_s: float) -> Iterator[Any]:
    """Yield a client for Vertex AI."""
    made = _made_on_vertex(url, timeout_s)
    yield made
    made.close()


@asynccontextmanager
async def async_vertex_client(url: str, timeout_s: float) -> AsyncIterator[Any]:
    """Yield the asynchronous part of a client for Vertex AI."""
    made = _made_on_vertex(url, timeout_s)
    yield made.aio
    await made.aio.aclose()
    made.close()


@contextmanager
def client(url: str, timeout_s: float) -> Iterator[Any]:
    """Yield a client of the loopback server."""
    made = _made(url, timeout_s)
    yield made
    made.close()


@asynccontextmanager
async def async_client(url: str, timeout_s: float) -> AsyncIterator[Any]:
    """Yield the asynchronous part of a client of the loopback server."""
    made = _made(url, timeout_s)
    yield made.aio
    await made.aio.aclose()
    made.close()


_INTERACT: Final[dict[str, Any]] = {"model": MODEL, "input": QUESTION}


async def _send(client: Any, seen: Sighting) -> None:
    seen.read(await settled(client.chats.create(model=MODEL).send_message(QUESTION)))


async def _chat_stream(client: Any, seen: Sighting) -> Opened:
    stream = seen.saw(await settled(client.chats.create(model=MODEL).send_message_stream(QUESTION)))
    return Opened(stream, stream.aclose if in_a_loop() else stream.close)


def _wire(whole: Any, events: list[Any], *, named: bool = False) -> Wire:
    return Wire(whole=json.dumps(whole).encode(), chunks=[sse(event, named=named) for event in events])


def _expected() -> Expected:
    return Expected(
        span_name=f"generate_content {MODEL}",
        provider="gcp.gemini",
        response_model=ANSWERED_BY,
        text=ANSWER,
        words=WORDS[:1],
        input_tokens=120,
        output_tokens=34,
        finish_reason="stop",
        tool_calls=_CALLS,
    )


_CALLING: Final = answer(candidate(*(call(name, **arguments) for name, arguments in _CALLS)))
_STEPS: Final = [
    {"type": "function_call", "id": name, "name": name, "arguments": arguments} for name, arguments in _CALLS
]
_WARNS: Final = (
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning",
    "ignore:Interactions usage is experimental",
)

ADAPTERS: Final = (
    Adapter(
        title="google-genai",
        integration="google_genai",
        client=client,
        async_client=async_client,
        calls={"plain": calls("models.generate_content", _REQUEST), "helper": _send},
        forms={
            "stream": forms("models.generate_content_stream", _REQUEST, leave_async="aclose"),
            "helper stream": _chat_stream,
        },
        answer=_wire(answer(), chunks()),
        tools=_wire(_CALLING, [_CALLING]),
        refusal=json.dumps(error(400, "INVALID_ARGUMENT")).encode(),
        expected=_expected(),
        warns=_WARNS,
    ),
    Adapter(
        title="google-genai interactions",
        integration="google_genai",
        client=client,
        async_client=async_client,
        calls={"plain": calls("interactions.create", _INTERACT)},
        forms={"stream": forms("interactions.create", {**_INTERACT, "stream": True})},
        answer=_wire(interaction(), interaction_events(), named=True),
        tools=_wire(
            interaction(*_STEPS, status="requires_action"),
            interaction_events(*(called(name, **given) for name, given in _CALLS), status="requires_action"),
            named=True,
        ),
        refusal=json.dumps(error(400, "INVALID_ARGUMENT")).encode(),
        expected=_expected(),
        needs={"plain": "interactions", "stream": "interactions"},
        warns=_WARNS,
    ),
)
CLOUDS: Final = (
    replace(
        ADAPTERS[0],
        title="google-genai on Vertex",
        client=vertex_client,
        async_client=async_vertex_client,
        expected=replace(_expected(), provider="gcp.vertex_ai"),
    ),
)
