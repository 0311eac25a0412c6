"""Completion of traces in simulated time, and the hand-over of spans from the app's threads.

Only `Scene` and `a_worker` know the objects of the room.
"""

from __future__ import annotations

import gc
import itertools
import math
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.trace import SpanContext

from pandaprobe_otel.assembly import assembler as assembling
from pandaprobe_otel.assembly.assembler import Assembler, Stage, Timing, TraceBuffer, TraceSegment
from pandaprobe_otel.assembly.worker import Worker
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.mapping.sdk_span import EndedSpan, fields_of, span_of
from rings import UNSHRUNK
from spans import SpanMaker

MIB = 1 << 20


class Scene:
    """An assembler with real spans and a clock that the test sets."""

    def __init__(
        self,
        *,
        counts_starts: bool = True,
        max_bytes: int = 64 * MIB,
        awaits_root: bool = False,
        timing: Timing | None = None,
    ) -> None:
        self.maker = SpanMaker()
        self.assembler = Assembler(
            timing=timing or Timing(), counts_starts=counts_starts, max_bytes=max_bytes, awaits_root=awaits_root
        )

    def start(self, name: str, parent: Span | None = None, *, at: float = 0.0) -> Span:
        """Start a span."""
        span = self.maker.start(name, parent)
        self.assembler.started(span, at)
        return span

    def end(self, span: Span, *, at: float) -> None:
        """End a span."""
        self.assembler.ended(fields_of(self.maker.end(span)), at)

    def due(self, at: float) -> list[TraceSegment]:
        """Return the segments that are ready."""
        return list(self.assembler.due(at))


def names(spans: Sequence[EndedSpan | ReadableSpan]) -> list[str]:
    """Return the names of the spans."""
    return [(span_of(span) if isinstance(span, tuple) else span).name for span in spans]


def test_a_trace_is_whole_half_a_second_after_its_last_span() -> None:
    """A trace goes out once, when no span is open and none has followed for half a second."""
    scene = Scene()
    root = scene.start("root")
    scene.end(scene.start("child", root, at=1), at=2)
    scene.end(root, at=3)

    assert scene.due(3.4) == []
    (segment,) = scene.due(3.5)
    assert (segment.stage, names(segment.ended)) == (Stage.WHOLE, ["child", "root"])
    assert scene.due(100) == []


@pytest.mark.parametrize("children", [1, 600])
def test_the_end_of_a_root_may_still_be_in_the_queue(children: int) -> None:
    """A root that the app ended and forgot before the worker saw its end is neither given up nor sent without."""
    scene = Scene()
    root = scene.start("root")
    for _ in range(children):
        scene.end(scene.start("child", root), at=0)
    in_the_queue = fields_of(scene.maker.end(root))
    del root
    gc.collect()

    early = scene.due(0.1)
    scene.assembler.ended(in_the_queue, 0.2)
    segments = [*early, *scene.due(1)]
    assert [names(segment.ended)[-1] for segment in segments] == ["root"]
    assert [segment.abandoned for segment in segments] == [()]


def test_a_span_that_was_lost_is_waited_for_no_longer() -> None:
    """A trace goes out half a second after one of its spans was lost, not after ten seconds."""
    scene = Scene()
    root = scene.start("root")
    lost = scene.start("lost", root)
    scene.end(root, at=1)
    scene.assembler.lost(lost.context.trace_id, lost.context.span_id, 2)

    (segment,) = scene.due(2.5)
    assert (segment.stage, names(segment.ended)) == (Stage.WHOLE, ["root"])


def test_a_trace_of_many_spans_does_not_wait_in_memory() -> None:
    """500 ended spans are sent although the root is open."""
    scene = Scene()
    root = scene.start("root")
    for number in range(500):
        scene.end(scene.start(f"s{number}", root), at=1)

    (segment,) = scene.due(1.1)
    assert (segment.stage, len(segment.ended)) == (Stage.FIRST, 500)
    assert scene.assembler.ended_spans == 0


def test_a_process_that_calls_itself_has_one_trace_with_its_root() -> None:
    """A remote parent that is open in the same process does not make the trace remote."""
    scene = Scene()
    root = scene.start("root")
    context = root.get_span_context()
    entry = scene.maker.start_remote("handler", context.trace_id, context.span_id)
    scene.assembler.started(entry, 0)
    scene.end(entry, at=1)
    assert scene.due(30) == []
    scene.end(root, at=31)

    (segment,) = scene.due(32)
    assert not segment.memory.is_remote
    assert names(segment.ended) == ["handler", "root"]


def test_flush_takes_what_has_ended_and_leaves_what_is_open() -> None:
    """A flush sends the ended trace, and does not split the running one."""
    scene = Scene()
    done = scene.start("done")
    scene.end(done, at=1)
    running = scene.start("running", at=1)
    scene.end(scene.start("child", running, at=1), at=1)

    (segment,) = scene.assembler.flush(1)
    assert names(segment.ended) == ["done"]


def test_over_the_byte_bound_the_oldest_trace_goes_out_early() -> None:
    """Above the byte bound, the oldest trace is sent early, so that open traces cannot exhaust the memory."""
    scene = Scene(max_bytes=10_000)
    roots = [scene.start(f"root {number}") for number in range(3)]
    for root in roots:
        for number in range(2):
            scene.end(scene.start(f"child {number} of {root.name}", root), at=1)

    segments = scene.due(1.1)
    assert names(segments[0].ended)[0] == "child 0 of root 0"
    assert scene.assembler.ended_spans * 2000 <= 10_000


def test_in_a_burst_the_oldest_traces_settle_for_a_tenth_of_a_second_only() -> None:
    """If many traces end at once, the oldest are sent early to free memory; the others still wait for late spans."""
    scene = Scene()
    text = "x" * 100_000
    for number in range(15):
        root = scene.start(f"root {number}", at=number / 100)
        root.set_attribute("input.value", text)
        scene.end(root, at=number / 100)

    assert scene.due(0.09) == []
    early = scene.due(0.2)
    assert [names(segment.ended) for segment in early] == [[f"root {number}"] for number in range(5)]
    assert not scene.assembler.has_much
    assert len(scene.due(0.64)) == 10


def test_a_gateway_waits_for_the_root_of_another_service() -> None:
    """A gateway waits a minute for another service's root, then sends the spans as remote; a later root is local."""
    scene = Scene(counts_starts=False, awaits_root=True)
    span = scene.maker.start_remote("search", 7, 8)
    scene.end(span, at=0)
    assert scene.due(59) == []
    (left,) = scene.due(60)
    assert left.memory.is_remote
    left.memory.posted = True  # the encoder sets this

    root = scene.maker.start("root")
    assert root.context is not None
    scene.assembler.ended(fields_of(in_trace(scene.maker.end(root), 7)), 70)
    (segment,) = scene.due(75)
    assert (segment.stage, segment.memory.is_remote, names(segment.ended)) == (Stage.WHOLE, False, ["root"])


def test_without_a_gateway_the_root_of_another_service_is_not_waited_for() -> None:
    """Without a gateway, a span of another service's trace is sent as remote after five seconds."""
    scene = Scene(counts_starts=False)
    scene.end(scene.maker.start_remote("search", 7, 8), at=0)
    assert [segment.memory.is_remote for segment in scene.due(5)] == [True]


def in_trace(span: ReadableSpan, trace_id: int) -> ReadableSpan:
    """Return the same span in a trace with this id."""
    assert span.context is not None
    context = SpanContext(trace_id, span.context.span_id, False, span.context.trace_flags)
    return ReadableSpan(span.name, context=context, start_time=span.start_time, end_time=span.end_time)


# -- spans that stay open or are forgotten -----------------------------------------------------------------------------


@pytest.mark.parametrize("dropped", ["child", "root"])
@pytest.mark.parametrize("by", ["time", "flush", "close"])
def test_a_trace_names_the_spans_that_nobody_can_end(dropped: str, by: str) -> None:
    """A trace with a span that the app dropped is complete soon after, at once when it is flushed, and not RUNNING."""
    scene = Scene()
    root = scene.start("root")
    spans = {"root": root, "child": scene.start("child", root)}
    forgotten = weakref.ref(spans.pop(dropped))
    (kept,) = spans.values()
    scene.end(kept, at=1)
    assert scene.due(1.5) == []
    del root, kept
    spans.clear()
    gc.collect()
    assert forgotten() is None
    if by == "time":
        segments = [segment for at in (11.5, 11.6, 12.2) for segment in scene.due(at)]
    else:
        scene.assembler.look_for_dropped(2.0)
        segments = [*getattr(scene.assembler, by)(2.0)]
    (segment,) = segments
    assert (segment.stage, segment.open, segment.abandoned) == (Stage.WHOLE, (), (dropped,))
    assert len(scene.assembler) == 0


@pytest.mark.parametrize("together", [True, False], ids=["in one trace", "in as many traces"])
def test_too_many_open_spans_are_given_up(
    together: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Above the limit, open spans are given up with one log line; if such a span ends later, it is still sent."""
    monkeypatch.setattr(assembling, "MAX_OPEN_SPANS", 100)
    monkeypatch.setattr(assembling, "MAX_OPEN_TRACES", 60)
    segments: list[TraceSegment] = []
    worker = a_worker(segments, timing=Timing())
    assembler = worker._assembler
    maker = SpanMaker()
    first = maker.start("first")
    worker.started(first)
    spans = [maker.start("more", first if together else None) for _ in range(1000)]
    for number, span in enumerate(spans):
        worker.started(span)
        if number % 50 == 0:
            worker._run_now(assembler.due, 1e9)
    worker._run_now(assembler.due, 1e9)
    assert assembler._open_spans <= 100
    assert len(assembler) <= 60
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
        scene, held = Scene(), list[Span]()
        assembler = scene.assembler
        parent: Span | None = None
        for number, (step, which) in enumerate(steps):
            now = number * STEP_S
            if step in ("root", "child"):
                parent = held[which % len(held)] if step == "child" and held else None
                held.append(scene.start("span", parent, at=now))
            elif step == "look":
                for poll in range(POLLS):
                    list(assembler.due(now + poll / 10))
                assert assembler._open_spans <= MOST_SPANS
                assert len(assembler) <= MOST_TRACES
            elif held:
                if step == "end":
                    scene.end(held[which % len(held)], at=now)
                elif step == "lose":
                    context = held[which % len(held)].get_span_context()
                    assembler.lost(context.trace_id, context.span_id, now)
                del held[which % len(held)]
            assert assembler._open_spans == sum(len(buffer.open) for buffer in assembler._buffers.values())
        assert len(looks) <= len(steps) + MOST_TRACES * len(steps) * STEP_S / Timing().append_every_s
        parent = None
        held.clear()
        scene.maker.exporter.clear()
        gc.collect()
        for at in (1e6, 2e6, 3e6):
            scene.due(at)

    assert (len(assembler), assembler._open_spans, assembler.bytes) == (0, 0, 0)


# -- log records of spans ----------------------------------------------------------------------------------------------

BOUND = 8 * MIB


class Record:
    """The fields of a log record that the worker reads."""

    def __init__(self, span: Span, text: str) -> None:
        context = span.get_span_context()
        self.body, self.attributes = {"message": {"parts": [{"content": text}]}}, dict[str, Any]()
        self.trace_id, self.span_id = context.trace_id, context.span_id


def test_records_that_wait_for_the_worker_are_bounded_in_bytes() -> None:
    """The worker takes large records, however nested, up to its byte bound."""
    segments: list[TraceSegment] = []
    worker, maker = a_worker(segments), SpanMaker()
    root = maker.start("root")
    worker.is_started = True  # so that nothing is taken meanwhile
    worker.started(root)
    for _ in range(1000):
        worker.logged(Record(root, "x" * MIB))
    worker.ended(maker.end(root))
    worker.flush(math.inf)
    (segment,) = segments
    assert 8 <= len(segment.logs) < 100


def test_records_of_a_span_that_stays_open_are_bounded_in_bytes(caplog: pytest.LogCaptureFixture) -> None:
    """Records of an open span use at most half of the byte bound, and one line reports the loss."""
    segments: list[TraceSegment] = []
    maker = SpanMaker()
    worker = a_worker(segments, max_bytes=BOUND)
    root = maker.start("root")
    worker.started(root)
    for number in range(20):
        child = maker.start(f"step {number}", root)
        worker.started(child)
        worker.logged(Record(root, "x" * MIB))
        worker.ended(maker.end(child))
        worker.flush(60.0 * number)
    worker.ended(maker.end(root))
    worker.close(float("inf"))

    logs = [record for segment in segments for record in segment.logs]
    assert BOUND // MIB // 2 <= len(logs) <= BOUND // MIB // 2 + 1
    assert sum("left out" in record.message for record in caplog.records) == 1


def test_records_that_went_out_make_room_for_others() -> None:
    """Records that were sent do not count towards the bound."""
    scene = Scene(max_bytes=BOUND)
    for number in range(20):
        span = scene.start(f"root {number}", at=number)
        assert scene.assembler.logged(Record(span, "x" * MIB))
        scene.end(span, at=number)
        (segment,) = scene.due(number + 0.9)
        assert len(segment.logs) == 1


# -- the hand-over -----------------------------------------------------------------------------------------------------


def a_worker(segments: list[TraceSegment], *, timing: Timing | None = None, max_bytes: int = 1 << 30) -> Worker:
    """Return a worker that hands over segments only when flushed, or after these times."""
    return Worker(
        assembler=lambda: Assembler(
            timing=timing or Timing(settle_s=math.inf), counts_starts=True, max_bytes=max_bytes
        ),
        deliver=segments.append,
        ledger=Ledger(),
        notices=Notices(lambda: 0.0),
    )


def test_an_interrupt_leaves_the_other_spans_for_the_next_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the app's thread passes spans on loses at most one span: the next round delivers the others."""
    segments: list[TraceSegment] = []
    worker, maker = a_worker(segments), SpanMaker()
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

    assert [names(segment.ended) for segment in segments] == [["second", "root"]]


class Calling(ReadableSpan):
    """A span that calls a function when the worker reads it again after its hand-over."""

    def __init__(self, name: str, context: SpanContext | None, function: Callable[[], None]) -> None:
        super().__init__(name, context)
        self._looks = 0
        self._function = function

    @property
    def context(self) -> SpanContext | None:
        self._looks += 1
        if self._looks == 2:
            self._function()
        context: SpanContext | None = super().context
        return context


def test_a_root_that_ends_while_the_worker_looks_waits_for_its_children() -> None:
    """A root that ends during a check waits for a child that started during that check."""
    segments: list[TraceSegment] = []
    worker, maker = a_worker(segments), SpanMaker()
    root = maker.start("root")

    def first_look() -> None:  # the next check sees all spans that start now
        worker.started(Calling("other", maker.start("other").context, second_look))
        worker.started(root)

    def second_look() -> None:
        child = maker.start("child", root)
        worker.started(child)
        worker.ended(maker.end(child))
        worker.ended(maker.end(root))

    worker.started(Calling("first", maker.start("first").context, first_look))
    for _ in range(3):
        worker.flush(math.inf)
    worker.close(math.inf)

    assert [names(segment.ended) for segment in segments] == [["child", "root"]]


@pytest.mark.parametrize("moment", [1, 2])
def test_a_root_that_ends_while_its_trace_is_flushed_is_not_dropped(
    moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app's thread ends the root and drops it between two steps of a flush: it is part of its trace."""
    segments: list[TraceSegment] = []
    worker, maker = a_worker(segments), SpanMaker()
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
    assert [sorted(names(segment.ended)) for segment in segments] == [["child", "root"]]
