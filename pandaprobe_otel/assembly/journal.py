"""Journal of incomplete traces, so that a crashed run can be inspected afterwards.

It runs in the worker's thread. It writes a trace from its first GenAI span on, because a trace without a GenAI span is
not sent.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pandaprobe_otel.assembly.remote_parents import view_of, views_of
from pandaprobe_otel.assembly.span_record import encode_json, encode_span
from pandaprobe_otel.assembly.timing import MAX_OPEN_TRACES, REMEMBERED_TRACES
from pandaprobe_otel.assembly.trace_buffer import Memory
from pandaprobe_otel.delivery.spool.rows import JournalChange, JournalRow, TraceState
from pandaprobe_otel.mapping import SpanView
from pandaprobe_otel.mapping.kinds import is_genai
from pandaprobe_otel.mapping.sdk_span import EndedSpan, parent_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from pandaprobe_otel.assembly.trace_buffer import TraceSegment


_RESOURCE: Final = ("service.", "telemetry.", "deployment.")
"""Prefixes of the resource attributes that a trace contains. Others, such as a command line, must not reach the disk.
"""


SpanEvent: TypeAlias = "tuple[ReadableSpan | EndedSpan, bool]"
"""A started span or the fields of an ended one, and whether the worker has already seen its start."""


@dataclass(slots=True, eq=False)
class _OpenTrace:
    memory: Memory
    open_spans: int = 0
    roots: dict[int, ReadableSpan] = field(default_factory=dict[int, "ReadableSpan"])
    held: list[EndedSpan] = field(default_factory=list[EndedSpan])
    """Ended spans that are not written yet, because their trace may turn out to be unwanted."""
    written_roots: dict[int, int] = field(default_factory=dict[int, int])
    """Open roots that are in the journal, each with its number of attributes when it was written."""
    is_written: bool = False


class SpanJournal:
    """Record of the starts and ends of spans, and of the segments already sent. Only the worker calls it."""

    def __init__(self, *, content: bool, all_spans: bool, scrubs: bool = False, is_forked: bool = False) -> None:
        self._is_forked = is_forked
        self._scrubs = scrubs
        self._content = content
        self._all_spans = all_spans
        self._traces: OrderedDict[int, _OpenTrace] = OrderedDict()
        self._posted: OrderedDict[int, Memory] = OrderedDict()

    def record(self, events: Iterable[SpanEvent]) -> list[JournalChange]:
        """Take starts and ends of spans, in order; return the changes to write."""
        touched: dict[int, _OpenTrace] = {}
        for span, was_open in events:
            if not isinstance(span, tuple):
                self._start(span)
                continue
            trace_id, span_id = span[0][:2]
            trace = touched[trace_id] = self._trace(trace_id)
            trace.memory.saw(parent_of(span))
            trace.held.append(span)
            if was_open:
                trace.open_spans = max(trace.open_spans - 1, 0)
                trace.roots.pop(span_id, None)
                trace.written_roots.pop(span_id, None)
        return self._written(touched)

    def _start(self, span: ReadableSpan) -> None:
        context, parent = span.context, span.parent
        if context is not None:
            trace = self._trace(context.trace_id)
            trace.memory.saw(parent)
            trace.open_spans += 1
            if parent is None or parent.is_remote:
                trace.roots[context.span_id] = span

    def taken(self, segment: TraceSegment) -> list[JournalChange]:
        """Note that a segment's spans became requests or were not wanted; return the changes to write together with the
        requests.
        """
        trace = self._traces.get(segment.trace_id)
        if trace is None:
            return []
        trace.held.clear()
        trace.memory = segment.memory
        trace.is_written = trace.is_written or segment.memory.posted
        states: list[TraceState] = []
        if segment.open:
            states.append(self._state(segment.trace_id, trace, segment.open[0].resource.attributes))
        else:
            del self._traces[segment.trace_id]
            if segment.memory.posted:
                self._posted[segment.trace_id] = segment.memory
                if len(self._posted) > REMEMBERED_TRACES:
                    self._posted.popitem(last=False)
        if not trace.is_written:
            return []
        roots = [f"{span_id:016x}" for span_id in trace.roots] if segment.open else []
        return [JournalChange(cleared=_hex(segment.trace_id), states=states, open_roots=roots)]

    def _trace(self, trace_id: int) -> _OpenTrace:
        trace = self._traces.get(trace_id)
        if trace is None:
            memory = self._posted.get(trace_id) or Memory(inherits=self._is_forked)
            trace = self._traces[trace_id] = _OpenTrace(memory, is_written=memory.posted)
            if len(self._traces) > MAX_OPEN_TRACES:
                self._traces.popitem(last=False)
        return trace

    def _written(self, touched: dict[int, _OpenTrace]) -> list[JournalChange]:
        rows: list[JournalRow] = []
        states: list[TraceState] = []
        for trace_id, trace in touched.items():
            views = views_of(trace.held)
            trace.is_written = trace.is_written or self._all_spans or any(is_genai(view) for view in views)
            if not trace.is_written or not views:
                continue
            rows += [self._row(trace_id, view, is_open=False) for view in views]
            rows += self._open_roots(trace_id, trace)
            states.append(self._state(trace_id, trace, views[-1].resource))
            trace.held.clear()
        return [JournalChange(rows=rows, states=states)] if rows else []

    def _open_roots(self, trace_id: int, trace: _OpenTrace) -> list[JournalRow]:
        rows: list[JournalRow] = []
        for span_id, span in trace.roots.items():
            attributes = len(span.attributes or ())
            if trace.written_roots.get(span_id) != attributes:
                trace.written_roots[span_id] = attributes
                rows.append(self._row(trace_id, view_of(span), is_open=True))
        return rows

    def _row(self, trace_id: int, view: SpanView, *, is_open: bool) -> JournalRow:
        data = encode_span(view, content=self._content, scrubs=self._scrubs)
        return JournalRow(trace_id=_hex(trace_id), span_id=f"{view.span_id:016x}", is_open=is_open, data=data)

    def _state(self, trace_id: int, trace: _OpenTrace, resource: Mapping[str, Any]) -> TraceState:
        memory = trace.memory
        return TraceState(
            trace_id=_hex(trace_id),
            posted=memory.posted,
            running=memory.running,
            had_input=memory.had_input,
            tags=memory.tags,
            is_remote=memory.is_remote,
            open_spans=trace.open_spans,
            resource=encode_json({key: resource[key] for key in resource if key.startswith(_RESOURCE)}).decode(),
        )


def _hex(trace_id: int) -> str:
    return f"{trace_id:032x}"
