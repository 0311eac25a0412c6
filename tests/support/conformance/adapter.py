"""Content of a library's module: an app's calls of the library, and its provider's answers as bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Literal

import pytest

from provider_server import Reply
from streamed_forms import AsyncForm, Form, Sighting

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
    beside: Sequence[str] = ()
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
