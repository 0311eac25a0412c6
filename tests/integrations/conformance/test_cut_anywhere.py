"""Streams of every library that stop at any byte: the app notices no difference, and one span has what arrived.

A stream is cut in two ways: its connection breaks, or its body just ends. The inner ring cuts at a few places, over a
real connection, answers in the first way and tool calls in the second. The outer ring cuts after every byte in both
ways, without sockets for clients that use httpx.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from conformance.adapter import Adapter, Wire, adapters, cloud_adapters
from conformance.short_bodies import shortened, wires
from conformance.sides import SIDES, Side, recorded
from conformance.span_check import check_end, check_text, check_tools, steady
from provider_server import ProviderServer, Reply
from rings import IN_FULL
from span_recorder import SpanRecorder
from streamed_forms import Sighting
from without_sockets import without_sockets

# litellm makes an event loop for a failing synchronous stream; the next test with a loop finds this loop unclosed.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
FORM = "stream"
SAMPLES = 3


@pytest.fixture(autouse=True)
def nothing_failed_inside(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check that our observation did not fail, which the app would not notice."""
    caplog.set_level(logging.DEBUG, logger="pandaprobe_otel.integrations")
    yield
    logged = [one for one in caplog.get_records("call") if one.name == "pandaprobe_otel.integrations"]
    assert [(one.getMessage(), one.exc_info) for one in logged] == []


def _runs() -> Iterable[Any]:
    framed = [adapter for adapter in cloud_adapters() if "amazon" in adapter.answer.stream_type]
    for adapter in map(shortened, (*adapters(), *framed)):
        marks = [pytest.mark.filterwarnings(text) for text in adapter.warns]
        for place, (name, wire) in enumerate(wires(adapter, FORM)):
            yield pytest.param(adapter, wire, False, place == 0, id=f"{adapter.title}-{name}", marks=marks)
            for breaks, how in ((False, "ends"), (True, "breaks")):
                test_id = f"{adapter.title}-{name}-every byte-{how}"
                yield pytest.param(adapter, wire, True, breaks, id=test_id, marks=[*marks, *IN_FULL])


def _offsets(wire: Wire, *, every: bool) -> Sequence[int]:
    """Return every offset of the body, or a few that cut different events at different places."""
    size = len(b"".join(wire.chunks))
    return range(size + 1) if every else range(1, size + 1, size // SAMPLES)


def _cut(wire: Wire, offset: int, *, breaks: bool) -> Reply:
    """Return the chunks before `offset`, and the first part of the chunk that contains `offset`."""
    return Reply(chunks=tuple(_before(wire.chunks, offset)), content_type=wire.stream_type, breaks_off=breaks)


def _before(chunks: Iterable[bytes], offset: int) -> Iterator[bytes]:
    for chunk in chunks:
        if offset <= 0:
            return
        yield chunk[:offset]
        offset -= len(chunk)


def _check(spans: list[ReadableSpan], adapter: Adapter, wire: Wire, offset: int, seen: Sighting) -> None:
    (span,) = spans
    assert span.end_time is not None
    *whole, last = (b"", *_before(wire.chunks, offset))
    broken = b"" if last == wire.chunks[len(whole) - 1] else last
    check_text(span, adapter, seen, broken)
    check_tools(span, adapter, seen, broken)
    check_end(span)


@SIDES
@pytest.mark.parametrize(("adapter", "wire", "every", "breaks"), [*_runs()])
def test_cut(
    adapter: Adapter,
    wire: Wire,
    every: bool,
    breaks: bool,
    asynchronous: bool,
    side: Any,
    server: ProviderServer,
    recorder: SpanRecorder,
) -> None:
    """The app sees the same as without us; the span has what arrived, if the body ends or the connection breaks."""
    used: Side = side(adapter, asynchronous)
    used.need(FORM)

    def look(offset: int) -> Sighting:
        server.replies(_cut(wire, offset, breaks=breaks))
        return steady(used.read(FORM), adapter)

    with without_sockets(server) if every else nullcontext():
        without = [look(offset) for offset in _offsets(wire, every=every)]
        with recorded(adapter, recorder):
            for offset, expected in zip(_offsets(wire, every=every), without, strict=True):
                seen = look(offset)
                assert seen == expected
                _check(recorder.spans, adapter, wire, offset, seen)
                recorder.clear()
