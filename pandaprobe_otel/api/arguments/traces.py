"""Arguments about traces and their spans."""

from __future__ import annotations

from typing import Annotated, Any, Required

from pydantic import Field

from pandaprobe_otel.api.arguments.base import Arguments, Paging
from pandaprobe_otel.api.fields import (
    MAX_BATCH,
    AnyAnalyticsMetric,
    AnyGranularity,
    AnySortOrder,
    AnySpanKind,
    AnySpanStatus,
    AnyTraceSortBy,
    AnyTraceStatus,
    Cost,
    Id,
    Moment,
    Name,
    Text255,
    TokenUsage,
)


class TraceFilters(Arguments, total=False):
    """Filters and order of a list of traces. A trace matches if its name contains `name` and it has any of `tags`; the
    other filters match exactly.
    """

    session_id: str | None
    status: AnyTraceStatus | None
    user_id: str | None
    tags: list[str] | None
    name: str | None
    started_after: Moment | None
    started_before: Moment | None
    sort_by: AnyTraceSortBy
    sort_order: AnySortOrder


class TraceListQuery(TraceFilters, Paging, total=False):
    """Query of GET /traces."""


class Window(Arguments, total=False):
    """Period from `started_after` (included) to `started_before` (excluded), divided into buckets."""

    granularity: AnyGranularity
    started_after: Required[Moment]
    started_before: Required[Moment]


class TraceAnalyticsQuery(Window, total=False):
    """Query of GET /traces/analytics."""

    metric: AnyAnalyticsMetric


class SpanArguments(Arguments, total=False):
    """Span to add. `span_id` is generated if omitted; span ids are unique over all traces of the server."""

    span_id: Id
    parent_span_id: Id | None
    name: Required[Name]
    kind: AnySpanKind
    status: AnySpanStatus
    input: Any
    output: Any
    model: Text255 | None
    token_usage: TokenUsage | None
    metadata: dict[str, Any]
    started_at: Required[Moment]
    ended_at: Moment | None
    error: str | None
    completion_start_time: Moment | None
    model_parameters: dict[str, Any] | None
    cost: Cost | None


SpanBatch = Annotated[list[SpanArguments], Field(min_length=1, max_length=MAX_BATCH)]


class TraceArguments(Arguments, total=False):
    """Trace to post. `trace_id` is generated if omitted. Omitted fields erase those of an earlier post."""

    trace_id: Id
    name: Required[Name]
    status: AnyTraceStatus
    input: Any
    output: Any
    metadata: dict[str, Any]
    started_at: Required[Moment]
    ended_at: Moment | None
    session_id: Text255 | None
    user_id: Text255 | None
    tags: list[str]
    environment: Text255 | None
    release: Text255 | None
    spans: Annotated[list[SpanArguments], Field(max_length=MAX_BATCH)]


class TraceChanges(Arguments, total=False):
    """Changes to a trace. Omitted fields stay, None clears, metadata is merged, tags are replaced."""

    name: Name
    status: AnyTraceStatus
    input: Any
    output: Any
    metadata: dict[str, Any] | None
    ended_at: Moment | None
    session_id: Text255 | None
    user_id: Text255 | None
    tags: list[str] | None
    environment: Text255 | None
    release: Text255 | None


class SpanChanges(Arguments, total=False):
    """Changes to a span. Omitted fields stay, None clears, metadata is merged."""

    name: Name
    kind: AnySpanKind
    status: AnySpanStatus
    input: Any
    output: Any
    model: Text255 | None
    token_usage: TokenUsage | None
    metadata: dict[str, Any] | None
    ended_at: Moment | None
    error: str | None
    completion_start_time: Moment | None
    model_parameters: dict[str, Any] | None
    cost: Cost | None


TraceIds = Annotated[list[Id], Field(min_length=1, max_length=MAX_BATCH)]


class TracesToDelete(Arguments):
    """Body of POST /traces/batch/delete."""

    trace_ids: TraceIds


class TracesToTag(Arguments, total=False):
    """Body of POST /traces/batch/tags."""

    trace_ids: Required[TraceIds]
    add_tags: list[str]
    remove_tags: list[str]
