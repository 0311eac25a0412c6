"""State of one trace during assembly, and the memory that remains of it afterwards."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from pandaprobe_otel.mapping.sdk_span import EndedSpan

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

    def saw(self, parent: SpanContext | None) -> None:
        """Remember the parent of a span of the trace."""
        if parent is None:
            self.has_root = True
        elif parent.is_remote:
            self.has_remote_parent = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSegment:
    """Spans of one trace that are sent together."""

    trace_id: int
    stage: Stage
    ended: tuple[EndedSpan, ...]
    open: tuple[ReadableSpan, ...]
    is_remote: bool
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

    def take(self, stage: Stage, now: float) -> TraceSegment:
        """Return the spans that have ended since the last segment as a new segment."""
        logs: tuple[Any, ...] = ()
        if self.logs:
            logs = tuple(record for span in self.ended for record in self.logs.pop(span[0].span_id, ()))
            self.log_bytes -= sum(map(log_size, logs))
        segment = TraceSegment(
            trace_id=self.trace_id,
            stage=stage,
            ended=tuple(self.ended),
            open=self._open_spans(),
            is_remote=self.memory.is_remote,
            memory=self.memory,
            logs=logs,
            abandoned=self.abandoned,
            shown=self.open_entries.copy() if stage is Stage.FIRST else (),
            drafted=self.drafted,
        )
        self.ended = self.abandoned = ()
        self.drafted = None
        self.bytes = 0
        self.last_segment = now
        return segment

    def begin_draft(self) -> Drafted:
        """Return the state of the draft, which begins anew if nothing of it was wanted or written."""
        memory = self.memory
        if self.drafted is None or not self.drafted.memory.posted:
            parents = None if memory.parents is None else {**memory.parents}
            self.drafted = Drafted(replace(memory, parents=parents), memory.posted)
        self.drafted.memory.has_root, self.drafted.memory.has_remote_parent = memory.has_root, memory.has_remote_parent
        return self.drafted

    def draft(self, stage: Stage, drafted: Drafted, *, shows_all: bool) -> TraceSegment | None:
        """Return what is new since the last draft as a segment whose spans stay here; None if there is nothing.

        `shows_all`: open spans are new too, and so are roots before anything has ended.
        """
        spans, wanted = self._open_spans(), self.open if shows_all else self.open_entries
        shown = {
            span.context.span_id: len(span.attributes or ())
            for span in spans
            if span.context is not None and span.context.span_id in wanted
        }
        changed = shown.items() - drafted.shown.items()
        ended = tuple(self.ended[drafted.ended :])
        if not ended and not (changed and (shows_all or self.memory.running)):
            return None
        drafted.ended, drafted.shown = len(self.ended), shown
        return TraceSegment(
            trace_id=self.trace_id,
            stage=stage,
            ended=ended,
            open=spans,
            is_remote=self.memory.is_remote,
            memory=drafted.memory,
            shown={span_id for span_id, _ in changed},
            drafted=drafted,
        )

    def _open_spans(self) -> tuple[ReadableSpan, ...]:
        return tuple(span for each in self.open.values() if (span := each()) is not None) if self.open else ()

    def is_entry(self, parent: SpanContext | None) -> bool:
        """Remember the parent of a span without a parent here; return whether the span is a local root."""
        if parent is None:
            self.memory.has_root = True
            return True
        self.memory.has_remote_parent = True
        return not self.awaits_root and parent.span_id not in self.open  # an open parent here is in this process


_MOST_NAMES: Final = 20


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
