"""The mistralai client."""

from __future__ import annotations

import importlib
import json
from typing import Any, Final

from conformance import openai_wire
from conformance.adapter import Adapter
from streamed_forms import AsyncOpened, Opened, Sighting

# The client is at the root of the package before 2.0, and one level down from then on.
try:
    MODULE: Final[Any] = importlib.import_module("mistralai.client")
    MODULE.Mistral  # noqa: B018 - 1.x has a module of this name too
except (ImportError, AttributeError):
    MODULE = importlib.import_module("mistralai")  # type: ignore[misc]

CHAT: Final[dict[str, Any]] = openai_wire.REQUEST


def client(url: str, timeout_s: float) -> Any:
    """A client of the loopback server."""
    return MODULE.Mistral(api_key="none", server_url=url, timeout_ms=int(timeout_s * 1000))


def _complete(client: Any, seen: Sighting) -> None:
    seen.read(client.chat.complete(**CHAT))


async def _complete_async(client: Any, seen: Sighting) -> None:
    seen.read(await client.chat.complete_async(**CHAT))


def _stream(client: Any, seen: Sighting) -> Opened:
    stream = seen.saw(client.chat.stream(**CHAT))
    return Opened(stream, lambda: stream.__exit__(None, None, None))


async def _stream_async(client: Any, seen: Sighting) -> AsyncOpened:
    stream = seen.saw(await client.chat.stream_async(**CHAT))
    return AsyncOpened(stream, lambda: stream.__aexit__(None, None, None))


ADAPTERS: Final = (
    Adapter(
        title="mistralai",
        integration="mistralai",
        client=client,
        async_client=client,
        calls={"plain": _complete},
        async_calls={"plain": _complete_async},
        forms={"stream": _stream},
        async_forms={"stream": _stream_async},
        answer=openai_wire.ANSWERED,
        tools=openai_wire.TOOLS_WHOLE,
        refusal=json.dumps({"message": "No.", "detail": []}).encode(),
        expected=openai_wire.expected("mistral_ai"),
    ),
)
