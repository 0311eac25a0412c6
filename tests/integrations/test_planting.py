"""Every kind of call of every client: the app gets the same, and all that it says and hears is in the trace.

A mark is at each place that can hold content. Each must be on a span, and in the trace made of the span; pictures and
sounds are recorded as digests, and credentials not at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from conformance.adapter import Adapter, adapters, cloud_adapters
from library_members import skip_without
from pandaprobe_otel.mapping import MappingOptions, map_trace, map_views, read_span
from pandaprobe_otel.registry import instrument, uninstrument
from planted.rows import ROWS, SEALED, Plants, made
from provider_server import ProviderServer, Reply
from span_recorder import SpanRecorder

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:The generate_", "ignore:.*experimental"),
]
ADAPTERS = {adapter.title: adapter for adapter in (*adapters(), *cloud_adapters())}
PARTS = {"question": "gen_ai.input.messages", "answer": "gen_ai.output.messages"}
COUNTS = {"in": "gen_ai.usage.input_tokens", "out": "gen_ai.usage.output_tokens"}
Clients = dict[str, Any]


@pytest.fixture(scope="module")
def clients(running_server: ProviderServer) -> Iterator[Clients]:
    """Yield the client of each adapter."""
    with ExitStack() as stack:

        class Opened(dict[str, Any]):
            def __missing__(self, title: str) -> Any:
                self[title] = stack.enter_context(ADAPTERS[title].client(running_server.url, 20.0))
                return self[title]

        yield Opened()


def _steady(adapter: Adapter, seen: Sequence[Any]) -> list[str]:
    return [re.sub(adapter.varies, "", str(one)) for one in seen]


def _call(name: str, clients: Clients, server: ProviderServer, recorder: SpanRecorder, **options: Any) -> Plants:
    """Make the call without and with us; return its marks."""
    row, plants = ROWS[name], Plants()
    if row.client not in ADAPTERS:
        pytest.skip(f"the installed versions have no {row.client}")
    adapter, client = ADAPTERS[row.client], clients[row.client]
    skip_without(client, row.method)
    request, replies = plants.fill(row.request, "request"), row.replies(plants.fill(row.answer, "answer"))
    server.replies(*([replies] if isinstance(replies, Reply) else replies))
    without = made(row, client, request)
    instrument(adapter.integration, tracer_provider=recorder.provider, **options)
    try:
        seen = made(row, client, request)
    finally:
        uninstrument(adapter.integration)
    assert _steady(adapter, seen) == _steady(adapter, without)
    return plants


@pytest.mark.parametrize("name", ROWS)
def test_all_is_recorded(
    name: str, clients: Clients, server: ProviderServer, recorder: SpanRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """The app gets the same as without us; every mark is on the span and in its trace, and no credential is."""
    plants = _call(name, clients, server, recorder)
    caplog.clear()  # google-genai warns of parts that are not text
    span = recorder.one()
    attributes = recorder.attributes()
    assert attributes["gen_ai.operation.name"] == ROWS[name].operation
    assert attributes["gen_ai.provider.name"] == ADAPTERS[ROWS[name].client].expected.provider
    on_the_span = [span.name, attributes, span.status.description]
    if ROWS[name].operation == "embeddings" and "nova-2" not in name:
        assert attributes["gen_ai.embeddings.dimension.count"] == 2
        assert "0.25" not in str(attributes)
    assert plants.missing(on_the_span) == []
    assert SEALED not in str(on_the_span)
    wrong = [
        (place, mark)
        for place, mark in plants.placed
        if place in PARTS and mark not in attributes.get(PARTS[place], "")
    ]
    wrong += [
        (place, mark) for place, mark in plants.placed if place in COUNTS and attributes.get(COUNTS[place]) != mark
    ]
    assert wrong == []
    assert plants.missing(map_trace(recorder.spans)) == []


def test_every_library_is_planted() -> None:
    """The table has calls of each client library."""
    assert {ADAPTERS[row.client].integration for row in ROWS.values() if row.client in ADAPTERS} == {
        adapter.integration for adapter in adapters()
    }


@pytest.mark.parametrize(
    "name",
    [
        "openai chat.completions.create",
        "anthropic messages.create",
        "google-genai interactions.create",
        "Bedrock Converse converse",
    ],
)
def test_without_content(name: str, clients: Clients, server: ProviderServer, recorder: SpanRecorder) -> None:
    """With `capture_content=False`, values that accompany messages are left out, since they may have any content."""
    _call(name, clients, server, recorder, capture_content=False)
    assert not [key for key in recorder.attributes() if "messages" in key or key.startswith("pandaprobe.")]


def test_members_of_an_answer_are_content(
    clients: Clients, server: ProviderServer, recorder: SpanRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """With `capture="metadata"`, members beside an answer are left out."""
    _call("google-genai models.generate_content", clients, server, recorder)
    caplog.clear()
    views = [view for span in recorder.spans if (view := read_span(span)) is not None]
    trace = map_views(views, options=MappingOptions(capture="metadata"))
    assert "response" not in json.loads(trace.encoded())["spans"][0]["metadata"]
