"""Bodies of the trace and span routes."""

from __future__ import annotations

from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

from pydantic import BaseModel, Field

from pandaprobe_otel.enums import SpanKind, SpanStatusCode, TraceStatus
from pandaprobe_otel.local.models.fields import Cost, Moment, Name, RequestBody, Text255, TokenUsage

Item = TypeVar("Item", bound=BaseModel)

MAX_SPANS = 500
MAX_BATCH = 500


class SpanCreate(RequestBody):
    """A span of `POST /traces` or `POST /traces/{id}/spans`."""

    span_id: UUID = Field(default_factory=uuid4)
    parent_span_id: UUID | None = None
    name: Name
    kind: SpanKind = SpanKind.OTHER
    status: SpanStatusCode = SpanStatusCode.UNSET
    input: Any | None = None
    output: Any | None = None
    model: Text255 | None = None
    token_usage: TokenUsage | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    started_at: Moment
    ended_at: Moment | None = None
    error: str | None = None
    completion_start_time: Moment | None = None
    model_parameters: dict[str, Any] | None = None
    cost: Cost | None = None


class TraceCreate(RequestBody):
    """Body of `POST /traces`."""

    trace_id: UUID = Field(default_factory=uuid4)
    name: Name
    status: TraceStatus = TraceStatus.COMPLETED
    input: Any | None = None
    output: Any | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    started_at: Moment
    ended_at: Moment | None = None
    session_id: Text255 | None = None
    user_id: Text255 | None = None
    tags: list[str] = Field(default_factory=list)
    environment: Text255 | None = None
    release: Text255 | None = None
    spans: list[SpanCreate] = Field(default_factory=list[SpanCreate], max_length=MAX_SPANS)


class TraceUpdate(RequestBody):
    """Body of `PATCH /traces/{id}`. Omitted fields stay, and null clears nullable ones."""

    name: str | None = Field(default=None, max_length=512)
    status: TraceStatus | None = None
    input: Any | None = None
    output: Any | None = None
    metadata: dict[str, Any] | None = None
    ended_at: Moment | None = None
    session_id: Text255 | None = None
    user_id: Text255 | None = None
    tags: list[str] | None = None
    environment: Text255 | None = None
    release: Text255 | None = None


class SpanUpdate(RequestBody):
    """Body of `PATCH /traces/{id}/spans/{span_id}`."""

    name: str | None = Field(default=None, max_length=512)
    kind: SpanKind | None = None
    status: SpanStatusCode | None = None
    input: Any | None = None
    output: Any | None = None
    model: Text255 | None = None
    token_usage: TokenUsage | None = None
    metadata: dict[str, Any] | None = None
    ended_at: Moment | None = None
    error: str | None = None
    completion_start_time: Moment | None = None
    model_parameters: dict[str, Any] | None = None
    cost: Cost | None = None


class BatchDelete(RequestBody):
    """Body of `POST /traces/batch/delete`."""

    trace_ids: list[UUID] = Field(min_length=1, max_length=MAX_BATCH)


class BatchTags(RequestBody):
    """Body of `POST /traces/batch/tags`."""

    trace_ids: list[UUID] = Field(min_length=1, max_length=MAX_BATCH)
    add_tags: list[str] = Field(default_factory=list)
    remove_tags: list[str] = Field(default_factory=list)


class TraceAccepted(BaseModel):
    """Answer of `POST /traces`."""

    trace_id: UUID
    task_id: str


class SpansAccepted(BaseModel):
    """Answer of `POST /traces/{id}/spans`. Ids are in the order of the request."""

    span_ids: list[UUID]


class SpanResponse(BaseModel):
    """A stored span."""

    span_id: UUID
    trace_id: UUID
    parent_span_id: UUID | None
    name: str
    kind: SpanKind
    status: SpanStatusCode
    input: Any | None
    output: Any | None
    model: str | None
    token_usage: dict[str, Any] | None
    metadata: dict[str, Any]
    started_at: str
    ended_at: str | None
    error: str | None
    completion_start_time: str | None
    model_parameters: dict[str, Any] | None
    cost: dict[str, float] | None
    latency_ms: float | None
    time_to_first_token_ms: float | None


class TraceResponse(BaseModel):
    """A stored trace with its spans, ordered by start, then id."""

    trace_id: UUID
    project_id: UUID
    name: str
    status: TraceStatus
    input: Any | None
    output: Any | None
    metadata: dict[str, Any]
    started_at: str
    ended_at: str | None
    session_id: str | None
    user_id: str | None
    tags: list[str]
    environment: str | None = None
    release: str | None = None
    spans: list[SpanResponse]
    total_tokens: int = 0
    total_cost: float = 0.0


class TraceListItem(BaseModel):
    """A trace in a list."""

    trace_id: UUID
    name: str
    status: TraceStatus
    started_at: str
    ended_at: str | None
    session_id: str | None
    user_id: str | None
    tags: list[str]
    environment: str | None = None
    release: str | None = None
    latency_ms: float | None = None
    span_count: int = 0
    total_tokens: int = 0
    total_cost: float = 0.0


class UserSummary(BaseModel):
    """A user in `GET /traces/users`."""

    user_id: str
    trace_count: int
    first_seen: str
    last_seen: str
    error_count: int


class SessionSummary(BaseModel):
    """A session with the totals of its traces. `has_error` depends only on trace statuses."""

    session_id: str
    trace_count: int
    first_trace_at: str
    last_trace_at: str | None
    total_latency_ms: float | None
    has_error: bool
    user_id: str | None
    tags: list[str]
    total_span_count: int = 0
    total_tokens: int = 0
    total_cost: float = 0.0


class SessionDetail(SessionSummary):
    """A session with a page of its traces, oldest first."""

    traces: list[TraceResponse]


class Deleted(BaseModel):
    """The number of deleted traces."""

    deleted: int


class Updated(BaseModel):
    """The number of changed traces."""

    updated: int


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    total: int
    limit: int
    offset: int
