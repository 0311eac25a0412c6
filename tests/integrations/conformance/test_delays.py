"""The begin and end times of a stream whose chunks the provider sends one by one, with pauses.

Assertions on durations would fail on a loaded machine, so the tests compare only the order of moments: when the
provider sends a chunk, and when the app has read an item.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from conformance.adapter import Adapter, Wire, adapters
from conformance.short_bodies import event_in
from conformance.sides import SIDES, Side, await_span, recorded
from provider_server import ProviderServer, Reply
from span_recorder import SpanRecorder

FORM = "stream"
PAUSE_S = 0.002
FIRST = "gen_ai.response.time_to_first_chunk"


class SlowChunks(Sequence[bytes]):
    """Chunks with a pause before each, and the times at which each was sent, in nanoseconds."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = chunks
        self.sent_ns: list[int] = []

    def __len__(self) -> int:
        return len(self._chunks)

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        return self._chunks[index]

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            time.sleep(PAUSE_S)
            self.sent_ns.append(time.time_ns())
            yield chunk


@dataclass(slots=True)
class Read:
    """Items that the app has read, and the times at which the app had them."""

    items: list[str] = field(default_factory=list[str])
    at_ns: list[int] = field(default_factory=list[int])

    def do_something_else(self) -> None:
        """Wait before the stream is closed, so that a span ended by the close would end after the last item."""
        while time.time_ns() <= self.at_ns[-1]:
            pass

    def note(self, item: Any) -> None:
        """Record that the app has this item now."""
        self.at_ns.append(time.time_ns())
        self.items.append(repr(item))


def _runs() -> Iterator[Any]:
    for adapter in adapters():
        marks = [pytest.mark.filterwarnings(text) for text in adapter.warns]
        yield pytest.param(adapter, id=adapter.title, marks=marks)


def _reply(wire: Wire, chunks: SlowChunks, hangs_s: float = 0.0) -> Reply:
    return Reply(chunks=chunks, content_type=wire.stream_type, hangs_s=hangs_s)


def _check(span: ReadableSpan, adapter: Adapter, sent: SlowChunks, read: Read) -> None:
    """Check that the first token lies between its chunk and its item, and that the span ends by the last item."""
    assert span.start_time is not None
    assert span.end_time is not None
    first_ns = span.start_time + round(float(dict(span.attributes or {})[FIRST]) * 1e9)  # type: ignore[arg-type]
    with_a_word = next(at for at, item in enumerate(read.items) if adapter.expected.words[0] in item)
    assert span.start_time <= sent.sent_ns[0] <= first_ns <= read.at_ns[with_a_word]
    assert first_ns <= span.end_time <= read.at_ns[-1]


@SIDES
@pytest.mark.parametrize("adapter", [*_runs()])
def test_times(adapter: Adapter, asynchronous: bool, side: Any, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The span's times fit a stream that is read to its end, and one that is left early and closed late."""
    used: Side = side(adapter, asynchronous)
    used.need(FORM)
    with recorded(adapter, recorder):
        for early in (False, True):
            sent, read = SlowChunks(adapter.answer.chunks), Read()
            server.replies(_reply(adapter.answer, sent))
            opened = used.open(FORM)
            for item in opened.items:
                read.note(item)
                if early and len(read.items) >= opened.reads:
                    break
            else:
                read.at_ns.append(time.time_ns())
            read.do_something_else()
            opened.leave()
            del opened, item  # old versions of litellm have no `close`
            used.collect(recorder)
            await_span(recorder)
            _check(recorder.one(), adapter, sent, read)
            assert early or (recorder.one().end_time or 0) >= _last_event(adapter.answer, sent)
            recorder.clear()


def _last_event(wire: Wire, sent: SlowChunks) -> int:
    """Return when the provider sent the last chunk that all clients show: no end mark and no counts alone (litellm)."""
    events = [event_in(chunk, wire.stream_type) for chunk in wire.chunks]
    shown = [event is not None and event.document.get("choices") != [] for event in events]
    return max(at for at, is_shown in zip(sent.sent_ns, shown, strict=True) if is_shown)
