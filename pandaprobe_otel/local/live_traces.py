"""Running traces, in memory only: the drafts of their spans so far, until the trace itself is stored."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pandaprobe_otel.local.models.traces import LiveDraft, SpanCreate
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


@dataclass(slots=True, kw_only=True)
class LiveTrace:
    """A running trace. `version` changes with each draft; `is_incomplete` means that spans or contents are missing."""

    trace_id: str
    project_id: str
    now: Callable[[], int]
    heard_at: int = 0
    spans: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    size: int = 0
    version: int = 0
    is_incomplete: bool = False

    @property
    def is_interrupted(self) -> bool:
        """True if no draft arrived for fifteen minutes, so that the trace was probably never delivered."""
        return self.now() - self.heard_at >= SILENT_FOR

    def record(self) -> dict[str, Any]:
        """Return the trace in the form of `GET /traces/{id}`. Running spans end now."""
        until = self.heard_at if self.is_interrupted else self.now()
        spans = [_until(span, until) for span in sorted(self.spans.values(), key=lambda span: str(span["started_at"]))]
        root: Mapping[str, Any] = next((span for span in spans if span["parent_span_id"] is None), spans[0])
        unknown = ("ended_at", "session_id", "user_id", "environment", "release")
        return {
            **dict.fromkeys(unknown),
            "trace_id": self.trace_id,
            "project_id": self.project_id,
            "name": root["name"],
            "status": "RUNNING",
            "input": root["input"],
            "output": root["output"],
            "metadata": {},
            "started_at": spans[0]["started_at"],
            "tags": [],
            "spans": spans,
            "total_tokens": sum(_tokens(span) for span in spans),
            "total_cost": 0.0,
        }


class LiveTraces:
    """Running traces of one server, bounded in number, spans and bytes; the oldest are dropped first. Thread-safe."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._running: OrderedDict[str, LiveTrace] = OrderedDict()
        self._settled: OrderedDict[str, None] = OrderedDict()
        self._bytes = self._versions = 0
        self._lock = threading.Lock()

    def take(self, project_id: str, drafts: Iterable[LiveDraft]) -> None:
        """Take drafts in order. Those of stored traces and of other projects are ignored."""
        with self._lock:
            for draft in drafts:
                trace_id = str(draft.trace_id)
                running = self._running.get(trace_id) or LiveTrace(
                    trace_id=trace_id, project_id=project_id, now=self._now
                )
                if trace_id in self._settled or running.project_id != project_id or not draft.spans:
                    continue
                self._running[trace_id] = running
                self._running.move_to_end(trace_id)
                self._versions += 1
                running.heard_at, running.version = self._now(), self._versions
                running.is_incomplete |= draft.is_incomplete
                for span in draft.spans:
                    self._put(running, _record(span, trace_id))
                while len(self._running) > MOST_TRACES:
                    self._drop(next(iter(self._running)))

    def stored(self, trace_id: str) -> None:
        """Drop a trace that has ended and is stored."""
        with self._lock:
            self._settled[trace_id] = None
            self._settled.move_to_end(trace_id)
            while len(self._settled) > _REMEMBERED:
                self._settled.popitem(last=False)
            self._drop(trace_id)

    def get(self, trace_id: str) -> LiveTrace | None:
        """Return a running trace."""
        return self._running.get(trace_id)

    def of_project(self, project_id: str) -> list[LiveTrace]:
        """Return the running traces of a project, newest first."""
        with self._lock:
            return [one for one in reversed(self._running.values()) if one.project_id == project_id]

    @property
    def state(self) -> str:
        """Text that changes when a trace starts or ends."""
        with self._lock:
            return str(hash(tuple(sorted(self._running))))

    def _put(self, running: LiveTrace, span: dict[str, Any]) -> None:
        before = running.spans.get(span["span_id"])
        if before is None and len(running.spans) >= MOST_SPANS:
            running.is_incomplete = True
            return
        if before is not None and before["ended_at"] is not None and span["ended_at"] is None:
            return  # The end arrived first.
        size = _SPAN_BYTES + len(dumps(span)) - (0 if before is None else _SPAN_BYTES + len(dumps(before)))
        while self._bytes + size > MOST_BYTES and next(iter(self._running)) != running.trace_id:
            self._drop(next(iter(self._running)))
        if self._bytes + size > MOST_BYTES:
            span = {**span, "input": None, "output": None}
            size, running.is_incomplete = 0, True
        self._bytes += size
        running.size += size
        running.spans[span["span_id"]] = span

    def _drop(self, trace_id: str) -> None:
        if (running := self._running.pop(trace_id, None)) is not None:
            self._bytes -= running.size


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


def _tokens(span: Mapping[str, Any]) -> int:
    usage: Mapping[str, Any] = span["token_usage"] or {}
    return sum(usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens"))
