"""Bodies of the evaluation routes."""

from __future__ import annotations

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, model_validator

from pandaprobe_otel.api.fields import ScoreSource
from pandaprobe_otel.enums import ScoreDataType, TraceStatus
from pandaprobe_otel.local.models.fields import Numbers, RequestBody

Metrics = Annotated[list[str], Field(min_length=1)]
Rate = Annotated[float, Field(ge=0.0, le=1.0)]
FilterDate = Annotated[str, Field(max_length=64)]
Text255Refused = Annotated[str, Field(max_length=255)]
"""The real server fails with a 500 above 255 characters (measured on server 0.5.0)."""


class TraceRunFilters(RequestBody):
    """Filters of the traces to evaluate. Dates are ISO 8601, and `date_to` is exclusive."""

    date_from: FilterDate | None = None
    date_to: FilterDate | None = None
    status: TraceStatus | None = None
    session_id: str | None = None
    user_id: str | None = None
    tags: list[str] | None = None
    name: str | None = None


class SessionRunFilters(RequestBody):
    """Filters of the sessions to evaluate."""

    date_from: FilterDate | None = None
    date_to: FilterDate | None = None
    user_id: str | None = None
    has_error: bool | None = None
    tags: list[str] | None = None
    min_trace_count: int | None = Field(default=None, ge=1)


class NewRun(RequestBody):
    """Fields of all bodies that start a run."""

    name: Text255Refused | None = None
    metrics: Metrics
    model: Text255Refused | None = None


class _OfSessions(RequestBody):
    signal_weights: Numbers | None = None


class CreateTraceRun(NewRun):
    """Body of `POST /evaluations/trace-runs`."""

    filters: TraceRunFilters = Field(default_factory=TraceRunFilters)
    sampling_rate: Rate = 1.0


class _TraceIds(RequestBody):
    trace_ids: list[UUID] = Field(min_length=1)


class CreateTraceBatchRun(NewRun, _TraceIds):
    """Body of `POST /evaluations/trace-runs/batch`."""


class CreateSessionRun(NewRun, _OfSessions):
    """Body of `POST /evaluations/session-runs`."""

    filters: SessionRunFilters = Field(default_factory=SessionRunFilters)
    sampling_rate: Rate = 1.0


class _SessionIds(RequestBody):
    session_ids: list[str] = Field(min_length=1)


class CreateSessionBatchRun(NewRun, _OfSessions, _SessionIds):
    """Body of `POST /evaluations/session-runs/batch`."""


def check_value(value: str, data_type: ScoreDataType) -> None:
    """Raise ValueError for a value that does not fit the type. Values are stored unchanged."""
    if data_type is ScoreDataType.NUMERIC:
        try:
            number = float(value)
        except ValueError:
            raise ValueError("NUMERIC score must be a valid number") from None
        if not 0.0 <= number <= 1.0:
            raise ValueError("NUMERIC score must be in [0.0, 1.0]")
    elif data_type is ScoreDataType.BOOLEAN and value.lower() not in ("true", "false"):
        raise ValueError("BOOLEAN score must be 'true' or 'false'")


class CreateTraceScore(RequestBody):
    """Body of `POST /evaluations/trace-scores`."""

    trace_id: UUID
    name: Text255Refused
    value: Text255Refused
    data_type: ScoreDataType = ScoreDataType.NUMERIC
    source: ScoreSource = "ANNOTATION"
    reason: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _value_fits(self) -> Self:
        check_value(self.value, self.data_type)
        return self


class UpdateTraceScore(RequestBody):
    """Body of `PATCH /evaluations/trace-scores/{id}`."""

    value: Text255Refused | None = None
    reason: str | None = None
    metadata: dict[str, Any] | None = None


class CreateMonitor(RequestBody):
    """Body of `POST /evaluations/monitors`."""

    name: Text255Refused
    target_type: str
    metrics: Metrics
    filters: dict[str, Any] = Field(default_factory=dict)
    sampling_rate: Rate = 1.0
    model: Text255Refused | None = None
    cadence: Text255Refused
    only_if_changed: bool = True
    signal_weights: Numbers | None = None


class UpdateMonitor(RequestBody):
    """Body of `PATCH /evaluations/monitors/{id}`."""

    name: Text255Refused | None = None
    metrics: list[str] | None = None
    filters: dict[str, Any] | None = None
    sampling_rate: Rate | None = None
    model: Text255Refused | None = None
    cadence: Text255Refused | None = None
    only_if_changed: bool | None = None
    signal_weights: Numbers | None = None
