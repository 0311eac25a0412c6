"""The hand-over from the app's threads to the worker, whose thread does nothing between the test's calls."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from pandaprobe_otel.assembly.assembler import Assembler
from pandaprobe_otel.assembly.timing import Timing
from pandaprobe_otel.assembly.trace_buffer import TraceSegment
from pandaprobe_otel.assembly.worker import Worker
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.mapping.sdk_span import EndedSpan, span_of
from spans import SpanMaker
from waiting import wait_until

PATIENT = Timing(settle_s=math.inf)


def worker_with(segments: list[TraceSegment], ledger: Ledger | None = None) -> Worker:
    """Return a worker that hands over segments only when flushed."""
    return Worker(
        assembler=lambda: Assembler(timing=PATIENT, counts_starts=True, max_bytes=1 << 30),
        deliver=segments.append,
        ledger=ledger or Ledger(),
        notices=Notices(lambda: 0.0),
    )


def test_an_interrupt_leaves_the_other_spans_for_the_next_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the app's thread passes spans on loses at most one span: the next round delivers the others."""
    segments: list[TraceSegment] = []
    worker, maker = worker_with(segments), SpanMaker()
    root = maker.start("root")
    ended = [maker.end(maker.start("first", root)), maker.end(maker.start("second", root)), maker.end(root)]

    def interrupted(_self: Assembler, _span: EndedSpan, _now: float) -> int:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(Assembler, "ended", interrupted)
    with pytest.raises(KeyboardInterrupt):
        worker.receive(ended, time.monotonic() + 5)
    worker.flush(math.inf)
    worker.close(math.inf)

    assert [[span_of(span).name for span in segment.ended] for segment in segments] == [["second", "root"]]


def test_a_trace_is_not_complete_while_its_root_is_open() -> None:
    """A trace waits for its open root, whether or not the worker has seen the root's start."""
    segments: list[TraceSegment] = []
    worker, maker = worker_with(segments), SpanMaker()
    root = maker.start("root")
    worker.started(root)
    first = maker.start("first", root)
    worker.started(first)
    worker.ended(maker.end(first))
    worker.flush(math.inf)
    second = maker.start("second", root)
    worker.started(second)
    worker.ended(maker.end(second))
    worker.flush(math.inf)
    before = list(segments)
    worker.ended(maker.end(root))
    worker.flush(math.inf)
    worker.close(math.inf)

    assert before == []
    assert [[span_of(span).name for span in segment.ended] for segment in segments] == [["first", "second", "root"]]


@pytest.mark.parametrize("is_open", [False, True], ids=["its end", "nothing"])
def test_a_trace_that_waits_is_looked_at_a_few_times_only(is_open: bool) -> None:
    """While a trace waits, the worker checks it at most five times, since each check costs the idle app 0.1 ms."""
    looks: list[float] = []

    class Counted(Assembler):
        def due(self, now: float) -> Iterator[TraceSegment]:
            looks.append(now)
            return super().due(now)

    segments: list[TraceSegment] = []
    worker = Worker(
        assembler=lambda: Counted(timing=Timing(), counts_starts=True, max_bytes=1 << 30),
        deliver=segments.append,
        ledger=Ledger(),
        notices=Notices(lambda: 0.0),
    )
    maker = SpanMaker()
    root = maker.start("root")
    worker.started(root)
    if is_open:
        time.sleep(0.8)
    else:
        worker.ended(maker.end(root))
        wait_until(lambda: len(segments) == 1)
    worker.close(math.inf)

    assert 1 <= len(looks) <= 5
    assert len(segments) == int(not is_open)


def test_spans_with_equal_span_ids_in_different_traces_are_kept_apart() -> None:
    """Spans of different traces with equal span ids are kept apart, since id generators may restart with each trace."""
    segments: list[TraceSegment] = []
    worker, maker = worker_with(segments), SpanMaker()
    spans = [maker.start(name) for name in ("a", "b")]
    first = spans[0].context
    assert first is not None
    spans[1]._context = type(first)(first.trace_id + 1, first.span_id, is_remote=False, trace_flags=first.trace_flags)
    for span in spans:
        worker.started(span)
    for span in spans:
        worker.ended(maker.end(span))
    worker.flush(math.inf)
    worker.close(math.inf)

    assert sorted(span_of(span).name for segment in segments for span in segment.ended) == ["a", "b"]


def test_an_unsampled_recorded_span_is_neither_sent_nor_counted() -> None:
    """A span that a sampler records but does not sample is neither sent nor counted, as OpenTelemetry specifies."""

    class RecordOnly(Sampler):
        def should_sample(self, *args: object, **kwargs: object) -> SamplingResult:
            return SamplingResult(Decision.RECORD_ONLY)

        def get_description(self) -> str:
            return "record only"

    segments: list[TraceSegment] = []
    ledger = Ledger()
    worker = worker_with(segments, ledger)
    span = TracerProvider(sampler=RecordOnly(), shutdown_on_exit=False).get_tracer("t").start_span("s")
    assert isinstance(span, Span)
    worker.started(span)
    span.end()
    worker.ended(span)
    worker.flush(math.inf)
    worker.close(math.inf)

    assert segments == []
    assert ledger.read().ended == 0


class Telling(ReadableSpan):
    """A span that calls a function when the worker reads it again after its hand-over."""

    def __init__(self, name: str, context: SpanContext | None, tell: Callable[[], None]) -> None:
        super().__init__(name, context)
        self._looks = 0
        self._tell = tell

    @property
    def context(self) -> SpanContext | None:
        self._looks += 1
        if self._looks == 2:
            self._tell()
        context: SpanContext | None = super().context
        return context


def test_a_root_that_ends_while_the_worker_looks_waits_for_its_children() -> None:
    """A root that ends during a check waits for a child that started during that check."""
    segments: list[TraceSegment] = []
    worker, maker = worker_with(segments), SpanMaker()
    root = maker.start("root")

    def first_look() -> None:  # the next check sees all spans that start now
        worker.started(Telling("other", maker.start("other").context, second_look))
        worker.started(root)

    def second_look() -> None:
        child = maker.start("child", root)
        worker.started(child)
        worker.ended(maker.end(child))
        worker.ended(maker.end(root))

    worker.started(Telling("first", maker.start("first").context, first_look))
    for _ in range(3):
        worker.flush(math.inf)
    worker.close(math.inf)

    assert [[span_of(span).name for span in segment.ended] for segment in segments] == [["child", "root"]]


def test_many_threads_lose_no_span() -> None:
    """Spans of many threads that start and end during flushes are all sent, in their traces."""
    segments: list[TraceSegment] = []
    ledger = Ledger()
    worker = worker_with(segments, ledger)

    def emit() -> None:
        maker = SpanMaker()
        for _ in range(300):
            root = maker.start("root")
            worker.started(root)
            child = maker.start("child", root)
            worker.started(child)
            worker.ended(maker.end(child))
            worker.ended(maker.end(root))
            maker.exporter.clear()

    threads = [threading.Thread(target=emit) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        worker.flush(math.inf)
    worker.close(math.inf)

    assert ledger.read().ended == 2400
    assert [sorted(span_of(span).name for span in segment.ended) for segment in segments] == [["child", "root"]] * 1200


@pytest.mark.parametrize("moment", [1, 2])
def test_a_root_that_ends_while_its_trace_is_flushed_is_not_dropped(
    moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app's thread ends the root and drops it between two steps of a flush: it is part of its trace."""
    segments: list[TraceSegment] = []
    worker, maker = worker_with(segments), SpanMaker()
    roots = [maker.start("root")]
    child = maker.start("child", roots[0])
    worker.started(roots[0])
    worker.started(child)
    worker.ended(maker.end(child))
    del child
    drain, steps = worker._drain, itertools.count(1)

    def drain_and_end() -> None:
        drain()
        if next(steps) == moment:
            worker.ended(maker.end(roots.pop()))
            maker.exporter.clear()

    monkeypatch.setattr(worker, "_drain", drain_and_end)
    worker.flush(math.inf)
    worker.flush(math.inf)

    assert roots == []
    assert [sorted(span_of(span).name for span in segment.ended) for segment in segments] == [["child", "root"]]


def test_close_reports_late_spans_not_their_size() -> None:
    """A late span with much text takes many places of the queue, but `close` reports it as one span."""
    is_busy, over = threading.Event(), threading.Event()
    segments: list[TraceSegment] = []

    def deliver(segment: TraceSegment) -> None:
        segments.append(segment)
        is_busy.set()
        over.wait(60)

    worker = Worker(
        assembler=lambda: Assembler(timing=PATIENT, counts_starts=True, max_bytes=1 << 30),
        deliver=deliver,
        ledger=Ledger(),
        notices=Notices(lambda: 0.0),
    )
    maker = SpanMaker()
    first = maker.start("first")
    worker.started(first)
    worker.ended(maker.end(first))
    flushing = threading.Thread(target=worker.flush, args=(math.inf,))
    flushing.start()
    assert is_busy.wait(60)
    late = maker.start("late")
    late.set_attribute("text", "x" * 1_000_000)
    worker.started(late)
    worker.ended(maker.end(late))
    reported = worker.close(0.0)
    over.set()
    flushing.join()

    assert reported - len(segments) <= 1


class VendorContext:
    """A span context of another vendor's class, which is not a tuple."""

    def __init__(self, trace_id: int, span_id: int, *, is_remote: bool) -> None:
        self.trace_id, self.span_id, self.is_remote = trace_id, span_id, is_remote
        self.trace_flags, self.trace_state, self.is_valid = TraceFlags(TraceFlags.SAMPLED), TraceState(), True


@pytest.mark.parametrize("attributes", [None, {"a": "b"}], ids=["bare", "with attributes"])
def test_contexts_of_another_vendors_class_are_read(attributes: dict[str, str] | None) -> None:
    """Span contexts of another vendor's class, which are not tuples as the SDK's are, are read too."""
    segments: list[TraceSegment] = []
    worker = worker_with(segments)
    context: Any = VendorContext(7, 8, is_remote=False)
    parent: Any = VendorContext(7, 9, is_remote=True)
    span = ReadableSpan("foreign", context, parent, attributes=attributes)
    worker.started(span)
    worker.ended(span)
    worker.flush(math.inf)
    worker.close(math.inf)

    assert [[span_of(span).name for span in segment.ended] for segment in segments] == [["foreign"]]
    assert [segment.is_remote for segment in segments] == [True]
