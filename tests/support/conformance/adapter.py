"""Content of a library's module: an app's calls of the library, and its provider's answers as bytes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Literal

import pytest

from provider_server import Reply
from streamed_forms import Form, Opened, Sighting, in_a_loop, settled

from . import libraries

Shape = Literal["plain", "stream", "helper", "raw", "with_streaming_response"]
"""The ways to call a library that the suite tests; each form belongs to one of them."""

Call = Callable[[Any, Sighting], Coroutine[Any, Any, None]]
"""Makes a call that is answered in one piece; records in the sighting what the app gets."""


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
    seconds. Calls and forms are for both. Their names begin with their `Shape` ("raw", "raw stream").
    """

    title: str
    """The title of the API on the page."""
    integration: str
    """The name of the integration in the registry."""
    client: Callable[[str, float], AbstractContextManager[Any]]
    async_client: Callable[[str, float], AbstractAsyncContextManager[Any]] | None
    """None if the library has none."""
    calls: Mapping[str, Call]
    forms: Mapping[str, Form]
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


def _method(client: Any, path: str, asynchronous: str) -> Callable[..., Any]:
    found: Callable[..., Any] = member(client, asynchronous if asynchronous and in_a_loop() else path)
    return found


def calls(
    path: str,
    request: Mapping[str, Any],
    *,
    asynchronous: str = "",
    answer: Callable[[Any, Sighting], Any] = lambda found, _: found,
) -> Call:
    """Return the call of a method, or of the `asynchronous` one; `answer` gives what the app reads of the result."""

    async def call(client: Any, seen: Sighting) -> None:
        seen.read(await settled(answer(await settled(_method(client, path, asynchronous)(**request)), seen)))

    return call


def forms(
    path: str,
    request: Mapping[str, Any],
    *,
    asynchronous: str = "",
    stream: Callable[[Any], Any] = lambda found: found,
    leave: str = "close",
    leave_async: str = "",
    reads: int = 3,
) -> Form:
    """Return the form of a method, or of the `asynchronous` one, whose stream is left with the method `leave`.

    The app stops after `reads` items, which include the first words.
    """

    async def form(client: Any, seen: Sighting) -> Opened:
        opened = seen.saw(stream(await settled(_method(client, path, asynchronous)(**request))))
        name = leave_async if leave_async and in_a_loop() else leave
        return Opened(opened, lambda: getattr(opened, name)(*(None,) * (3 if "exit" in name else 0)), reads)

    return form


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
