"""Types of arguments, which are checked before a request is sent."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field

from pandaprobe_otel.api.enums import (
    AnalyticsGranularity,
    AnalyticsMetric,
    EvaluationStatus,
    KeyExpiration,
    MembershipRole,
    MonitorStatus,
    ScoreSource,
    ScoreStatus,
    SessionSortBy,
    SortOrder,
    SubscriptionPlan,
    TargetType,
    TraceSortBy,
)
from pandaprobe_otel.enums import ScoreDataType, SpanKind, SpanStatusCode, TraceStatus

E = TypeVar("E", bound=StrEnum)

MAX_PAGE: Final = 200
"""Largest page of a list (the server answers 422 beyond it)."""
MAX_BATCH: Final = 500
"""Maximum number of spans in one trace body, and of traces in one batch (the server answers 422 beyond it)."""
_INT4_MAX: Final = 2**31 - 1


def _member_of(kind: type[E]) -> Callable[[object], E]:
    def member(value: object) -> E:
        try:
            return kind(str(value))
        except ValueError:
            raise ValueError(f"must be one of {', '.join(kind)}, not {str(value)[:80]!r}") from None

    return member


def _aware(moment: datetime) -> datetime:
    # The server would read a time without a zone as UTC, which is wrong for a local time.
    if moment.tzinfo is None:
        raise ValueError("has no time zone: pass an aware datetime, such as datetime.now(UTC)")
    return moment.astimezone(UTC)


def _uuid(value: object) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(str(value))
    except ValueError:
        raise ValueError(f"must be a UUID, not {str(value)[:80]!r}") from None


def _token_usage(usage: dict[str, Any]) -> dict[str, Any]:
    # Any value except a small integer makes every list of the project answer 500 (measured on server 0.5.0).
    counts = [usage.get(key) for key in ("prompt_tokens", "completion_tokens")]
    for count in counts:
        if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
            raise ValueError("prompt_tokens and completion_tokens must be integers")
    total = [count or 0 for count in counts]
    if any(abs(number) > _INT4_MAX for number in (*total, sum(total))):
        raise ValueError("prompt_tokens and completion_tokens must be below 2**31, and so must their sum")
    return usage


def _cost(cost: dict[str, float]) -> dict[str, float]:
    # Otherwise the server answers 202 and loses the trace (measured on server 0.5.0).
    if not all(math.isfinite(value) for value in cost.values()):
        raise ValueError("must be finite numbers")
    return cost


Id = Annotated[UUID | str, BeforeValidator(_uuid)]
Moment = Annotated[datetime, AfterValidator(_aware)]
Limit = Annotated[int, Field(ge=1, le=MAX_PAGE)]
Offset = Annotated[int, Field(ge=0, lt=2**63)]
"""The server fails on offsets beyond its database's range (measured on server 0.5.0)."""
Name = Annotated[str, Field(min_length=1, max_length=512)]
Text255 = Annotated[str, Field(max_length=255)]
Title = Annotated[str, Field(min_length=1, max_length=255)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
TokenUsage = Annotated[dict[str, Any], AfterValidator(_token_usage)]
Cost = Annotated[dict[str, float], AfterValidator(_cost)]

AnyTraceStatus = Annotated[TraceStatus | str, BeforeValidator(_member_of(TraceStatus))]
AnySpanKind = Annotated[SpanKind | str, BeforeValidator(_member_of(SpanKind))]
AnySpanStatus = Annotated[SpanStatusCode | str, BeforeValidator(_member_of(SpanStatusCode))]
AnyTraceSortBy = Annotated[TraceSortBy | str, BeforeValidator(_member_of(TraceSortBy))]
AnySessionSortBy = Annotated[SessionSortBy | str, BeforeValidator(_member_of(SessionSortBy))]
AnySortOrder = Annotated[SortOrder | str, BeforeValidator(_member_of(SortOrder))]
AnyAnalyticsMetric = Annotated[AnalyticsMetric | str, BeforeValidator(_member_of(AnalyticsMetric))]
AnyGranularity = Annotated[AnalyticsGranularity | str, BeforeValidator(_member_of(AnalyticsGranularity))]
AnyRunStatus = Annotated[EvaluationStatus | str, BeforeValidator(_member_of(EvaluationStatus))]
AnyScoreStatus = Annotated[ScoreStatus | str, BeforeValidator(_member_of(ScoreStatus))]
AnyScoreSource = Annotated[ScoreSource | str, BeforeValidator(_member_of(ScoreSource))]
AnyScoreDataType = Annotated[ScoreDataType | str, BeforeValidator(_member_of(ScoreDataType))]
AnyTargetType = Annotated[TargetType | str, BeforeValidator(_member_of(TargetType))]
AnyMonitorStatus = Annotated[MonitorStatus | str, BeforeValidator(_member_of(MonitorStatus))]
AnyRole = Annotated[MembershipRole | str, BeforeValidator(_member_of(MembershipRole))]
AnyExpiration = Annotated[KeyExpiration | str, BeforeValidator(_member_of(KeyExpiration))]
AnyPlan = Annotated[SubscriptionPlan | str, BeforeValidator(_member_of(SubscriptionPlan))]
