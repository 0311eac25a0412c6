"""Ways to call clients that Stainless generates: `create`, raw and streaming responses, sync and async."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from streamed_forms import AsyncForm, AsyncOpened, Form, Opened, Sighting

from . import openai_wire
from .adapter import Adapter, OneAsyncCall, OneCall, awaited

Resource = Callable[[Any], Any]
"""Returns the object of a client that has the method `create`."""


def calls(resource: Resource, request: Mapping[str, Any]) -> dict[str, OneCall]:
    """Return the ways to get an answer in one piece."""

    def plain(client: Any, seen: Sighting) -> None:
        seen.read(resource(client).create(**request))

    def raw(client: Any, seen: Sighting) -> None:
        answer = seen.saw(resource(client).with_raw_response.create(**request))
        seen.read(answer.parse())
        assert answer.parse() is answer.parse()

    def streaming(client: Any, seen: Sighting) -> None:
        with resource(client).with_streaming_response.create(**request) as answer:
            seen.saw(answer)
            seen.read(answer.parse())

    def streaming_text(client: Any, seen: Sighting) -> None:
        with resource(client).with_streaming_response.create(**request) as answer:
            for piece in answer.iter_text():
                seen.read(piece)

    return {
        "plain": plain,
        "raw": raw,
        "with_streaming_response": streaming,
        "with_streaming_response text": streaming_text,
    }


def async_calls(resource: Resource, request: Mapping[str, Any]) -> dict[str, OneAsyncCall]:
    """Return the ways to get an answer in one piece from an asynchronous client."""

    async def plain(client: Any, seen: Sighting) -> None:
        seen.read(await resource(client).create(**request))

    async def raw(client: Any, seen: Sighting) -> None:
        answer = seen.saw(await resource(client).with_raw_response.create(**request))
        seen.read(await awaited(answer.parse()))

    async def streaming(client: Any, seen: Sighting) -> None:
        async with resource(client).with_streaming_response.create(**request) as answer:
            seen.saw(answer)
            seen.read(await awaited(answer.parse()))

    async def streaming_text(client: Any, seen: Sighting) -> None:
        async with resource(client).with_streaming_response.create(**request) as answer:
            async for piece in answer.iter_text():
                seen.read(piece)

    return {
        "plain": plain,
        "raw": raw,
        "with_streaming_response": streaming,
        "with_streaming_response text": streaming_text,
    }


def forms(resource: Resource, request: Mapping[str, Any], reads: int = 3) -> dict[str, Form]:
    """Return the ways to get a stream; the app stops after `reads` events, which include the first words."""

    def create(client: Any, seen: Sighting) -> Opened:
        stream = seen.saw(resource(client).create(**request, stream=True))
        return Opened(stream, stream.close, reads)

    def raw(client: Any, seen: Sighting) -> Opened:
        answer = seen.saw(resource(client).with_raw_response.create(**request, stream=True))
        stream = seen.saw(answer.parse())
        return Opened(stream, stream.close, reads)

    def streaming(client: Any, seen: Sighting) -> Opened:
        manager = seen.saw(resource(client).with_streaming_response.create(**request, stream=True))
        answer = seen.saw(manager.__enter__())
        return Opened(seen.saw(answer.parse()), lambda: manager.__exit__(None, None, None), reads)

    def lines(client: Any, seen: Sighting) -> Opened:
        manager = seen.saw(resource(client).with_streaming_response.create(**request, stream=True))
        answer = seen.saw(manager.__enter__())
        return Opened(seen.saw(answer.iter_lines()), lambda: manager.__exit__(None, None, None), 3 * reads)

    return {
        "stream": create,
        "raw stream": raw,
        "with_streaming_response stream": streaming,
        "with_streaming_response lines": lines,
    }


def async_forms(resource: Resource, request: Mapping[str, Any], reads: int = 3) -> dict[str, AsyncForm]:
    """Return the ways to get a stream from an asynchronous client."""

    async def create(client: Any, seen: Sighting) -> AsyncOpened:
        stream = seen.saw(await resource(client).create(**request, stream=True))
        return AsyncOpened(stream, stream.close, reads)

    async def raw(client: Any, seen: Sighting) -> AsyncOpened:
        answer = seen.saw(await resource(client).with_raw_response.create(**request, stream=True))
        stream = seen.saw(await awaited(answer.parse()))
        return AsyncOpened(stream, stream.close, reads)

    async def streaming(client: Any, seen: Sighting) -> AsyncOpened:
        manager = seen.saw(resource(client).with_streaming_response.create(**request, stream=True))
        answer = seen.saw(await manager.__aenter__())
        stream = seen.saw(await awaited(answer.parse()))
        return AsyncOpened(stream, lambda: manager.__aexit__(None, None, None), reads)

    async def lines(client: Any, seen: Sighting) -> AsyncOpened:
        manager = seen.saw(resource(client).with_streaming_response.create(**request, stream=True))
        answer = seen.saw(await manager.__aenter__())
        return AsyncOpened(seen.saw(answer.iter_lines()), lambda: manager.__aexit__(None, None, None), 3 * reads)

    return {
        "stream": create,
        "raw stream": raw,
        "with_streaming_response stream": streaming,
        "with_streaming_response lines": lines,
    }


def helper(manager_of: Callable[[Any], Any], reads: int = 3) -> Form:
    """Return a form for a helper of the client, which returns a context manager of the stream."""

    def form(client: Any, seen: Sighting) -> Opened:
        manager = seen.saw(manager_of(client))
        stream = seen.saw(manager.__enter__())
        return Opened(stream, lambda: manager.__exit__(None, None, None), reads)

    return form


def async_helper(manager_of: Callable[[Any], Any], reads: int = 3) -> AsyncForm:
    """Return a form for a helper of an asynchronous client."""

    async def form(client: Any, seen: Sighting) -> AsyncOpened:
        manager = seen.saw(manager_of(client))
        stream = seen.saw(await manager.__aenter__())
        return AsyncOpened(stream, lambda: manager.__aexit__(None, None, None), reads)

    return form


def like_openai(kind: Any, async_kind: Any, integration: str, provider: str) -> Adapter:
    """Return the adapter for chats with a client that is built like OpenAI's, but calls another service."""

    def opened(made: Any) -> Callable[[str, float], Any]:
        return lambda url, timeout_s: made(base_url=url, api_key="none", max_retries=0, timeout=timeout_s)

    return Adapter(
        title=integration,
        integration=integration,
        client=opened(kind),
        async_client=opened(async_kind),
        calls=calls(_chat, openai_wire.REQUEST),
        async_calls=async_calls(_chat, openai_wire.REQUEST),
        forms=forms(_chat, openai_wire.REQUEST),
        async_forms=async_forms(_chat, openai_wire.REQUEST),
        answer=openai_wire.ANSWERED,
        tools=openai_wire.TOOLS,
        refusal=openai_wire.REFUSAL,
        expected=openai_wire.expected(provider),
        needs={"with_streaming_response": "chat.completions.with_streaming_response"},
    )


def _chat(client: Any) -> Any:
    return client.chat.completions
