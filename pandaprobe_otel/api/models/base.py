"""Common parts of all answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pandaprobe_otel.api.enums import (
    EvaluationStatus,
    InvitationStatus,
    MembershipRole,
    MonitorStatus,
    ScoreSource,
    ScoreStatus,
    SubscriptionPlan,
    SubscriptionStatus,
    TargetType,
)
from pandaprobe_otel.enums import ScoreDataType, SpanKind, SpanStatusCode, TraceStatus

T = TypeVar("T")


class Model(BaseModel):
    """An answer, or a part of one. Immutable; `model_extra` keeps fields that a newer server adds."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=(), defer_build=True)


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


Utc = Annotated[datetime, AfterValidator(_in_utc)]
"""An aware datetime in UTC."""

# Unknown values stay plain strings, so that the answers of a newer server can be read.
_known_first = Field(union_mode="left_to_right")
OpenTraceStatus = Annotated[TraceStatus | str, _known_first]
OpenSpanKind = Annotated[SpanKind | str, _known_first]
OpenSpanStatus = Annotated[SpanStatusCode | str, _known_first]
OpenRunStatus = Annotated[EvaluationStatus | str, _known_first]
OpenScoreStatus = Annotated[ScoreStatus | str, _known_first]
OpenScoreSource = Annotated[ScoreSource | str, _known_first]
OpenScoreDataType = Annotated[ScoreDataType | str, _known_first]
OpenTargetType = Annotated[TargetType | str, _known_first]
OpenMonitorStatus = Annotated[MonitorStatus | str, _known_first]
OpenRole = Annotated[MembershipRole | str, _known_first]
OpenInvitationStatus = Annotated[InvitationStatus | str, _known_first]
OpenPlan = Annotated[SubscriptionPlan | str, _known_first]
OpenSubscriptionStatus = Annotated[SubscriptionStatus | str, _known_first]


class Page(Model, Generic[T]):
    """One page of a list. `total` counts all matching rows, on all pages."""

    items: list[T]
    total: int
    limit: int
    offset: int

    def __str__(self) -> str:
        return "\n".join([f"{len(self.items)} of {self.total}", *map(str, self.items)])

    def _repr_html_(self) -> str:
        from pandaprobe_otel.reporting.trace_display import rows_html

        rows = [item.model_dump() if isinstance(item, BaseModel) else {"value": item} for item in self.items]
        return rows_html("rows", rows, total=self.total)
