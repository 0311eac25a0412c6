"""Rows of analytics. A `bucket` is the start of a period, in UTC."""

from __future__ import annotations

from pandaprobe_otel.api.models.base import Model, Utc


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
