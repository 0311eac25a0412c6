"""Completion of traces, in simulated time with real spans."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.trace import SpanContext

from pandaprobe_otel.assembly.assembler import Assembler
from pandaprobe_otel.assembly.timing import Timing
from pandaprobe_otel.assembly.trace_buffer import Stage, TraceSegment
from pandaprobe_otel.mapping.sdk_span import EndedSpan, fields_of, span_of
from spans import SpanMaker


class Scene:
    """An assembler with real spans and a clock that the test sets."""

    def __init__(self, *, counts_starts: bool = True, max_bytes: int = 1 << 26, awaits_root: bool = False) -> None:
        self.maker = SpanMaker()
        self.assembler = Assembler(
            timing=Timing(), counts_starts=counts_starts, max_bytes=max_bytes, awaits_root=awaits_root
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


def test_a_span_that_starts_while_settling_belongs_to_the_trace() -> None:
    """A trace waits for a child that starts just after the root's end."""
    scene = Scene()
    root = scene.start("root")
    scene.end(root, at=1)
    late = scene.start("late", root, at=1.3)

    assert scene.due(2) == []
    scene.end(late, at=3)
    (segment,) = scene.due(3.6)
    assert names(segment.ended) == ["root", "late"]


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


def test_children_that_stay_open_are_waited_for_ten_seconds_and_follow_later() -> None:
    """A trace waits ten seconds for a child that stays open, and the child follows in a later segment."""
    scene = Scene()
    root = scene.start("root")
    stream = scene.start("stream", root)
    scene.end(root, at=1)

    assert scene.due(10.9) == []
    (first,) = scene.due(11)
    assert (first.stage, names(first.ended)) == (Stage.WHOLE, ["root"])
    first.memory.posted = True
    scene.end(stream, at=60)
    (second,) = scene.due(60.5)
    assert (second.stage, names(second.ended)) == (Stage.MORE, ["stream"])


def test_a_root_that_does_not_end_is_shown_as_running_and_finished_later() -> None:
    """A trace with an open root is sent as running after five minutes, updated, and completed at the root's end."""
    scene = Scene()
    root = scene.start("root")
    scene.end(scene.start("step 1", root), at=10)

    assert scene.due(299) == []
    (first,) = scene.due(300)
    assert (first.stage, names(first.ended), names(first.open)) == (Stage.FIRST, ["step 1"], ["root"])
    first.memory.posted = first.memory.running = True
    scene.end(scene.start("step 2", root, at=310), at=311)
    assert scene.due(329) == []
    (more,) = scene.due(330)
    assert (more.stage, names(more.ended)) == (Stage.MORE, ["step 2"])
    scene.end(root, at=400)
    (last,) = scene.due(400.5)
    assert (last.stage, names(last.ended)) == (Stage.LAST, ["root"])


def test_a_trace_of_many_spans_does_not_wait_in_memory() -> None:
    """500 ended spans are sent although the root is open."""
    scene = Scene()
    root = scene.start("root")
    for number in range(500):
        scene.end(scene.start(f"s{number}", root), at=1)

    (segment,) = scene.due(1.1)
    assert (segment.stage, len(segment.ended)) == (Stage.FIRST, 500)
    assert scene.assembler.ended_spans == 0


def test_a_span_that_comes_after_the_trace_was_sent_follows_it() -> None:
    """The assembler remembers a posted trace, so a late span is appended instead of posted as a new trace."""
    scene = Scene()
    root = scene.start("root")
    scene.end(root, at=1)
    (segment,) = scene.due(2)
    segment.memory.posted = True
    scene.end(scene.start("late", root, at=50), at=51)

    (late,) = scene.due(52)
    assert (late.stage, names(late.ended)) == (Stage.MORE, ["late"])


def test_a_trace_whose_root_is_elsewhere_is_remote() -> None:
    """A span whose parent is in another process is a local root, and this process does not post its trace."""
    scene = Scene()
    entry = scene.maker.start_remote("handler")
    scene.assembler.started(entry, 0)
    scene.end(scene.start("child", entry), at=1)
    scene.end(entry, at=2)

    (segment,) = scene.due(3)
    assert segment.is_remote
    assert names(segment.ended) == ["child", "handler"]


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
    assert not segment.is_remote
    assert names(segment.ended) == ["handler", "root"]


def test_without_starts_a_root_and_five_quiet_seconds_complete_a_trace() -> None:
    """An exporter sees only ends: a trace is complete five seconds after its root's end."""
    scene = Scene(counts_starts=False)
    root = scene.maker.start("root")
    child = scene.maker.start("child", root)
    scene.end(child, at=1)
    scene.end(root, at=2)

    assert scene.due(6.9) == []
    (segment,) = scene.due(7)
    assert (segment.stage, names(segment.ended)) == (Stage.WHOLE, ["child", "root"])


def test_without_starts_and_root_spans_go_out_after_a_minute() -> None:
    """An exporter waits a minute for a root, then sends its children without it."""
    scene = Scene(counts_starts=False)
    root = scene.maker.start("root")
    scene.end(scene.maker.start("child", root), at=1)

    assert scene.due(60.9) == []
    (segment,) = scene.due(61)
    assert names(segment.ended) == ["child"]


def test_flush_takes_what_has_ended_and_leaves_what_is_open() -> None:
    """A flush sends the ended trace, and does not split the running one."""
    scene = Scene()
    done = scene.start("done")
    scene.end(done, at=1)
    running = scene.start("running", at=1)
    scene.end(scene.start("child", running, at=1), at=1)

    (segment,) = scene.assembler.flush(1)
    assert names(segment.ended) == ["done"]


def test_close_takes_everything_and_marks_open_roots_as_running() -> None:
    """Closing the assembler sends every ended span, and open roots as running."""
    scene = Scene()
    root = scene.start("root")
    scene.end(scene.start("child", root), at=1)

    (segment,) = scene.assembler.close(1)
    assert (segment.stage, names(segment.ended), names(segment.open)) == (Stage.FIRST, ["child"], ["root"])


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
    assert left.is_remote
    left.memory.posted = True  # the encoder sets this

    root = scene.maker.start("root")
    assert root.context is not None
    scene.assembler.ended(fields_of(in_trace(scene.maker.end(root), 7)), 70)
    (segment,) = scene.due(75)
    assert (segment.stage, segment.is_remote, names(segment.ended)) == (Stage.WHOLE, False, ["root"])


def test_without_a_gateway_the_root_of_another_service_is_not_waited_for() -> None:
    """Without a gateway, a span of another service's trace is sent as remote after five seconds."""
    scene = Scene(counts_starts=False)
    scene.end(scene.maker.start_remote("search", 7, 8), at=0)
    assert [segment.is_remote for segment in scene.due(5)] == [True]


def in_trace(span: ReadableSpan, trace_id: int) -> ReadableSpan:
    """Return the same span in a trace with this id."""
    assert span.context is not None
    context = SpanContext(trace_id, span.context.span_id, False, span.context.trace_flags)
    return ReadableSpan(span.name, context=context, start_time=span.start_time, end_time=span.end_time)
