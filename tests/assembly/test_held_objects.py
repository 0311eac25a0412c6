"""Objects of ours that the garbage collector visits for each held span, besides the app's own objects."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import Span, TracerProvider

from pandaprobe_otel.assembly.assembler import Assembler
from pandaprobe_otel.assembly.timing import Timing
from pandaprobe_otel.assembly.worker import Worker
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from spans import CHAT

COUNT = 500
TRACER = TracerProvider(shutdown_on_exit=False).get_tracer("t")


@pytest.fixture
def worker() -> Worker:
    """Return a worker whose thread never runs."""
    worker = Worker(
        assembler=lambda: Assembler(timing=Timing(), counts_starts=True, max_bytes=1 << 30),
        deliver=lambda segment: None,
        ledger=Ledger(),
        notices=Notices(lambda: 0.0),
    )
    worker._thread = threading.current_thread()
    return worker


def visited(do: Callable[[], object]) -> float:
    """Return how many more objects the collector visits for each span after this call."""
    gc.collect()
    before = len(gc.get_objects())
    do()
    gc.collect()
    return round((len(gc.get_objects()) - before) / COUNT, 1)


def started(parent: Span | None = None) -> Span:
    """Start a span of the app."""
    context = None if parent is None else trace.set_span_in_context(parent)
    span = TRACER.start_span("s", context, attributes={**CHAT, "n": 1})
    assert isinstance(span, Span)
    return span


def test_an_open_trace_costs_four_objects(worker: Worker) -> None:
    """An open trace costs four objects: its buffer, its memory, the dict of open spans, and a reference to a span."""
    spans = [started() for _ in range(COUNT)]

    def start() -> None:
        for span in spans:
            worker.started(span)

    assert visited(start) == 0
    assert visited(worker._drain) <= 4
    assert len(worker._assembler) == COUNT


def test_an_ended_span_costs_three_objects(worker: Worker) -> None:
    """An ended span costs three objects: one of ours, its context and its flags, before and after the hand-over."""
    root = started()
    worker.started(root)
    worker._drain()

    def work() -> None:
        for _ in range(COUNT):
            span = started(root)
            worker.started(span)
            span.end()
            worker.ended(span)

    assert visited(work) <= 3
    assert visited(worker._drain) <= 0
    assert worker._assembler.ended_spans == COUNT
