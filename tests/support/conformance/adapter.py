"""Content of a library's module: an app's calls of the library, and its provider's answers as bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from inspect import isawaitable
from pkgutil import iter_modules
from typing import Any, Literal

import pytest

from provider_server import Reply
from streamed_forms import AsyncForm, AsyncOpened, Form, Opened, Sighting

from . import libraries

Shape = Literal["plain", "stream", "helper", "raw", "with_streaming_response"]
"""The ways to call a library that the suite tests; each form belongs to one of them."""

OneCall = Callable[[Any, Sighting], None]
"""Makes a call that is answered in one piece; records in the sighting what the app gets."""
OneAsyncCall = Callable[[Any, Sighting], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """One answer of the provider, both in one piece and as the chunks of a stream."""

    whole: bytes
    chunks: Sequence[bytes]
    stream_type: str = "text/event-stream"
    opening: int = 6
    """Number of chunks that contain at least the items that the app reads before it stops."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Headers of the answer in one piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The expected span of a complete call. Model names are those in the provider's answer."""

    span_name: str
    provider: str
    response_model: str | None
    text: str
    words: Sequence[str]
    """Words of the text that occur nowhere else in the answer; the span must have those that the app has seen."""
    input_tokens: int
    output_tokens: int
    finish_reason: str
    tool_calls: Sequence[tuple[str, Mapping[str, Any]]]
    """Names and arguments of the tool calls in `Adapter.tools`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One API of one client library.

    `client` and `async_client` open a client of the server at a root URL, without retries and with a timeout in
    seconds. The names of calls and forms begin with their `Shape` ("raw", "raw stream").
    """

    title: str
    """The title of the API on the page."""
    integration: str
    """The name of the integration in the registry."""
    client: Callable[[str, float], AbstractContextManager[Any]]
    async_client: Callable[[str, float], AbstractAsyncContextManager[Any]]
    calls: Mapping[str, OneCall]
    async_calls: Mapping[str, OneAsyncCall]
    forms: Mapping[str, Form]
    async_forms: Mapping[str, AsyncForm]
    answer: Wire
    tools: Wire
    refusal: bytes
    """Body of an error answer."""
    expected: Expected
    also: Sequence[str] = ()
    """Other integrations that are active at the same time, for libraries that this library calls."""
    refused: Callable[[int], Reply] | None = None
    """Returns the answer with an error status, if it needs more than `refusal` as its body."""
    varies: str = r"(?!)"
    """Pattern of text that differs in each call, such as the time of day."""
    warns: Sequence[str] = ()
    """Filters, in pytest's form, for warnings of the library itself."""
    usage_when_cut: bool = False
    """True if the provider sends token counts during a stream, so that a stream that is left early has token counts."""
    needs: Mapping[str, str] = field(default_factory=dict[str, str])
    """Beginning of a call's or form's name -> the (dotted) member that it needs, which old clients lack."""
    without: Mapping[str, str] = field(default_factory=dict[str, str])
    """Cases that do not apply to this API, as "sync stream/dropped" (or "stream/dropped"), with the reason."""


def member(client: Any, path: str) -> Any:
    """Return the (dotted) member of a client."""
    for name in path.split("."):
        client = getattr(client, name)
    return client


async def awaited(value: Any) -> Any:
    """Return the value, awaited if necessary: some methods and old versions return it at once."""
    return await value if isawaitable(value) else value


def calls(
    path: str,
    request: Mapping[str, Any],
    *,
    asynchronous: str = "",
    answer: Callable[[Any, Sighting], Any] = lambda found, _: found,
) -> tuple[OneCall, OneAsyncCall]:
    """Return the call of a method, and of the `asynchronous` one; `answer` gives what the app reads of the result."""

    def call(client: Any, seen: Sighting) -> None:
        seen.read(answer(member(client, path)(**request), seen))

    async def call_async(client: Any, seen: Sighting) -> None:
        seen.read(await awaited(answer(await member(client, asynchronous or path)(**request), seen)))

    return call, call_async


def forms(
    path: str,
    request: Mapping[str, Any],
    *,
    asynchronous: str = "",
    stream: Callable[[Any], Any] = lambda found: found,
    leave: str = "close",
    leave_async: str = "",
) -> tuple[Form, AsyncForm]:
    """Return the form of a method, and of the `asynchronous` one, whose stream is left with the method `leave`."""

    def left(opened: Any, name: str) -> Any:
        return getattr(opened, name)(*(None,) * (3 if "exit" in name else 0))

    def form(client: Any, seen: Sighting) -> Opened:
        opened = seen.saw(stream(member(client, path)(**request)))
        return Opened(opened, lambda: left(opened, leave))

    async def form_async(client: Any, seen: Sighting) -> AsyncOpened:
        opened = seen.saw(stream(await awaited(member(client, asynchronous or path)(**request))))
        return AsyncOpened(opened, lambda: awaited(left(opened, leave_async or leave)))

    return form, form_async


def both(**pairs: tuple[Any, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the synchronous and the asynchronous ones of these calls or forms, by their names."""
    named = {name.replace("_", " "): pair for name, pair in pairs.items()}
    return {name: pair[0] for name, pair in named.items()}, {name: pair[1] for name, pair in named.items()}


def ways(called: tuple[Any, Any], opened: tuple[Any, Any]) -> dict[str, Any]:
    """Return the arguments of an adapter with these calls and forms, each as `both` returns them."""
    return {"calls": called[0], "async_calls": called[1], "forms": opened[0], "async_forms": opened[1]}


def adapters() -> list[Adapter]:
    """Return all adapters, in the order of the page; a separate test finds libraries that cannot be imported."""
    return _listed("ADAPTERS")


def cloud_adapters() -> list[Adapter]:
    """Return the adapters of the libraries' clients for other clouds, which answer as the APIs of `adapters` do."""
    return _listed("CLOUDS")


def _listed(name: str) -> list[Adapter]:
    found: list[Adapter] = []
    for module in iter_modules(libraries.__path__):
        with suppress(ImportError, pytest.skip.Exception):
            found += getattr(import_module(f"{libraries.__name__}.{module.name}"), name, ())
    return sorted(found, key=lambda adapter: adapter.title)
