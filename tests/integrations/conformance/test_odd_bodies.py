"""Answers that no reference describes: what the app sees stays the same, and a call is one span.

By default some of the oddities are tried, others at each place. This tries all of them:

    EVERY_BYTE=1 pytest -n auto tests/integrations/conformance/test_odd_bodies.py
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from conformance import cases, odd_bodies
from conformance.adapter import Adapter, adapters
from conformance.odd_bodies import REPLACEMENTS, Oddity
from conformance.recording import recorded
from conformance.short_bodies import shortened
from conformance.verdict import steady
from library_members import skip_without
from provider_server import ProviderServer, Reply
from span_recorder import SpanRecorder
from streamed_forms import Sighting, read_and_leave
from without_sockets import without_sockets

EVERY = bool(os.environ.get("EVERY_BYTE"))
TIMEOUT_S = 20.0
FORM = "stream"
CALL = "plain"
TRIED = {"openai", "cohere v1", "ollama", "ollama generate"}
"""One for server-sent events and two for lines, on httpx2 and httpx."""
THEIRS = sorted({adapter.integration for adapter in adapters()} | {"httpx", "httpx2"})
pytestmark = pytest.mark.timeout(3600 if EVERY else 120)


@pytest.fixture(autouse=True)
def nothing_failed_inside(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No observation failed, which the app would not notice either. What the clients say of such bodies is theirs."""
    for name in THEIRS:
        caplog.set_level(logging.CRITICAL, logger=name)
    caplog.set_level(logging.DEBUG, logger="pandaprobe_otel.integrations")
    yield
    logged = [one for one in caplog.get_records("call") if one.name == "pandaprobe_otel.integrations"]
    assert [(one.getMessage(), one.exc_info) for one in logged] == []


def _runs() -> Iterator[Any]:
    for adapter in (shortened(one) for one in adapters() if one.title in TRIED):
        marks = [pytest.mark.filterwarnings(text) for text in adapter.warns]
        yield pytest.param(adapter, id=adapter.title, marks=marks)


def _some(oddities: Iterator[Oddity], of: int) -> Iterator[Oddity]:
    """One out of so many, or all of them."""
    return oddities if EVERY else islice(oddities, 0, None, of)


def _streams(adapter: Adapter) -> Iterator[Oddity]:
    for wire in (adapter.answer, adapter.tools):
        yield from odd_bodies.written_otherwise(wire)
        yield from _some(odd_bodies.said_otherwise(wire), 7)
        yield from _some(odd_bodies.with_other_values(wire), 2 * len(REPLACEMENTS) + 1)


def _answers(adapter: Adapter) -> Iterator[Oddity]:
    for wire in (adapter.answer, adapter.tools):
        yield from _some(odd_bodies.whole_with_other_values(wire.whole), 2 * len(REPLACEMENTS) + 1)


def _one_ended(spans: list[ReadableSpan]) -> bool:
    return len(spans) == 1 and spans[0].end_time is not None


@pytest.mark.parametrize("adapter", [*_runs()])
def test_the_app_sees_the_same(adapter: Adapter, clients: Any, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Streams, and answers in one piece."""
    client = clients(adapter, TIMEOUT_S)
    _skip_old(adapter, client)

    def stream(oddity: Oddity) -> Sighting:
        server.replies(Reply(chunks=oddity.chunks, content_type=adapter.answer.stream_type))
        sighting = Sighting()
        try:
            read_and_leave(adapter.forms[FORM], client, sighting)
        except Exception as error:  # noqa: BLE001 - whatever the client raises
            sighting.raised = (type(error), str(error))
        return steady(sighting, adapter)

    def ask(oddity: Oddity) -> Sighting:
        server.replies(Reply(chunks=oddity.chunks))
        return steady(cases.look_at_call(adapter.calls[CALL], client), adapter)

    differ: list[str] = []
    with without_sockets(server):
        for look, oddities in ((stream, _streams), (ask, _answers)):
            without = [look(oddity) for oddity in oddities(adapter)]
            with recorded(adapter, recorder):
                for oddity, expected in zip(oddities(adapter), without, strict=True):
                    if look(oddity) != expected or not _one_ended(recorder.spans):
                        differ.append(oddity.name)
                    recorder.clear()
    assert differ == []


def _skip_old(adapter: Adapter, client: Any) -> None:
    for name in (FORM, CALL):
        for beginning, path in adapter.needs.items():
            if name.startswith(beginning):
                skip_without(client, path)
