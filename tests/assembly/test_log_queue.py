"""Log records between the app's threads and the worker, and while they wait for their spans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.sdk.trace import Span

from pandaprobe_otel.assembly.assembler import Assembler
from pandaprobe_otel.assembly.log_queue import MAX_BYTES, LogQueue
from pandaprobe_otel.assembly.timing import Timing
from pandaprobe_otel.assembly.trace_buffer import TraceSegment
from pandaprobe_otel.assembly.worker import Worker
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.mapping.sdk_span import fields_of
from spans import SpanMaker

MIB = 1 << 20
BOUND = 8 * MIB


@dataclass(frozen=True, kw_only=True)
class Record:
    """The fields of a log record that the worker reads."""

    body: Any = None
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])
    trace_id: int = 0
    span_id: int = 0


def within(span: Span, text: str) -> Record:
    """Return a record that was emitted within a span."""
    context = span.get_span_context()
    return Record(body={"content": text}, trace_id=context.trace_id, span_id=context.span_id)


def test_records_come_out_as_they_went_in() -> None:
    """Small and large records leave the queue in their order."""
    queue = LogQueue()
    records = [Record(body="x" * size) for size in (0, 10_000, 5, 3_000_000, 1)]
    for record in records:
        queue.put(record)

    assert list(queue.take(len(queue))) == records
    assert len(queue) == queue.take_refused() == 0


@pytest.mark.parametrize(
    "large",
    [
        Record(body="x" * MIB),
        Record(body={"message": {"parts": [{"content": "x" * MIB}]}}),
        Record(attributes={"gen_ai.input.messages": ({"parts": [{"content": "x" * MIB}]},)}),
    ],
    ids=["text", "event", "attribute"],
)
def test_the_queue_is_bounded_in_bytes(large: Record) -> None:
    """The queue takes large records, however nested, up to its byte bound, and counts the refused ones."""
    queue = LogQueue()
    for _ in range(1000):
        queue.put(large)

    held = len(list(queue.take(len(queue))))
    assert MAX_BYTES // MIB - 2 <= held <= MAX_BYTES // MIB
    assert queue.take_refused() == 1000 - held


def test_one_record_beyond_the_bound_is_refused_and_harms_no_other() -> None:
    """A record larger than the bound is refused, and the others stay."""
    queue = LogQueue()
    small = Record(body="small")
    queue.put(small)
    queue.put(Record(body="x" * (MAX_BYTES + 1)))

    assert list(queue.take(len(queue))) == [small]
    assert queue.take_refused() == 1


def test_records_of_a_span_that_stays_open_are_bounded_in_bytes(caplog: pytest.LogCaptureFixture) -> None:
    """Records of an open span use at most half of the byte bound, and one line reports the loss."""
    segments: list[TraceSegment] = []
    maker = SpanMaker()
    worker = Worker(
        assembler=lambda: Assembler(timing=Timing(), counts_starts=True, max_bytes=BOUND),
        deliver=segments.append,
        ledger=Ledger(),
        notices=Notices(lambda: 0.0),
    )
    root = maker.start("root")
    worker.started(root)
    for number in range(20):
        child = maker.start(f"step {number}", root)
        worker.started(child)
        worker.logged(within(root, "x" * MIB))
        worker.ended(maker.end(child))
        worker.flush(60.0 * number)
    worker.ended(maker.end(root))
    worker.close(float("inf"))

    logs = [record for segment in segments for record in segment.logs]
    assert BOUND // MIB // 2 <= len(logs) <= BOUND // MIB // 2 + 1
    assert sum("left out" in record.message for record in caplog.records) == 1


def test_records_that_went_out_make_room_for_others() -> None:
    """Records that were sent do not count towards the bound."""
    maker = SpanMaker()
    assembler = Assembler(timing=Timing(), counts_starts=True, max_bytes=BOUND)
    for number in range(20):
        span = maker.start(f"root {number}")
        assembler.started(span, float(number))
        assembler.logged(within(span, "x" * MIB))
        assembler.ended(fields_of(maker.end(span)), float(number))
        (segment,) = assembler.due(number + 0.9)
        assert len(segment.logs) == 1

    assert assembler.take_refused_logs() == 0
