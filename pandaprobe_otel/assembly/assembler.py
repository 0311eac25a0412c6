"""Collects spans by trace and says when a trace, or a part of it, is ready to go out."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from pandaprobe_otel.assembly.timing import MAX_OPEN_SPANS, MAX_OPEN_TRACES, REMEMBERED_TRACES, Timing
from pandaprobe_otel.assembly.trace_buffer import SMALLEST_SPAN, Memory, Part, Stage, TraceBuffer

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_FEW_LOOKS: Final = 1000
_LOGS_SHARE: Final = 2
"""Log records that wait for the ends of their spans may take one part in so many of the bound."""


class Assembler:
    """One buffer for each trace. Not thread-safe: only the worker touches it. Has no clock: `now` is passed in.

    With `counts_starts` (behind a span processor) a trace is complete when no span of it is open. Without (behind
    an exporter, which only sees ends) it is complete when its root has arrived and nothing followed for a while.
    """

    def __init__(
        self,
        *,
        timing: Timing,
        counts_starts: bool,
        max_bytes: int,
        is_forked: bool = False,
        awaits_root: bool = False,
    ) -> None:
        """`is_forked`: in a forked child, where spans may continue traces of the parent process.

        `awaits_root`: in a gateway, where the root of a trace may come from another service than the spans below it.
        """
        self._timing = timing
        self._is_forked = is_forked
        self._awaits_root = awaits_root
        self._counts_starts = counts_starts
        self._max_bytes = max_bytes
        self.has_large = False
        """Whether a trace has grown, since the last look, beyond what may wait in memory."""
        self.bytes = 0
        """Bytes that the ended spans and the log records take, roughly."""
        self._buffers: dict[int, TraceBuffer] = {}
        self._touched: set[TraceBuffer] = set()
        """Those that something has happened to since the last look."""
        self._looks: list[tuple[float, int]] = []
        """A heap of when to look at which trace; entries that are not their buffer's `look_at` are outdated."""
        self._open_spans = self._given_up = 0
        self._remembered: OrderedDict[int, Memory] = OrderedDict()
        self._log_bytes = self._refused_logs = 0

    def __len__(self) -> int:
        return len(self._buffers)

    @property
    def ended_spans(self) -> int:
        """Spans that have ended and wait for the rest of their traces."""
        return sum(len(buffer.ended) for buffer in self._buffers.values())

    def has_open(self, trace_id: int, span_id: int) -> bool:
        """Whether the start of a span has been seen, and not its end."""
        buffer = self._buffers.get(trace_id)
        return buffer is not None and span_id in buffer.open

    def started(self, span: ReadableSpan, now: float) -> None:
        """A span has started."""
        context = span.context  # asked once: each question to an SDK's span is a call
        if context is not None:
            buffer = self._buffer(context.trace_id, now)
            before = len(buffer.open)
            buffer.start(span, context.span_id, now)
            self._open_spans += len(buffer.open) - before

    def ended(self, span: ReadableSpan, now: float) -> int:
        """A span has ended. Returns the bytes that it takes, roughly."""
        context = span.context
        if context is None:
            return SMALLEST_SPAN
        buffer = self._buffer(context.trace_id, now)
        before = len(buffer.open)
        size = buffer.end(span, context.span_id, now)
        self._open_spans += len(buffer.open) - before
        self.bytes += size
        self.has_large = self.has_large or buffer.bytes >= self._timing.checkpoint_bytes
        return size

    def lost(self, trace_id: int, span_id: int, now: float) -> None:
        """A span has ended, but there was no room for it: it is waited for no longer."""
        if self.has_open(trace_id, span_id):
            self._buffer(trace_id, now).lose(span_id, now)
            self._open_spans -= 1

    def logged(self, record: Any) -> None:
        """A log record was emitted within a span; it goes out with that span. Without an open trace it is nothing."""
        inner = getattr(record, "log_record", record)
        buffer = self._buffers.get(getattr(inner, "trace_id", None) or 0)
        if buffer is None:
            return
        # Of a span that stays open they stay too, when the rest of its trace has gone out.
        if self._log_bytes > self._max_bytes // _LOGS_SHARE:
            self._refused_logs += 1
        else:
            size = buffer.log(inner.span_id or 0, record)
            self._log_bytes += size
            self.bytes += size
            self._touched.add(buffer)

    def take_refused_logs(self) -> int:
        """How many log records had no room since the last call."""
        refused, self._refused_logs = self._refused_logs, 0
        return refused

    def take_given_up(self) -> int:
        """The number of open spans that were too many since the last call, and are waited for no longer."""
        given_up, self._given_up = self._given_up, 0
        return given_up

    def due(self, now: float) -> Iterator[Part]:
        """The parts that are ready now. Looks at no trace that cannot be."""
        self.has_large = False
        for buffer in self._touched:
            self._plan_look(buffer, self._due_at(buffer, now))
        self._touched.clear()
        if len(self._looks) > _FEW_LOOKS + 2 * len(self._buffers):  # most are outdated
            self._looks = [(each.look_at, key) for key, each in self._buffers.items() if each.look_at < math.inf]
            heapify(self._looks)
        while self._looks and self._looks[0][0] <= now:
            at, trace_id = heappop(self._looks)
            if trace_id not in self._buffers or (buffer := self._buffers[trace_id]).look_at != at:
                continue
            buffer.look_at = math.inf
            self._let_go(buffer, now)
            stage = self._stage(buffer, now)
            if stage is not None:
                yield self._take(buffer, stage, now)
            elif not buffer.open and not buffer.ended:
                self._forget(buffer)
            else:
                self._touched.add(buffer)
        yield from self._over_the_bound(now)

    def flush(self, now: float) -> Iterator[Part]:
        """The traces whose root has ended, without waiting for stragglers."""
        for buffer in list(self._buffers.values()):
            root_ended = not buffer.open_entries and (buffer.entries_ended_at is not None or not buffer.open)
            if buffer.ended and (buffer.memory.posted or root_ended):
                yield self._take(buffer, self._closing_stage(buffer), now)

    def close(self, now: float) -> Iterator[Part]:
        """Everything, complete or not."""
        for buffer in list(self._buffers.values()):
            if buffer.ended:
                unfinished = buffer.open_entries and not buffer.memory.posted
                yield self._take(buffer, Stage.FIRST if unfinished else self._closing_stage(buffer), now)

    # -- rules --------------------------------------------------------------------------------------------------------

    def _stage(self, buffer: TraceBuffer, now: float) -> Stage | None:
        if buffer.ended and now >= self._complete_at(buffer):
            return self._closing_stage(buffer)
        if buffer.ended and now >= self._early_at(buffer):
            return self._early_stage(buffer)
        return None

    def _due_at(self, buffer: TraceBuffer, now: float) -> float:
        """When to look at a trace, unless something happens to it before."""
        if buffer.ended:
            return min(self._complete_at(buffer), self._early_at(buffer))
        return now + self._timing.idle_look_s if buffer.open else now

    def _complete_at(self, buffer: TraceBuffer) -> float:
        """When the trace is complete, if nothing else happens to it."""
        timing = self._timing
        if not self._counts_starts:
            return buffer.last_change + (timing.rootless_s if buffer.entries_ended_at is None else timing.quiet_s)
        if not buffer.open:
            return buffer.last_change + timing.settle_s
        if buffer.open_entries or buffer.entries_ended_at is None or buffer.memory.posted:
            return math.inf
        return buffer.entries_ended_at + timing.linger_s

    def _early_at(self, buffer: TraceBuffer) -> float:
        """When what there is goes out, complete or not."""
        timing = self._timing
        if self._is_large(buffer):
            return -math.inf
        if buffer.memory.posted:
            return buffer.last_part + timing.append_every_s
        return buffer.created_at + timing.checkpoint_after_s

    def _plan_look(self, buffer: TraceBuffer, at: float) -> None:
        """Look at a trace at this time at the latest. A look that is too early finds that out."""
        if at < buffer.look_at:
            buffer.look_at = at
            heappush(self._looks, (at, buffer.trace_id))

    def _let_go(self, buffer: TraceBuffer, now: float) -> None:
        before = len(buffer.open)
        buffer.let_go(now)
        self._open_spans += len(buffer.open) - before

    def _is_large(self, buffer: TraceBuffer) -> bool:
        return len(buffer.ended) >= self._timing.checkpoint_spans or buffer.bytes >= self._timing.checkpoint_bytes

    def _closing_stage(self, buffer: TraceBuffer) -> Stage:
        memory = buffer.memory
        if memory.running and not buffer.open_entries:
            return Stage.LAST
        if memory.lacks_root and memory.has_root:
            return Stage.LAST
        if self._awaits_root and memory.has_root and not memory.created:  # so far it was left to another process
            return Stage.WHOLE
        return Stage.MORE if memory.posted else Stage.WHOLE

    # -- keeping ------------------------------------------------------------------------------------------------------

    def _buffer(self, trace_id: int, now: float) -> TraceBuffer:
        buffer = self._buffers.get(trace_id)
        if buffer is None:
            memory = self._remembered.pop(trace_id, None) or Memory(inherits=self._is_forked)
            buffer = TraceBuffer(trace_id, memory, self._awaits_root, created_at=now, last_part=now)
            self._buffers[trace_id] = buffer
        self._touched.add(buffer)
        return buffer

    def _take(self, buffer: TraceBuffer, stage: Stage, now: float) -> Part:
        part = self._part(buffer, stage, now)
        if buffer.open:
            self._touched.add(buffer)
        else:
            self._forget(buffer)
        return part

    def _part(self, buffer: TraceBuffer, stage: Stage, now: float) -> Part:
        before = buffer.log_bytes
        self.bytes -= buffer.bytes
        part = buffer.take(stage, now)
        self._log_bytes -= before - buffer.log_bytes
        return part

    def _forget(self, buffer: TraceBuffer) -> None:
        del self._buffers[buffer.trace_id]
        self._touched.discard(buffer)
        self._open_spans -= len(buffer.open)
        self.bytes -= buffer.bytes
        self._log_bytes -= buffer.log_bytes
        self._remembered[buffer.trace_id] = buffer.memory
        if len(self._remembered) > REMEMBERED_TRACES:
            self._remembered.popitem(last=False)

    def _over_the_bound(self, now: float) -> Iterator[Part]:
        """Send the oldest traces early when all together hold more than they may; wait no longer for too many."""
        if self.bytes <= self._max_bytes and not self._are_too_many():
            return
        for buffer in list(self._buffers.values()):
            too_many = self._are_too_many()
            if self.bytes <= self._max_bytes and not too_many:
                return
            part = self._part(buffer, self._early_stage(buffer), now)
            if too_many:
                self._given_up += len(buffer.open)
                self._forget(buffer)
            if part.ended:
                yield part

    def _are_too_many(self) -> bool:
        return len(self._buffers) > MAX_OPEN_TRACES or self._open_spans > MAX_OPEN_SPANS

    def _early_stage(self, buffer: TraceBuffer) -> Stage:
        return Stage.FIRST if buffer.open_entries and not buffer.memory.posted else self._closing_stage(buffer)
