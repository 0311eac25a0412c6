"""Arguments about scores."""

from __future__ import annotations

from typing import Annotated, Any, Required

from pydantic import Field

from pandaprobe_otel.api.arguments.base import Arguments, Paging
from pandaprobe_otel.api.fields import (
    AnyGranularity,
    AnyScoreDataType,
    AnyScoreSource,
    AnyScoreStatus,
    AnySortOrder,
    Id,
    Moment,
    Offset,
    Text255,
    Title,
)


class ScoreFilters(Arguments, total=False):
    """Filters of trace scores. `name` matches exactly; dates are those of the scores."""

    trace_id: Id | None
    name: str | None
    source: AnyScoreSource | None
    status: AnyScoreStatus | None
    data_type: AnyScoreDataType | None
    eval_run_id: Id | None
    environment: str | None
    date_from: Moment | None
    date_to: Moment | None


class ScoreListQuery(ScoreFilters, Paging, total=False):
    """Query of GET /evaluations/trace-scores."""


class SessionScoreFilters(Arguments, total=False):
    """Filters of session scores."""

    session_id: str | None
    name: str | None
    source: AnyScoreSource | None
    status: AnyScoreStatus | None
    eval_run_id: Id | None
    date_from: Moment | None
    date_to: Moment | None


class SessionScoreListQuery(SessionScoreFilters, Paging, total=False):
    """Query of GET /evaluations/session-scores."""


class ScoreBody(Arguments, total=False):
    """Body of POST /evaluations/trace-scores. The value is a string there, whatever its type (measured)."""

    trace_id: Required[Id]
    name: Required[Title]
    value: Required[Text255]
    data_type: AnyScoreDataType
    source: AnyScoreSource
    reason: str | None
    metadata: dict[str, Any]


class ScoreChanges(Arguments, total=False):
    """Body of PATCH /evaluations/trace-scores/{score_id}."""

    value: Text255 | None
    reason: str | None
    metadata: dict[str, Any] | None


class Dates(Arguments, total=False):
    """Period of the scores, from `date_from` (included) to `date_to` (excluded)."""

    date_from: Moment | None
    date_to: Moment | None


class ScoreTrendQuery(Dates, total=False):
    """Query of the trend of a metric."""

    metric_name: Required[str]
    granularity: AnyGranularity


class ScoreDistributionQuery(Dates, total=False):
    """Query of the histogram of a metric."""

    metric_name: Required[str]
    buckets: Annotated[int, Field(ge=1, le=100)]


class SessionHistoryQuery(Arguments, total=False):
    """Query of the scores of one session over time."""

    metric_name: str | None
    limit: Annotated[int, Field(ge=1, le=200)]


class ComparisonFilters(Arguments, total=False):
    """Ranking of sessions; `asc` puts the worst first."""

    metric_name: Required[str]
    sort_order: AnySortOrder


class SessionComparisonQuery(ComparisonFilters, total=False):
    """Query of the ranking of sessions. Its pages are smaller than those of other lists."""

    limit: Annotated[int, Field(ge=1, le=100)]
    offset: Offset
