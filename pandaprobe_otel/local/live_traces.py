"""Running traces, in memory only: the drafts of their spans so far, until the trace itself is stored."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pandaprobe_otel.local.models.live import LiveDraft
from pandaprobe_otel.local.models.traces import SpanCreate
from pandaprobe_otel.local.payloads import dumps
from pandaprobe_otel.local.times import iso, iso_or_none, micros_of, milliseconds

MOST_TRACES: Final = 200
MOST_SPANS: Final = 2_000
MOST_BYTES: Final = 16 << 20
SILENT_FOR: Final = 15 * 60 * 1_000_000
"""Microseconds without a draft after which a trace counts as interrupted."""
_REMEMBERED: Final = 2_000
_SPAN_BYTES: Final = 1_000
"""Assumed bytes of a span without its content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTrace:
    """A trace at one moment. `version` changes with each draft."""

    trace_id: str
    project_id: str
    spans: Sequence[dict[str, Any]]
    version: int
    is_incomplete: bool
    """True if spans are missing, because the sender or this server dropped some."""
    is_interrupted: bool
    """True if no draft arrived for fifteen minutes, so that the trace was probably never delivered."""

    @property
    def name(self) -> str:
        """Name of the root, or of the first span."""
        root = next((span for span in self.spans if span["parent_span_id"] is None), None)
        return str((root or self.spans[0])["name"]) if self.spans else "trace"

    @property
    def started_at(self) -> str:
        """Start of the first span."""
        return min((str(span["started_at"]) for span in self.spans), default="")


@dataclass(slots=True, kw_only=True)
class _Running:
    project_id: str
    heard_at: int
    spans: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    sizes: dict[str, int] = field(default_factory=dict[str, int])
    stored: set[str] = field(default_factory=set[str])
    version: int = 0
    is_incomplete: bool = False

    @property
    def size(self) -> int:
        return sum(self.sizes.values())


class LiveTraces:
    """Running traces of one server, bounded in number, spans and bytes; the oldest are dropped first. Thread-safe."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._running: OrderedDict[str, _Running] = OrderedDict()
        self._settled: OrderedDict[str, None] = OrderedDict()
        self._bytes = self._versions = 0
        self._lock = threading.Lock()

    def take(self, project_id: str, drafts: Iterable[LiveDraft]) -> None:
        """Take drafts in order. Those of stored traces and of other projects are ignored."""
        with self._lock:
            for draft in drafts:
                self._take(project_id, draft)
            self._make_room()

    def stored(self, trace_id: str, span_ids: Iterable[str], *, is_whole: bool) -> None:
        """Drop the copies of spans that the store now has. `is_whole`: the trace has ended, so drop all of it."""
        with self._lock:
            if is_whole:
                self._settled[trace_id] = None
                self._settled.move_to_end(trace_id)
                while len(self._settled) > _REMEMBERED:
                    self._settled.popitem(last=False)
                self._drop(trace_id)
            elif (running := self._running.get(trace_id)) is not None:
                for span_id in span_ids:
                    running.spans.pop(span_id, None)
                    self._bytes -= running.sizes.pop(span_id, 0)
                    running.stored.add(span_id)
                self._changed(running)

    def get(self, trace_id: str) -> LiveTrace | None:
        """Return a running trace."""
        with self._lock:
            running = self._running.get(trace_id)
            return None if running is None else self._seen(trace_id, running)

    def of_project(self, project_id: str) -> list[LiveTrace]:
        """Return the running traces of a project, newest first."""
        with self._lock:
            found = [self._seen(key, each) for key, each in self._running.items() if each.project_id == project_id]
        return sorted((one for one in found if one.spans), key=lambda one: one.started_at, reverse=True)

    def version(self, trace_id: str) -> int | None:
        """Return the version of a trace; None if it is not running here."""
        running = self._running.get(trace_id)
        return None if running is None else running.version

    @property
    def state(self) -> str:
        """Text that changes when a trace starts or ends."""
        with self._lock:
            return str(hash(tuple(sorted(self._running))))

    def _take(self, project_id: str, draft: LiveDraft) -> None:
        trace_id = str(draft.trace_id)
        if trace_id in self._settled:
            return
        running = self._running.get(trace_id)
        if running is None:
            running = self._running[trace_id] = _Running(project_id=project_id, heard_at=self._now())
        if running.project_id != project_id:
            return
        running.heard_at = self._now()
        self._running.move_to_end(trace_id)
        running.is_incomplete |= draft.is_incomplete
        for span in draft.spans:
            self._put(running, _record(span, trace_id))
        self._changed(running)

    def _put(self, running: _Running, span: dict[str, Any]) -> None:
        span_id: str = span["span_id"]
        if span_id in running.stored:
            return
        before = running.spans.get(span_id)
        if before is None and len(running.spans) >= MOST_SPANS:
            running.is_incomplete = True
            return
        if before is not None and before["ended_at"] is not None and span["ended_at"] is None:
            return  # The end arrived first.
        size = _SPAN_BYTES + len(dumps(span))
        self._bytes += size - running.sizes.get(span_id, 0)
        running.spans[span_id], running.sizes[span_id] = span, size

    def _make_room(self) -> None:
        while len(self._running) > 1 and (len(self._running) > MOST_TRACES or self._bytes > MOST_BYTES):
            self._drop(next(iter(self._running)))
        if self._bytes > MOST_BYTES:  # If only one trace is left, drop its content and keep its tree.
            for running in self._running.values():
                for span_id, span in running.spans.items():
                    running.spans[span_id] = {**span, "input": None, "output": None}
                    running.sizes[span_id] = _SPAN_BYTES
                running.is_incomplete = True
                self._bytes = running.size

    def _drop(self, trace_id: str) -> None:
        if (running := self._running.pop(trace_id, None)) is not None:
            self._bytes -= running.size

    def _changed(self, running: _Running) -> None:
        self._versions += 1
        running.version = self._versions

    def _seen(self, trace_id: str, running: _Running) -> LiveTrace:
        now = self._now()
        is_interrupted = now - running.heard_at >= SILENT_FOR
        until = running.heard_at if is_interrupted else now
        return LiveTrace(
            trace_id=trace_id,
            project_id=running.project_id,
            spans=[_until(span, until) for span in running.spans.values()],
            version=running.version,
            is_incomplete=running.is_incomplete,
            is_interrupted=is_interrupted,
        )


def _record(span: SpanCreate, trace_id: str) -> dict[str, Any]:
    """Return a span as `GET /traces/{id}` returns one."""
    started = micros_of(span.started_at)
    ended = None if span.ended_at is None else micros_of(span.ended_at)
    first = None if span.completion_start_time is None else micros_of(span.completion_start_time)
    return {
        **span.model_dump(mode="json"),
        "trace_id": trace_id,
        "started_at": iso(started),
        "ended_at": iso_or_none(ended),
        "completion_start_time": iso_or_none(first),
        "latency_ms": milliseconds(started, ended),
        "time_to_first_token_ms": milliseconds(started, first),
    }


def _until(span: dict[str, Any], now: int) -> dict[str, Any]:
    """Return a span. A running span ends now."""
    if span["ended_at"] is not None:
        return span
    started = micros_of(datetime.fromisoformat(span["started_at"]))
    return {**span, "latency_ms": max(milliseconds(started, now) or 0.0, 0.0)}
