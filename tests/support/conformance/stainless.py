"""Ways to call clients that Stainless generates: `create`, raw and streaming responses, sync and async."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from streamed_forms import Form, Opened, Sighting, Within, read, settled

from . import openai_wire
from .adapter import Adapter, Call

Resource = Callable[[Any], Any]
"""Returns the object of a client that has the method `create`."""


def calls(resource: Resource, request: Mapping[str, Any]) -> dict[str, Call]:
    """Return the ways to get an answer in one piece."""

    async def plain(client: Any, seen: Sighting) -> None:
        seen.read(await settled(resource(client).create(**request)))

    async def raw(client: Any, seen: Sighting) -> None:
        answer = seen.saw(await settled(resource(client).with_raw_response.create(**request)))
        parsed = await settled(answer.parse())
        seen.read(parsed)
        assert await settled(answer.parse()) is parsed

    async def streaming(client: Any, seen: Sighting) -> None:
        async with Within(resource(client).with_streaming_response.create(**request)) as answer:
            seen.read(await settled(seen.saw(answer).parse()))

    async def streaming_text(client: Any, seen: Sighting) -> None:
        async with Within(resource(client).with_streaming_response.create(**request)) as answer:
            await read(answer.iter_text(), seen)

    return {
        "plain": plain,
        "raw": raw,
        "with_streaming_response": streaming,
        "with_streaming_response text": streaming_text,
    }


def forms(resource: Resource, request: Mapping[str, Any], reads: int = 3) -> dict[str, Form]:
    """Return the ways to get a stream; the app stops after `reads` events, which include the first words."""

    async def create(client: Any, seen: Sighting) -> Opened:
        stream = seen.saw(await settled(resource(client).create(**request, stream=True)))
        return Opened(stream, stream.close, reads)

    async def raw(client: Any, seen: Sighting) -> Opened:
        answer = seen.saw(await settled(resource(client).with_raw_response.create(**request, stream=True)))
        stream = seen.saw(await settled(answer.parse()))
        return Opened(stream, stream.close, reads)

    def streaming(client: Any) -> Any:
        return resource(client).with_streaming_response.create(**request, stream=True)

    return {
        "stream": create,
        "raw stream": raw,
        "with_streaming_response stream": managed(streaming, reads, lambda answer: answer.parse()),
        "with_streaming_response lines": managed(streaming, 3 * reads, lambda answer: answer.iter_lines()),
    }


def managed(
    manager_of: Callable[[Any], Any], reads: int = 3, items: Callable[[Any], Any] = lambda stream: stream
) -> Form:
    """Return a form for a context manager of a client; `items` gives what the app iterates over."""

    async def form(client: Any, seen: Sighting) -> Opened:
        manager = Within(seen.saw(manager_of(client)))
        entered = seen.saw(await manager.__aenter__())
        return Opened(seen.saw(await settled(items(entered))), manager.leave, reads)

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
        forms=forms(_chat, openai_wire.REQUEST),
        answer=openai_wire.ANSWERED,
        tools=openai_wire.TOOLS,
        refusal=openai_wire.REFUSAL,
        expected=openai_wire.expected(provider),
        needs={"with_streaming_response": "chat.completions.with_streaming_response"},
    )


def _chat(client: Any) -> Any:
    return client.chat.completions
