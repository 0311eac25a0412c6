"""Answers of the API as pydantic models."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeAlias, TypeVar
from uuid import UUID

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field

from pandaprobe_otel.api.fields import (
    EvaluationStatus,
    MembershipRole,
    MonitorStatus,
    ScoreSource,
    ScoreStatus,
    SubscriptionPlan,
    SubscriptionStatus,
    TargetType,
)
from pandaprobe_otel.enums import ScoreDataType, SpanKind, SpanStatusCode, TraceStatus
from pandaprobe_otel.mapping.outcomes import outcome_in

if TYPE_CHECKING:
    import pandas


def frame(rows: Sequence[dict[str, Any]], *, index: str | None = None) -> pandas.DataFrame:
    """Return rows as a table.

    Raises:
        ModuleNotFoundError: pandas is not installed; the message has the command to install it.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise ModuleNotFoundError(
            'pandas is not installed. Install it with: pip install "pandaprobe-otel[pandas]"', name="pandas"
        ) from None
    table = pandas.DataFrame(list(rows))
    return table if index is None or not rows else table.set_index(index)


T = TypeVar("T")


E = TypeVar("E", bound=StrEnum)


class Model(BaseModel):
    """An answer, or a part of one. Immutable; `model_extra` keeps fields that a newer server adds."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=(), defer_build=True)


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


Utc = Annotated[datetime, AfterValidator(_in_utc)]
"""An aware datetime in UTC."""

Open: TypeAlias = Annotated[E | str, Field(union_mode="left_to_right")]
"""A member of an enumeration. Unknown values stay plain strings, so that the answers of a newer server can be read."""


class Page(Model, Generic[T]):
    """One page of a list. `total` counts all matching rows, on all pages."""

    items: list[T]
    total: int
    limit: int
    offset: int

    def __str__(self) -> str:
        return "\n".join([f"{len(self.items)} of {self.total}", *map(str, self.items)])

    def _repr_html_(self) -> str:
        from pandaprobe_otel.traces.notebook import rows_html

        rows = [item.model_dump() if isinstance(item, BaseModel) else {"value": item} for item in self.items]
        return rows_html("rows", rows, total=self.total)


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
    kind: Open[SpanKind]
    status: Open[SpanStatusCode]
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


class Trace(Model):
    """A trace with all its spans, ordered by their start."""

    trace_id: UUID
    project_id: UUID
    name: str
    status: Open[TraceStatus]
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
        from pandaprobe_otel.traces.records import TraceRecord
        from pandaprobe_otel.traces.text import trace_text

        return trace_text(TraceRecord(self.model_dump()))

    def __repr__(self) -> str:
        from pandaprobe_otel.traces.records import TraceRecord
        from pandaprobe_otel.traces.text import trace_line

        return f"<Trace {self.trace_id}  {trace_line(TraceRecord(self.model_dump()))}>"

    def _repr_html_(self) -> str:
        from pandaprobe_otel.traces.notebook import trace_html
        from pandaprobe_otel.traces.records import TraceRecord

        return trace_html(TraceRecord(self.model_dump()))


class TraceListItem(Model):
    """A trace in a list: totals instead of content and spans."""

    trace_id: UUID
    name: str
    status: Open[TraceStatus]
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
        from pandaprobe_otel.traces.records import TraceRecord
        from pandaprobe_otel.traces.text import trace_line

        return f"{self.trace_id}  {trace_line(TraceRecord(self.model_dump()))}"


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


class SessionSummary(Model):
    """A session in a list. `has_error` depends on the statuses of traces, not of spans (measured on server 0.5.0).

    `total_latency_ms` is the sum of the latencies of its traces; costs are in US dollars.
    """

    session_id: str
    trace_count: int
    first_trace_at: Utc
    last_trace_at: Utc | None = None
    total_latency_ms: float | None = None
    has_error: bool
    user_id: str | None = None
    tags: list[str] = Field(default_factory=list)
    total_span_count: int = 0
    total_tokens: int = 0
    total_cost: float = 0.0


class Session(SessionSummary):
    """A session with its traces, oldest first. The totals count all traces, even if `traces` is one page of them."""

    traces: list[Trace] = Field(default_factory=list[Trace])

    def __str__(self) -> str:
        from pandaprobe_otel.traces.records import TraceRecord
        from pandaprobe_otel.traces.text import plain_text, trace_line

        title = f"session {plain_text(self.session_id)}  {self.trace_count} traces"
        return "\n".join([title, *(f"  {trace_line(TraceRecord(trace.model_dump()))}" for trace in self.traces)])

    def __repr__(self) -> str:
        return f"<Session {self.session_id!r}: {self.trace_count} traces>"

    def _repr_html_(self) -> str:
        from pandaprobe_otel.traces.notebook import session_html

        return session_html(self.model_dump())

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat row for each trace: its fields, and the number of its spans instead of the spans."""
        return [
            {
                **trace.model_dump(exclude={"spans"}),
                "span_count": len(trace.spans),
                "latency_ms": (trace.ended_at - trace.started_at).total_seconds() * 1000 if trace.ended_at else None,
            }
            for trace in self.traces
        ]

    def to_pandas(self) -> pandas.DataFrame:
        """Return the traces as a table, indexed by trace id. Needs pandas, which is not a dependency of this library.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """

        return frame(self.rows(), index="trace_id")


class SessionDeleted(Model):
    """The number of deleted traces of a session."""

    deleted: int


class Score(Model):
    """Common parts of trace and session scores. `value` is the server's string; see `parsed`."""

    id: UUID
    name: str
    value: str | None = None
    status: ScoreStatus | str
    source: ScoreSource | str
    data_type: Open[ScoreDataType]
    reason: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    eval_run_id: UUID | None = None
    author_user_id: str | None = None
    project_id: UUID
    created_at: Utc
    updated_at: Utc

    @property
    def parsed(self) -> float | bool | str | None:
        """The value by its type: a number, True or False, or a label; None if there is none (a failed score)."""
        if self.value is None:
            return None
        if self.data_type == ScoreDataType.BOOLEAN:
            return self.value.strip().lower() == "true"
        if self.data_type != ScoreDataType.NUMERIC:
            return self.value
        try:
            number = float(self.value)
        except ValueError:
            return None
        return number if math.isfinite(number) else None

    @property
    @abstractmethod
    def target(self) -> str:
        """The id of the scored trace or session."""


class TraceScore(Score):
    """A score of a trace."""

    trace_id: UUID
    environment: str | None = None
    config_id: str | None = None

    @property
    def target(self) -> str:
        """Id of the trace."""
        return str(self.trace_id)


class SessionScore(Score):
    """A score of a session."""

    session_id: str

    @property
    def target(self) -> str:
        """Id of the session."""
        return self.session_id


class EvalRun(Model):
    """State of an evaluation run.

    `evaluated_count` counts targets, but `failed_count` counts pairs of target and metric (measured on server 0.5.0). A
    run is COMPLETED even if every metric failed, and targets that do not exist count as evaluated.
    """

    id: UUID
    name: str | None = None
    status: EvaluationStatus | str
    metric_names: list[str]
    # The published description says `total_traces`; the server sends `total_targets`.
    total_targets: int = Field(validation_alias=AliasChoices("total_targets", "total_traces"))
    evaluated_count: int
    failed_count: int
    created_at: Utc
    completed_at: Utc | None = None
    project_id: UUID
    target_type: TargetType | str
    filters: dict[str, Any] = Field(default_factory=dict)
    sampling_rate: float = 1.0
    model: str | None = None
    monitor_id: UUID | None = None
    error_message: str | None = None

    @property
    def finished(self) -> bool:
        """True if the run is COMPLETED, or FAILED (which the server may still change for a while)."""
        return self.status in ("COMPLETED", "FAILED")


class Provider(Model):
    """Provider of judge models. If it is not available, `message` gives the reason."""

    key: str
    name: str
    description: str
    available: bool
    message: str


class Metric(Model):
    """A metric that can be evaluated."""

    name: str
    description: str
    category: str


class PromptPreview(Model):
    """A prompt that a metric gives to the judge."""

    stage: str
    prompt: str


class MetricInfo(Metric):
    """A metric with its default threshold and prompts."""

    default_threshold: float
    prompt_preview: list[PromptPreview] = Field(default_factory=list[PromptPreview])


class RunFilters(Model):
    """Filters of the traces to evaluate. Dates are unchanged from the caller."""

    date_from: str | None = None
    date_to: str | None = None
    status: Open[TraceStatus] | None = None
    session_id: str | None = None
    user_id: str | None = None
    tags: list[str] | None = None
    name: str | None = None


class RunTemplate(Model):
    """Arguments of a run of one metric, with their defaults."""

    metric: MetricInfo
    filters: RunFilters
    sampling_rate: float
    model: str | None = None


class Monitor(Model):
    """A monitor. The weights of a session monitor's signals are in its `filters` (measured on server 0.5.0)."""

    id: UUID
    project_id: UUID
    name: str
    target_type: TargetType | str
    metric_names: list[str]
    filters: dict[str, Any] = Field(default_factory=dict)
    sampling_rate: float
    model: str | None = None
    cadence: str
    only_if_changed: bool
    status: MonitorStatus | str
    last_run_at: Utc | None = None
    last_run_id: UUID | None = None
    next_run_at: Utc | None = None
    created_at: Utc
    updated_at: Utc


class AnalyticsBucket(Model):
    """Traces of one bucket (metrics `volume`, `errors` and `latency`). Latencies are in milliseconds."""

    bucket: Utc
    trace_count: int = 0
    error_count: int = 0
    avg_latency_ms: float | None = None
    p50_latency_ms: float | None = None
    p90_latency_ms: float | None = None
    p99_latency_ms: float | None = None


class TokenCostBucket(Model):
    """Tokens and cost of one bucket (metrics `tokens` and `cost`)."""

    bucket: Utc
    total_tokens: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_cost: float = 0.0


class TopModel(Model):
    """Usage of a model (metric `models`)."""

    model: str
    call_count: int
    total_tokens: int = 0
    total_cost: float = 0.0


class SessionAnalyticsBucket(Model):
    """Sessions of one bucket."""

    bucket: Utc
    session_count: int = 0
    avg_traces_per_session: float | None = None
    avg_session_duration_ms: float | None = None


class ScoreSummary(Model):
    """Summary of a metric's scores; the numbers are None if the scores are not numeric."""

    metric_name: str
    avg_score: float | None = None
    min_score: float | None = None
    max_score: float | None = None
    median_score: float | None = None
    success_count: int
    failed_count: int
    latest_score_at: Utc | None = None


class ScoreTrend(Model):
    """A metric's average in one bucket."""

    bucket: Utc | None = None
    metric_name: str
    avg_score: float | None = None
    count: int


class ScoreDistribution(Model):
    """One bar of a histogram. Scores of exactly 1 have an additional last bar (measured on server 0.5.0)."""

    bucket: int
    bucket_min: float
    bucket_max: float
    count: int


class SessionScorePoint(Model):
    """A session's score for one metric after one run."""

    metric_name: str
    score: float | None = None
    eval_run_id: str | None = None
    created_at: Utc | None = None
    status: str


class SessionComparison(Model):
    """A session's latest score, in a ranking."""

    session_id: str
    score: float | None = None
    evaluated_at: Utc | None = None
    eval_run_id: str | None = None


class UserProfile(Model):
    """The owner of the token."""

    id: UUID
    email: str
    display_name: str
    created_at: Utc
    last_sign_in_at: Utc | None = None


class Organization(Model):
    """An organization."""

    id: UUID
    name: str
    created_at: Utc


class MyOrganization(Organization):
    """An organization and the token owner's role in it."""

    role: MembershipRole | str


class Project(Model):
    """A project."""

    id: UUID
    org_id: UUID
    name: str
    description: str = ""
    created_at: Utc


class ApiKey(Model):
    """An API key. `raw_key` is the key itself: only the answer that creates the key has it, and it is never printed."""

    id: UUID
    org_id: UUID
    key_prefix: str
    name: str
    is_active: bool
    created_at: Utc
    expires_at: Utc | None = None
    raw_key: str | None = Field(default=None, repr=False)


class Usage(Model):
    """Usage in the current period, and what the plan includes (`limits`)."""

    plan: SubscriptionPlan | str
    status: SubscriptionStatus | str
    period_start: Utc
    period_end: Utc
    traces: int = 0
    trace_evals: int = 0
    session_evals: int = 0
    limits: dict[str, Any] = Field(default_factory=dict)
