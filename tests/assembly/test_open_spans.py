"""Spans that stay open: their memory, the frequency of checks, and the end of their traces."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import Span, TracerProvider

from pandaprobe_otel.assembly import assembler as assembling
from pandaprobe_otel.assembly.assembler import Assembler
from pandaprobe_otel.assembly.timing import Timing
from pandaprobe_otel.assembly.trace_buffer import Stage, TraceBuffer, TraceSegment
from pandaprobe_otel.assembly.worker import Worker
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.mapping.sdk_span import fields_of
from spans import SpanMaker
from unshrunk import UNSHRUNK

TRACER = TracerProvider(shutdown_on_exit=False).get_tracer("t")


def an_assembler() -> Assembler:
    """Return an assembler as a span processor has it."""
    return Assembler(timing=Timing(), counts_starts=True, max_bytes=32 << 20)


def a_span() -> Span:
    """Start the root of a new trace."""
    span = TRACER.start_span("root")
    assert isinstance(span, Span)
    return span


def test_traces_go_out_when_they_are_due_however_looks_are_planned() -> None:
    """Each start or end moves the time at which its trace is due, forward or back."""
    assembler, maker = an_assembler(), SpanMaker()
    root = maker.start("root")
    assembler.started(root, 0.0)
    child = maker.start("child", root)
    assembler.started(child, 0.0)
    assert list(assembler.due(0.1)) == []
    assembler.ended(fields_of(maker.end(child)), 200.0)
    assert list(assembler.due(200.1)) == []
    assembler.ended(fields_of(maker.end(root)), 250.0)
    assert list(assembler.due(250.4)) == []
    (segment,) = assembler.due(250.5)
    assert segment.stage is Stage.WHOLE
    assert len(assembler) == 0


def test_traces_that_are_due_together_leave_in_the_order_in_which_they_began() -> None:
    """Traces that end between two looks are handed over as they came, not by their random ids."""
    assembler = an_assembler()
    spans = [a_span() for _ in range(20)]
    for span in spans:
        assembler.started(span, 0.0)
    for span in reversed(spans):
        span.end()
        assembler.ended(fields_of(span), 1.0)
    assert [segment.trace_id for segment in assembler.due(10.0)] == [span.context.trace_id for span in spans]


def test_who_lets_go_of_a_span_lets_us_let_go_of_it() -> None:
    """A span that the app drops without ending it is garbage-collected, and its trace is given up."""
    assembler = an_assembler()
    span = a_span()
    alive = weakref.ref(span)
    assembler.started(span, 0.0)
    del span
    gc.collect()
    assert alive() is None
    assert list(assembler.due(0.0)) == []
    assert list(assembler.due(300.0)) == []
    assert list(assembler.due(300.1)) == []
    assert len(assembler) == 0


def test_a_trace_names_the_spans_that_nobody_can_end() -> None:
    """A trace with a span that the app dropped goes out, and names that span as abandoned."""
    assembler, maker = an_assembler(), SpanMaker()
    root = maker.start("root")
    assembler.started(root, 0.0)
    assembler.started(maker.start("forgotten", root), 0.0)
    assembler.ended(fields_of(maker.end(root)), 1.0)
    gc.collect()
    assert list(assembler.due(1.5)) == []
    segments = [segment for at in (11.0, 11.1, 11.6) for segment in assembler.due(at)]
    (segment,) = segments
    assert (segment.stage, segment.open, segment.abandoned) == (Stage.WHOLE, (), ("forgotten",))


@pytest.mark.parametrize("by", ["time", "flush", "close"])
def test_a_trace_whose_root_nobody_can_end_is_complete(by: str) -> None:
    """A trace is complete soon after the app has dropped its root, at once when it is flushed, and not RUNNING."""
    assembler, maker = an_assembler(), SpanMaker()
    root = maker.start("forgotten")
    child = maker.start("child", root)
    for span in (root, child):
        assembler.started(span, 0.0)
    assembler.ended(fields_of(maker.end(child)), 1.0)
    assert list(assembler.due(1.5)) == []
    del root, child, span
    gc.collect()
    if by == "time":
        segments = [segment for at in (11.5, 11.6, 12.2) for segment in assembler.due(at)]
    else:
        assembler.look_for_dropped(2.0)
        segments = [*getattr(assembler, by)(2.0)]
    (segment,) = segments
    assert (segment.stage, segment.open, segment.abandoned) == (Stage.WHOLE, (), ("forgotten",))
    assert (len(assembler), assembler._open_spans) == (0, 0)


@pytest.mark.parametrize("together", [True, False], ids=["in one trace", "in as many traces"])
def test_too_many_open_spans_are_given_up_and_that_is_said(
    together: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Above the limit, open spans are given up with one log line; if such a span ends later, it is still sent."""
    monkeypatch.setattr(assembling, "MAX_OPEN_SPANS", 100)
    monkeypatch.setattr(assembling, "MAX_OPEN_TRACES", 60)
    segments: list[TraceSegment] = []
    made: list[Assembler] = []

    def assembler() -> Assembler:
        made.append(an_assembler())
        return made[-1]

    worker = Worker(assembler=assembler, deliver=segments.append, ledger=Ledger(), notices=Notices(lambda: 0.0))
    maker = SpanMaker()
    first = maker.start("first")
    worker.started(first)
    spans = [maker.start("more", first if together else None) for _ in range(1000)]
    for number, span in enumerate(spans):
        worker.started(span)
        if number % 50 == 0:
            worker._run_now(made[-1].due, 1e9)
    worker._run_now(made[-1].due, 1e9)
    assert made[-1]._open_spans <= 100
    assert len(made[-1]) <= 60
    assert len(made[-1]._looks) <= 1000 + 2 * 60
    assert sum("are no longer waited for" in record.message for record in caplog.records) == 1
    for span in [*spans[::100], first]:
        worker.ended(maker.end(span))
    worker.close(1e9)
    assert sum(len(segment.ended) for segment in segments) == 11


STEPS = ("root", "child", "child", "child", "end", "lose", "forget", "look")
MOST_SPANS, MOST_TRACES = 12, 5
STEP_S, POLLS = 7.0, 50


@settings(max_examples=10, phases=UNSHRUNK)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 99)), min_size=60, max_size=120))
def test_whatever_starts_and_never_ends_the_open_spans_are_counted_and_bounded(steps: list[tuple[str, int]]) -> None:
    """Spans start in old traces and new ones, end in any order, find no room, or are forgotten by the app.

    Polls look at traces that have changed, and at others once in a while.
    """
    looks: list[TraceBuffer] = []
    due_at = Assembler._due_at

    def counting(self: Assembler, buffer: TraceBuffer, now: float) -> float:
        looks.append(buffer)
        return due_at(self, buffer, now)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Assembler, "_due_at", counting)
        patched.setattr(assembling, "MAX_OPEN_SPANS", MOST_SPANS)
        patched.setattr(assembling, "MAX_OPEN_TRACES", MOST_TRACES)
        assembler, maker, held = an_assembler(), SpanMaker(), list[Span]()
        parent: Span | None = None
        for number, (step, which) in enumerate(steps):
            now = number * STEP_S
            if step in ("root", "child"):
                parent = held[which % len(held)] if step == "child" and held else None
                held.append(maker.start("span", parent))
                assembler.started(held[-1], now)
            elif step == "look":
                for poll in range(POLLS):
                    list(assembler.due(now + poll / 10))
                assert assembler._open_spans <= MOST_SPANS
                assert len(assembler) <= MOST_TRACES
            elif held:
                if step == "end":
                    assembler.ended(fields_of(maker.end(held[which % len(held)])), now)
                elif step == "lose":
                    context = held[which % len(held)].get_span_context()
                    assembler.lost(context.trace_id, context.span_id, now)
                del held[which % len(held)]
            assert assembler._open_spans == sum(len(buffer.open) for buffer in assembler._buffers.values())
        assert len(looks) <= len(steps) + MOST_TRACES * len(steps) * STEP_S / Timing().append_every_s
        parent = None
        held.clear()
        maker.exporter.clear()
        gc.collect()
        list(assembler.due(1e6))
        list(assembler.due(2e6))
        list(assembler.due(3e6))

    assert (len(assembler), assembler._open_spans, assembler.bytes) == (0, 0, 0)
