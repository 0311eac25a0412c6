"""Bodies of the trace and span routes."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from pydantic import Field, RootModel

from pandaprobe_otel.enums import SpanKind, SpanStatusCode, TraceStatus
from pandaprobe_otel.local.models.fields import Moment, Name, Numbers, RequestBody, Text255, TokenUsage

MAX_SPANS = 500
MAX_BATCH = 500
MOST_DRAFTS = 500


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
    cost: Numbers | None = None


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
    cost: Numbers | None = None


class BatchDelete(RequestBody):
    """Body of `POST /traces/batch/delete`."""

    trace_ids: list[UUID] = Field(min_length=1, max_length=MAX_BATCH)


class BatchTags(RequestBody):
    """Body of `POST /traces/batch/tags`."""

    trace_ids: list[UUID] = Field(min_length=1, max_length=MAX_BATCH)
    add_tags: list[str] = Field(default_factory=list)
    remove_tags: list[str] = Field(default_factory=list)


class LiveDraft(RequestBody):
    """Spans of a trace that are new or have changed. One without an end is running."""

    trace_id: UUID
    spans: list[SpanCreate]
    is_incomplete: bool = False
    """True if some drafts of this trace were never sent."""


class LiveDrafts(RootModel[list[LiveDraft]]):
    """Drafts in order."""

    root: list[LiveDraft] = Field(max_length=MOST_DRAFTS)
