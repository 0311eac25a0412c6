"""Contents of a library's module: an app's calls of it, and its provider's bytes on the wire."""

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
"""The ways of asking that the suite tests; each form belongs to one of them."""

OneCall = Callable[[Any, Sighting], None]
"""A call that is answered in one piece; it records in the sighting what the app gets."""
OneAsyncCall = Callable[[Any, Sighting], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """One answer of the provider in both forms: in one piece, and as the chunks of a stream."""

    whole: bytes
    chunks: Sequence[bytes]
    stream_type: str = "text/event-stream"
    opening: int = 6
    """Number of chunks that contain at least the items that the app reads before it stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The expected span of a complete call. Model names are those in the provider's answer."""

    span_name: str
    provider: str
    response_model: str | None
    text: str
    words: Sequence[str]
    """Words of the text that occur nowhere else on the wire: one that the app has seen must be in the span."""
    input_tokens: int
    output_tokens: int
    finish_reason: str
    tool_calls: Sequence[tuple[str, Mapping[str, Any]]]
    """Names and arguments of the calls in the answer with tools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One API of one client library.

    `client` and `async_client` open a client on the server at a root URL, without resends and with a timeout in
    seconds. The names of calls and forms begin with their `Shape` ("raw", "raw stream").
    """

    title: str
    """The title on the page."""
    integration: str
    """The name in the registry."""
    client: Callable[[str, float], AbstractContextManager[Any]]
    async_client: Callable[[str, float], AbstractAsyncContextManager[Any]]
    calls: Mapping[str, OneCall]
    async_calls: Mapping[str, OneAsyncCall]
    forms: Mapping[str, Form]
    async_forms: Mapping[str, AsyncForm]
    answer: Wire
    tools: Wire
    refusal: bytes
    """Body of an error."""
    expected: Expected
    beside: Sequence[str] = ()
    """Other integrations that are on at the same time, of libraries that this one calls."""
    refused: Callable[[int], Reply] | None = None
    """The answer with an error status, if it needs more than `refusal` as JSON."""
    varies: str = r"(?!)"
    """Pattern of text that the app sees differently in each call, such as the time of day."""
    warns: Sequence[str] = ()
    """Filters, as for pytest, for warnings of the library itself."""
    usage_when_cut: bool = False
    """True if the provider sends counts along the way, so that a stream that is left early has some."""
    needs: Mapping[str, str] = field(default_factory=dict[str, str])
    """Beginning of a name -> members (dotted) that a client needs for it; old versions lack some."""
    without: Mapping[str, str] = field(default_factory=dict[str, str])
    """Cases that make no sense here, as "sync stream/dropped" (or "stream/dropped"), with the reason."""


def adapters() -> list[Adapter]:
    """Return every library's, in the order of the page. A test of its own finds one that cannot be imported."""
    found: list[Adapter] = []
    for module in iter_modules(libraries.__path__):
        with suppress(ImportError, pytest.skip.Exception):
            found += import_module(f"{libraries.__name__}.{module.name}").ADAPTERS
    return sorted(found, key=lambda adapter: adapter.title)
