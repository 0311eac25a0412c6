"""Objects of this library that the app's garbage collector has to visit, for traces of any shape."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import Span, TracerProvider

from pandaprobe_otel.assembly.assembler import Assembler
from pandaprobe_otel.assembly.encoder import SegmentEncoder
from pandaprobe_otel.assembly.span_filter import SpanFilter
from pandaprobe_otel.assembly.timing import Timing
from pandaprobe_otel.assembly.trace_buffer import TraceSegment
from pandaprobe_otel.assembly.worker import Worker
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.mapping import MappingOptions
from spans import CHAT
from unshrunk import UNSHRUNK

TRACES = 30
OF_A_TRACE, OF_A_SPAN, OF_AN_EVENT = 4, 4, 4
"""The most objects for each of them while its trace is assembled.

A trace: its buffer, its memory, the dict of its open spans, and a reference to its root. A span: its fields, context,
flags, and attributes (some Pythons visit dicts of plain values). An event or a link: itself and its attributes.
"""
OF_A_QUEUED_TRACE = 7
"""The most objects for a trace that waits to be sent, and for the memory of it."""
TRACER = TracerProvider(shutdown_on_exit=False).get_tracer("t")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A span, by the numbers of what is in it."""

    texts: int
    lists: int
    events: int
    links: int

    @property
    def most(self) -> int:
        """Bound on the objects for such a span once it has ended."""
        return OF_A_SPAN + sum(1 + OF_AN_EVENT * count for count in (self.events, self.links) if count)

    def start(self, parent: Span | None = None) -> Span:
        """Start such a span."""
        context = trace.set_span_in_context(trace.INVALID_SPAN if parent is None else parent)
        attributes: Mapping[str, str | list[str]] = {
            **CHAT,
            **{f"text {number}": "text" for number in range(self.texts)},
            **{f"list {number}": ["a", "b"] for number in range(self.lists)},
        }
        links = [trace.Link(trace.SpanContext(1, 2, is_remote=True), {"a": 1}) for _ in range(self.links)]
        span = TRACER.start_span("span", context, attributes=attributes, links=links)
        assert isinstance(span, Span)
        for _ in range(self.events):
            span.add_event("event", {"a": "b"})
        return span


class Pipeline:
    """A worker whose thread never runs, and the outbox behind it."""

    def __init__(self) -> None:
        encoder = SegmentEncoder(
            span_filter=SpanFilter("all"), options=MappingOptions(), ledger=Ledger(), sample_rate=1.0
        )
        outbox = Outbox(1 << 30)

        def deliver(segment: TraceSegment) -> None:
            for request in encoder.encode(segment):
                outbox.put(request, 0.0)

        self.outbox = outbox
        self.worker = Worker(
            assembler=lambda: Assembler(timing=Timing(), counts_starts=True, max_bytes=1 << 30),
            deliver=deliver,
            ledger=Ledger(),
            notices=Notices(lambda: 0.0),
        )
        self.worker.is_started = True

    def end(self, *spans: Span) -> None:
        """End spans that have started."""
        for span in spans:
            span.end()
            self.worker.ended(span)

    def start(self, *spans: Span) -> None:
        """Tell of spans that have started."""
        for span in spans:
            self.worker.started(span)


@contextmanager
def only_new_objects() -> Iterator[None]:
    """Leave existing objects out of all counts, so that a collection takes no time.

    What other tests froze stays frozen: later collections would take seconds.
    """
    gc.collect()
    had_frozen = gc.get_freeze_count() > 0
    gc.freeze()
    try:
        yield
    finally:
        if not had_frozen:
            gc.unfreeze()


def visited() -> int:
    """Return the number of objects that the collector visits."""
    gc.collect()
    return len(gc.get_objects())


shapes = st.builds(
    Shape, texts=st.integers(0, 40), lists=st.integers(0, 5), events=st.integers(0, 6), links=st.integers(0, 4)
)


def begun(root: Shape, children: list[Shape]) -> list[Span]:
    """Start a trace of the app's."""
    spans = [root.start()]
    return spans + [child.start(spans[0]) for child in children]


@settings(max_examples=8, phases=UNSHRUNK)
@given(root=shapes, children=st.lists(shapes, max_size=8))
def test_a_trace_costs_few_objects_whatever_is_in_it(root: Shape, children: list[Shape]) -> None:
    """Open spans are the app's, ended ones cost a few objects each, and a trace that waits to be sent costs seven."""
    pipeline = Pipeline()
    first = begun(root, children)
    pipeline.start(*first)
    pipeline.end(*first)
    pipeline.worker._run_now(pipeline.worker._assembler.flush, math.inf)  # whatever is made once is there now
    with only_new_objects():
        traces = [begun(root, children) for _ in range(TRACES)]
        before = visited()
        for spans in traces:
            pipeline.start(*spans)
        untaken = visited() - before
        pipeline.worker._drain()
        started = visited() - before
        for spans in traces:
            pipeline.end(*spans[1:], spans[0])
        traces.clear()
        del spans
        ended = visited()
        pipeline.worker._drain()
        drained = visited()
        pipeline.worker._run_now(pipeline.worker._assembler.flush, math.inf)
        queued = visited()

    assert len(pipeline.outbox) == 1 + TRACES
    assert untaken < TRACES  # less than one for each trace: other threads may make some
    assert started <= (OF_A_TRACE + len(children)) * TRACES + 50
    of_spans = sum(shape.most for shape in (root, *children))
    assert ended <= (OF_A_TRACE + len(children) + of_spans) * TRACES + 50
    assert drained <= (OF_A_TRACE + of_spans) * TRACES + 50
    assert queued <= OF_A_QUEUED_TRACE * TRACES + 50
