"""Traces, their spans and their users."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from pandaprobe_otel.api.models.base import Model, OpenSpanKind, OpenSpanStatus, OpenTraceStatus, Utc
from pandaprobe_otel.mapping.outcomes import outcome_in


class TraceAccepted(Model):
    """An accepted trace. It becomes readable after 0.15 to 0.5 s (measured); see `traces.wait_visible`."""

    trace_id: UUID
    task_id: str


class SpansAccepted(Model):
    """Ids of the added spans, in the order of the request."""

    span_ids: list[UUID]


class Span(Model):
    """One step of a trace. Durations are in milliseconds, costs in US dollars."""

    span_id: UUID
    trace_id: UUID
    parent_span_id: UUID | None = None
    name: str
    kind: OpenSpanKind
    status: OpenSpanStatus
    input: Any = None
    output: Any = None
    model: str | None = None
    token_usage: dict[str, Any] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    started_at: Utc
    ended_at: Utc | None = None
    error: str | None = None
    completion_start_time: Utc | None = None
    model_parameters: dict[str, Any] | None = None
    cost: dict[str, Any] | None = None
    latency_ms: float | None = None
    time_to_first_token_ms: float | None = None

    @property
    def outcome(self) -> str | None:
        """The outcome if it was neither success nor failure: cancelled, timed_out, interrupted or partial."""
        return outcome_in({"metadata": self.metadata})

    def _repr_html_(self) -> str:
        from pandaprobe_otel.reporting.trace_display import span_html

        return span_html(self.model_dump())


class Trace(Model):
    """A trace with all its spans, ordered by their start."""

    trace_id: UUID
    project_id: UUID
    name: str
    status: OpenTraceStatus
    input: Any = None
    output: Any = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    started_at: Utc
    ended_at: Utc | None = None
    session_id: str | None = None
    user_id: str | None = None
    tags: list[str] = Field(default_factory=list)
    environment: str | None = None
    release: str | None = None
    spans: list[Span] = Field(default_factory=list[Span])
    total_tokens: int = 0
    total_cost: float = 0.0

    @property
    def outcome(self) -> str | None:
        """The outcome if it was neither success nor failure: cancelled, timed_out, interrupted or partial."""
        return outcome_in({"metadata": self.metadata})

    def __str__(self) -> str:
        from pandaprobe_otel.reporting.trace_display import trace_text

        return trace_text(self.model_dump())

    def __repr__(self) -> str:
        from pandaprobe_otel.reporting.trace_display import trace_line

        return f"<Trace {self.trace_id}  {trace_line(self.model_dump())}>"

    def _repr_html_(self) -> str:
        from pandaprobe_otel.reporting.trace_display import trace_html

        return trace_html(self.model_dump())


class TraceListItem(Model):
    """A trace in a list: totals instead of content and spans."""

    trace_id: UUID
    name: str
    status: OpenTraceStatus
    started_at: Utc
    ended_at: Utc | None = None
    session_id: str | None = None
    user_id: str | None = None
    tags: list[str] = Field(default_factory=list)
    environment: str | None = None
    release: str | None = None
    latency_ms: float | None = None
    span_count: int = 0
    total_tokens: int = 0
    total_cost: float = 0.0

    def __str__(self) -> str:
        from pandaprobe_otel.reporting.trace_display import trace_line

        return f"{self.trace_id}  {trace_line(self.model_dump())}"


class TracesDeleted(Model):
    """The number of deleted traces; unknown ids are not counted."""

    deleted: int


class TracesTagged(Model):
    """The number of changed traces; unknown ids are not counted."""

    updated: int


class UserSummary(Model):
    """A user id that traces carry."""

    user_id: str
    trace_count: int
    first_seen: Utc
    last_seen: Utc
    error_count: int
