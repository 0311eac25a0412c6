"""Assembly of spans: a buffer for each trace, and the rules for when the trace, or a segment of it, is sent."""

from __future__ import annotations

import math
import weakref
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from pandaprobe_otel.mapping.sdk_span import EndedSpan, parent_of, size_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext


class Stage(StrEnum):
    """Stage of a trace to which a segment belongs."""

    WHOLE = "whole"
    """The whole trace: one POST and nothing more, unless spans arrive late."""
    FIRST = "first"
    """The first segment, posted as RUNNING while the root is still open."""
    MORE = "more"
    """More spans of a trace that has been posted."""
    LAST = "last"
    """The last spans and the final fields of a running trace, whose root has ended."""


@dataclass(slots=True, eq=False)
class Memory:
    """State of a trace that later segments and late spans need."""

    posted: bool = False
    """True if a segment of the trace has been sent."""
    created: bool = False
    """True if this process posted the trace under its own id."""
    has_root: bool = False
    has_remote_parent: bool = False
    inherits: bool = False
    """True in a forked child. If it never saw a trace's root, the trace belongs to the parent process."""
    running: bool = False
    """True if the trace was posted as RUNNING and is not finished yet."""
    lacks_root: bool = False
    """True if the trace was posted before its root arrived, so its name and other fields come from another span."""
    had_input: bool = False
    project: str | None = None
    """Project that gets the trace; empty for that of the settings. None: no part of it has been sent."""
    tags: tuple[str, ...] = ()
    # None for most traces: thousands are remembered, and an empty dict takes half as much as all else here.
    parents: dict[int, int | None] | None = None
    """Parent of each span that was left out. Its children move to the nearest ancestor that was kept."""
    sent_below: set[int] | None = None
    """Parents of sent spans that have not arrived yet; they are kept when they arrive."""

    @property
    def is_remote(self) -> bool:
        """True if the root is in another process; only that process may post the trace under its id."""
        return not self.has_root and (self.has_remote_parent or self.inherits)

    def leave_out(self, parents: Mapping[int, int | None]) -> None:
        """Remember spans that were left out, each with its parent."""
        self.parents = {**(self.parents or {}), **parents}


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSegment:
    """Spans of one trace that are sent together."""

    trace_id: int
    stage: Stage
    ended: tuple[EndedSpan, ...]
    open: tuple[ReadableSpan, ...]
    memory: Memory
    logs: tuple[Any, ...] = ()
    """Log records with content of the ended spans."""
    abandoned: tuple[str, ...] = ()
    """Names of spans that will never end, because the app holds no more references to them."""
    shown: Collection[int] = ()
    """Ids of open spans that are sent already now, if it is certain that they will be kept."""
    drafted: Drafted | None = None
    """State of the draft to which these spans belong, or which they replace."""


@dataclass(slots=True, eq=False)
class Drafted:
    """State of the draft of a buffer since its last segment."""

    memory: Memory
    """Memory of the trace, as if the draft had been sent."""
    is_posted: bool
    """True if a segment of the trace has been sent."""
    ended: int = 0
    """Number of ended spans in the draft."""
    shown: dict[int, int] = field(default_factory=dict[int, int])
    """Open spans, each with its number of attributes when it was drafted."""


OpenSpan: TypeAlias = "Callable[[], ReadableSpan | None]"
"""Returns the span, or None if the app has dropped its last reference, so the span can never end."""


class _Reference(weakref.ref[Any]):
    __slots__ = ("name",)
    name: str


def _reference(span: ReadableSpan) -> OpenSpan:
    try:
        reference = _Reference(span)
    except TypeError:  # another vendor's class without weak references
        return lambda: span
    reference.name = span.name
    return reference


@dataclass(slots=True, eq=False)
class TraceBuffer:
    """Buffer of one trace. Only the worker uses it."""

    trace_id: int
    memory: Memory
    awaits_root: bool
    """True if the root may come from another service. Then spans with a remote parent do not count as local roots."""
    created_at: float
    # Lists and sets are created only when needed, because the app's garbage collector visits each of them. It does not
    # visit dicts of plain numbers.
    ended: list[EndedSpan] | tuple[()] = ()
    open: dict[int, OpenSpan] = field(default_factory=dict[int, "OpenSpan"])
    open_entries: dict[int, None] = field(default_factory=dict[int, None])
    """Open local roots: spans whose parent is not in this process."""
    logs: dict[int, list[Any]] = field(default_factory=dict[int, "list[Any]"])
    """Log records by the id of their span."""
    bytes: int = 0
    log_bytes: int = 0
    """Bytes of the log records whose spans are still open."""
    last_change: float = 0.0
    last_segment: float = 0.0
    entries_ended_at: float | None = None
    look_at: float = math.inf
    """Time of the assembler's next check."""
    unreferenced: frozenset[int] = frozenset()
    """Open spans that had no reference in the app at the last call of `let_go`."""
    abandoned: tuple[str, ...] = ()
    drafted: Drafted | None = None

    def start(self, span: ReadableSpan, span_id: int, now: float) -> None:
        """Add a span that has started."""
        parent = span.parent
        if (parent is None or parent.is_remote) and self.is_entry(parent):
            self.open_entries[span_id] = None
        self.open[span_id] = _reference(span)
        self.last_change = now

    def lose(self, span_id: int, now: float) -> None:
        """Remove a span from the open ones."""
        self.open.pop(span_id, None)
        if span_id in self.open_entries:
            del self.open_entries[span_id]
            self.entries_ended_at = now

    def let_go(self, now: float) -> bool:
        """Stop waiting for spans that have had no reference in the app since the previous call.

        At the first call, the end of such a span may still be in the queue. Return True if the trace should wait for
        it: for each root, but for other spans only once, because an app may drop spans all the time.
        """
        before, gone = self.unreferenced, {span_id: span for span_id, span in self.open.items() if span() is None}
        for span_id in before & gone.keys():
            if len(self.abandoned) < _MOST_NAMES:
                self.abandoned += (getattr(gone[span_id], "name", ""),)
            self.lose(span_id, now)
            self.last_change = now
            del gone[span_id]
        self.unreferenced = frozenset(gone)
        return bool(gone) and (not before or not self.open_entries.keys().isdisjoint(gone))

    def log(self, span_id: int, record: Any) -> int:
        """Add a log record that was emitted in a span; return its approximate size in bytes."""
        size = log_size(record)
        self.logs.setdefault(span_id, []).append(record)
        self.bytes += size
        self.log_bytes += size
        return size

    def open_spans(self) -> tuple[ReadableSpan, ...]:
        """Return the spans that have not ended, as far as the app still has them."""
        return tuple(span for each in self.open.values() if (span := each()) is not None) if self.open else ()

    def is_entry(self, parent: SpanContext | None) -> bool:
        """Remember the parent of a span without a parent here; return whether the span is a local root."""
        if parent is None:
            self.memory.has_root = True
            return True
        self.memory.has_remote_parent = True
        return not self.awaits_root and parent.span_id not in self.open  # an open parent here is in this process


_MOST_NAMES: Final = 20
_look_at: Final = attrgetter("look_at")


def log_size(record: Any) -> int:
    """Return the approximate bytes of a log record: its text at any depth, and an allowance for the objects.

    Inspects at most a thousand values, because it runs in the app's threads. Runs no code of the app's own types.
    """
    inner = getattr(record, "log_record", record)
    attributes = getattr(inner, "attributes", None)
    pending: list[Any] = [getattr(inner, "body", None)]
    if isinstance(attributes, Mapping):
        pending += cast("Mapping[str, Any]", attributes).values()
    size, looks = 1000, _MOST_LOOKS
    while pending and looks:
        looks -= 1
        value = pending.pop()
        if isinstance(value, (str, bytes)):
            size += len(value)
        elif type(value) is dict or type(value) is list or type(value) is tuple:
            inside = list(cast("dict[str, Any]", value).values()) if type(value) is dict else cast("list[Any]", value)
            size += 100 * len(inside)
            pending += inside[:_MOST_LOOKS]
    return size


_MOST_LOOKS: Final = 1000


MAX_OPEN_TRACES: Final = 10_000
MAX_OPEN_SPANS: Final = 50_000
"""Bound on open spans, at about 300 bytes each (the app holds the spans). Beyond it, the oldest traces are given up."""
REMEMBERED_TRACES: Final = 10_000
"""Bound on remembered traces, at about 200 bytes each; allows sending a late span after its trace."""
_LOGS_SHARE: Final = 2
"""Divisor of the memory bound: this share is for log records that wait for their spans to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Times in seconds of a monotonic clock."""

    settle_s: float = 0.5
    """Wait for another span while none is open (one may start just after its parent has ended)."""
    sooner_s: float = 0.4
    sooner_above_bytes: int = 1 << 20
    """Bytes of ended spans above which traces are complete sooner: spans take twice the memory of their JSON."""
    linger_s: float = 10.0
    """Wait for open spans after the root has ended (a stream may still be read)."""
    checkpoint_after_s: float = 300.0
    """Age at which a trace with an open root is sent as RUNNING, with the spans so far."""
    checkpoint_spans: int = 500
    checkpoint_bytes: int = 4 << 20
    append_every_s: float = 30.0
    """Interval at which a running trace is updated."""
    quiet_s: float = 5.0
    """Silence after which a trace with its root counts as complete if starts are not seen (exporter only)."""
    idle_look_s: float = 300.0
    """Interval for checking a trace without ended spans: the app may have dropped its spans."""
    rootless_s: float = 60.0
    """Silence after which a trace without its root counts as complete if starts are not seen."""
    live_timeout_s: float = 1.0
    """Longest wait for a local server that shows running spans."""


class Assembler:
    """Assembler with one buffer for each trace. Not thread-safe: only the worker uses it. Times are passed in as `now`.

    With `counts_starts` (behind a span processor), a trace is complete when none of its spans is open. Without it
    (behind an exporter, which sees only ends), a trace is complete when its root has arrived and no span followed for a
    while.
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
        """`is_forked`: this is a forked child, whose spans may continue traces of the parent process.

        `awaits_root`: this is a gateway, where the root of a trace and its children may come from different services.
        """
        self._timing = timing
        self._is_forked = is_forked
        self._awaits_root = awaits_root
        self._counts_starts = counts_starts
        self._max_bytes = max_bytes
        self.bytes = 0
        """Approximate bytes of the ended spans and the log records."""
        self._buffers: dict[int, TraceBuffer] = {}
        self._touched: dict[TraceBuffer, None] = {}
        """Buffers that have changed since the last check, in the order of their changes."""
        self._open_spans = 0
        self.given_up = 0
        """Open spans that were given up because there were too many, as far as the worker has not reported them."""
        self._remembered: OrderedDict[int, Memory] = OrderedDict()
        self._log_bytes = 0

    def __len__(self) -> int:
        return len(self._buffers)

    @property
    def ended_spans(self) -> int:
        """Spans that have ended and wait for the rest of their traces."""
        return sum(len(buffer.ended) for buffer in self._buffers.values())

    def has_open(self, trace_id: int, span_id: int) -> bool:
        """Return whether the start of a span has been seen, but not its end."""
        buffer = self._buffers.get(trace_id)
        return buffer is not None and span_id in buffer.open

    def started(self, span: ReadableSpan, now: float) -> None:
        """Add a span that has started."""
        context = span.context  # read once, because reading a property of an SDK span is a call
        if context is not None:
            buffer = self._buffer(context.trace_id, now)
            self._open_spans += context.span_id not in buffer.open
            buffer.start(span, context.span_id, now)

    def ended(self, span: EndedSpan, now: float) -> int:
        """Add a span that has ended; return its approximate size in bytes."""
        trace_id, span_id = span[0][:2]  # a context is a tuple, and its properties are Python calls
        buffer = self._buffers.get(trace_id) or self._buffer(trace_id, now)
        self._touched[buffer] = None
        if span_id in buffer.open:
            buffer.lose(span_id, now)
            self._open_spans -= 1
        else:  # its start was not seen, or start and end arrived together
            parent = parent_of(span)
            if (parent is None or parent.is_remote) and buffer.is_entry(parent):
                buffer.entries_ended_at = now
        if buffer.ended:
            buffer.ended.append(span)
        else:
            buffer.ended = [span]
        size = size_of(span)
        buffer.bytes += size
        self.bytes += size
        buffer.last_change = now
        return size

    def lost(self, trace_id: int, span_id: int, now: float) -> None:
        """Stop waiting for a span that has ended but had no room."""
        if self.has_open(trace_id, span_id):
            self._buffer(trace_id, now).lose(span_id, now)
            self._open_spans -= 1

    def logged(self, record: Any) -> bool:
        """Add a log record that was emitted in a span; it is sent with that span. Ignored without an open trace.

        Return False if there is no room.
        """
        inner = getattr(record, "log_record", record)
        buffer = self._buffers.get(getattr(inner, "trace_id", None) or 0)
        if buffer is not None:
            # If a span stays open, its records remain here even after the rest of its trace has been sent.
            if self._log_bytes > self._max_bytes // _LOGS_SHARE:
                return False
            size = buffer.log(inner.span_id or 0, record)
            self._log_bytes += size
            self.bytes += size
            self._touched[buffer] = None
        return True

    @property
    def has_much(self) -> bool:
        """True if ended spans take so much memory that traces are complete sooner."""
        return self.bytes > self._timing.sooner_above_bytes

    def due(self, now: float) -> Iterator[TraceSegment]:
        """Yield the segments that are ready now. Checks only the traces that can be ready."""
        for buffer in self._touched:  # a check that comes too early does no harm
            buffer.look_at = min(buffer.look_at, self._due_at(buffer, now))
        self._touched.clear()
        latest = now + self._timing.sooner_s
        for buffer in sorted((each for each in self._buffers.values() if each.look_at <= latest), key=_look_at):
            if buffer.look_at > (by := latest if self.has_much else now):
                break
            buffer.look_at = math.inf
            if (buffer.open or buffer.unreferenced) and self._let_go(buffer, now):
                self._touched[buffer] = None
                continue
            complete_at, early_at = self._ready_at(buffer)
            if buffer.ended and by >= min(complete_at, early_at):
                yield self._take(buffer, now, is_early=by < complete_at)
            elif not buffer.open and not buffer.ended:
                self._forget(buffer)
            else:
                self._touched[buffer] = None
        if self.bytes > self._max_bytes or self._are_too_many():
            yield from self._over_the_bound(now)

    @property
    def next_look(self) -> float:
        """The time of the next call of `due`, if nothing changes before."""
        if self._touched:
            return -math.inf
        return min((buffer.look_at for buffer in self._buffers.values()), default=math.inf)

    def look_for_dropped(self, now: float) -> None:
        """Note the open spans that the app has dropped. If their ends are not in the queue, `flush` does not wait."""
        for buffer in self._buffers.values():
            if buffer.open:
                self._let_go(buffer, now)

    def flush(self, now: float) -> Iterator[TraceSegment]:
        """Yield the traces whose root has ended, without waiting for late spans."""
        self.look_for_dropped(now)
        for buffer in list(self._buffers.values()):
            root_ended = not buffer.open_entries and (buffer.entries_ended_at is not None or not buffer.open)
            if buffer.ended and (buffer.memory.posted or root_ended):
                yield self._take(buffer, now, is_early=False)

    def close(self, now: float) -> Iterator[TraceSegment]:
        """Yield all traces, complete or not."""
        self.look_for_dropped(now)
        for buffer in list(self._buffers.values()):
            if buffer.ended:
                yield self._take(buffer, now)

    @property
    def changed(self) -> Sequence[TraceBuffer]:
        """The buffers that have changed since the last call of `due`."""
        return tuple(self._touched)

    def drafts(self, changed: Iterable[TraceBuffer], *, shows_all: bool) -> Iterator[TraceSegment]:
        """Yield what is new in those of these traces that are still here, as segments whose spans stay here.

        `shows_all`: open spans are new too, and so are roots before anything has ended.
        """
        for buffer in changed:
            if self._buffers.get(buffer.trace_id) is buffer and (segment := self._draft(buffer, shows_all)):
                yield segment

    def _draft(self, buffer: TraceBuffer, shows_all: bool) -> TraceSegment | None:
        """Return what is new since the last draft; all, if nothing of it was wanted or written."""
        memory, drafted = buffer.memory, buffer.drafted
        if drafted is None or not drafted.memory.posted:
            parents = None if memory.parents is None else {**memory.parents}
            drafted = buffer.drafted = Drafted(replace(memory, parents=parents), memory.posted)
        drafted.memory.has_root, drafted.memory.has_remote_parent = memory.has_root, memory.has_remote_parent
        spans, wanted = buffer.open_spans(), buffer.open if shows_all else buffer.open_entries
        shown = {
            span.context.span_id: len(span.attributes or ())
            for span in spans
            if span.context is not None and span.context.span_id in wanted
        }
        changed = shown.items() - drafted.shown.items()
        ended = tuple(buffer.ended[drafted.ended :])
        if not ended and not (changed and (shows_all or memory.running)):
            return None
        drafted.ended, drafted.shown = len(buffer.ended), shown
        return TraceSegment(
            trace_id=buffer.trace_id,
            stage=self._stage(buffer, drafted.memory),
            ended=ended,
            open=spans,
            memory=drafted.memory,
            shown={span_id for span_id, _ in changed},
            drafted=drafted,
        )

    def _let_go(self, buffer: TraceBuffer, now: float) -> bool:
        before = len(buffer.open)
        may_have_ended = buffer.let_go(now)
        self._open_spans += len(buffer.open) - before
        return may_have_ended

    # -- rules --------------------------------------------------------------------------------------------------------

    def _due_at(self, buffer: TraceBuffer, now: float) -> float:
        """Return the time of the next check of a trace, if nothing changes before."""
        if buffer.unreferenced:
            return now
        if buffer.ended:
            at = min(self._ready_at(buffer))
            return min(at, now + self._timing.linger_s) if buffer.open else at  # the app may have dropped its spans
        return now + self._timing.idle_look_s if buffer.open else now

    def _ready_at(self, buffer: TraceBuffer) -> tuple[float, float]:
        """Return the times at which a trace counts as complete, and at which its spans are sent in any case.

        The first holds if nothing changes before.
        """
        timing, is_posted = self._timing, buffer.memory.posted
        complete_at = math.inf
        if not self._counts_starts:
            complete_at = buffer.last_change + (
                timing.rootless_s if buffer.entries_ended_at is None else timing.quiet_s
            )
        elif not buffer.open:
            complete_at = buffer.last_change + timing.settle_s
        elif not (buffer.open_entries or buffer.entries_ended_at is None or is_posted):
            complete_at = buffer.entries_ended_at + timing.linger_s
        if len(buffer.ended) >= timing.checkpoint_spans or buffer.bytes >= timing.checkpoint_bytes:
            return complete_at, -math.inf
        if is_posted:
            return complete_at, buffer.last_segment + timing.append_every_s
        return complete_at, buffer.created_at + timing.checkpoint_after_s

    def _stage(self, buffer: TraceBuffer, memory: Memory, *, is_early: bool = True) -> Stage:
        """Return the stage of a segment. `is_early`: the trace has not been found complete."""
        if is_early and buffer.open_entries and not memory.posted:
            return Stage.FIRST
        if memory.running and not buffer.open_entries:
            return Stage.LAST
        if memory.lacks_root and memory.has_root:
            return Stage.LAST
        if self._awaits_root and memory.has_root and not memory.created:  # another process was expected to post it
            return Stage.WHOLE
        return Stage.MORE if memory.posted else Stage.WHOLE

    # -- keeping ------------------------------------------------------------------------------------------------------

    def _buffer(self, trace_id: int, now: float) -> TraceBuffer:
        buffer = self._buffers.get(trace_id)
        if buffer is None:
            memory = self._remembered.pop(trace_id, None) or Memory(inherits=self._is_forked)
            buffer = TraceBuffer(trace_id, memory, self._awaits_root, created_at=now, last_segment=now)
            self._buffers[trace_id] = buffer
        self._touched[buffer] = None
        return buffer

    def _take(self, buffer: TraceBuffer, now: float, *, is_early: bool = True) -> TraceSegment:
        """Return the spans of a trace that have ended since its last segment as a new segment; see `_stage`."""
        logs: tuple[Any, ...] = ()
        if buffer.logs:
            logs = tuple(record for span in buffer.ended for record in buffer.logs.pop(span[0].span_id, ()))
            of_logs = sum(map(log_size, logs))
            buffer.log_bytes -= of_logs
            self._log_bytes -= of_logs
        stage = self._stage(buffer, buffer.memory, is_early=is_early)
        segment = TraceSegment(
            trace_id=buffer.trace_id,
            stage=stage,
            ended=tuple(buffer.ended),
            open=buffer.open_spans(),
            memory=buffer.memory,
            logs=logs,
            abandoned=buffer.abandoned,
            shown=buffer.open_entries.copy() if stage is Stage.FIRST else (),
            drafted=buffer.drafted,
        )
        buffer.ended = buffer.abandoned = ()
        buffer.drafted = None
        self.bytes -= buffer.bytes
        buffer.bytes = 0
        buffer.last_segment = now
        if buffer.open:
            self._touched[buffer] = None
        else:
            self._forget(buffer)
        return segment

    def _forget(self, buffer: TraceBuffer) -> None:
        del self._buffers[buffer.trace_id]
        self._touched.pop(buffer, None)
        self._open_spans -= len(buffer.open)
        self.bytes -= buffer.bytes
        self._log_bytes -= buffer.log_bytes
        self._remembered[buffer.trace_id] = buffer.memory
        if len(self._remembered) > REMEMBERED_TRACES:
            self._remembered.popitem(last=False)

    def _over_the_bound(self, now: float) -> Iterator[TraceSegment]:
        """Yield the oldest traces early while all traces together exceed the bound in bytes; give the oldest up while
        there are too many traces or open spans.
        """
        for buffer in list(self._buffers.values()):
            too_many = self._are_too_many()
            if self.bytes <= self._max_bytes and not too_many:
                return
            segment = self._take(buffer, now)
            if too_many and buffer.open:  # else `_take` has forgotten it
                self.given_up += len(buffer.open)
                self._forget(buffer)
            if segment.ended:
                yield segment

    def _are_too_many(self) -> bool:
        return len(self._buffers) > MAX_OPEN_TRACES or self._open_spans > MAX_OPEN_SPANS
