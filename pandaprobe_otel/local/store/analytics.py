"""Analytics of traces, sessions and scores, as PostgreSQL's date_trunc and percentile_cont compute them.

Buckets without data are omitted, as on the server. Only successful NUMERIC scores have a number and are averaged;
others are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pandaprobe_otel.api.fields import AnalyticsGranularity
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.times import DAY, HOUR, micros_of

# The epoch was a Thursday; weeks begin on Monday.
_WIDTHS: Final[Mapping[AnalyticsGranularity, tuple[int, int]]] = {
    "hour": (HOUR, 0),
    "day": (DAY, 0),
    "week": (7 * DAY, 4 * DAY),
}
"""Width of the buckets, and the beginning of one of them."""
_BUCKET: Final = "{0} - (({0} - :begin) % :width + :width) % :width AS bucket"
_IN_BUCKETS: Final = "GROUP BY bucket ORDER BY bucket"
_IN_WINDOW: Final = "project_id = :project AND started_at >= :after AND started_at < :before"
_CALLS: Final = """
    FROM spans s JOIN traces t ON t.seq = s.trace_seq
    WHERE t.project_id = :project AND s.started_at >= :after AND s.started_at < :before
"""
_SCORES: Final = """
    FROM {table} WHERE project_id = :project AND (:name IS NULL OR name = :name)
    AND (:after IS NULL OR created_at >= :after) AND (:before IS NULL OR created_at < :before)
"""

VOLUME: Final = f"""
    SELECT iso(bucket) AS bucket, COUNT(*) AS trace_count, SUM(status = 'ERROR') AS error_count,
        AVG(latency) AS avg_latency_ms, percentile(json_group_array(latency), 0.5) AS p50_latency_ms,
        percentile(json_group_array(latency), 0.9) AS p90_latency_ms,
        percentile(json_group_array(latency), 0.99) AS p99_latency_ms
    FROM (SELECT {_BUCKET.format("started_at")}, (ended_at - started_at) / 1000.0 AS latency, status
        FROM traces WHERE {_IN_WINDOW}) {_IN_BUCKETS}
"""
"""Counts of traces and errors, and latencies."""
TOKENS: Final = f"""
    SELECT iso(bucket) AS bucket, SUM(prompt_tokens + completion_tokens) AS total_tokens,
        SUM(prompt_tokens) AS prompt_tokens, SUM(completion_tokens) AS completion_tokens, SUM(cost) AS total_cost
    FROM (SELECT {_BUCKET.format("s.started_at")}, prompt_tokens, completion_tokens, s.total_cost AS cost {_CALLS})
    {_IN_BUCKETS}
"""
"""Tokens and cost of spans by the start of the span. A bucket needs a span, but not tokens."""
MODELS: Final = f"""
    SELECT s.model, COUNT(*) AS call_count, SUM(prompt_tokens + completion_tokens) AS total_tokens,
        SUM(s.total_cost) AS total_cost {_CALLS} AND s.model IS NOT NULL
    GROUP BY s.model ORDER BY call_count DESC, s.model LIMIT 10
"""
"""The ten models with the most calls."""
SESSIONS: Final = f"""
    SELECT iso(bucket) AS bucket, COUNT(*) AS session_count, AVG(traces) AS avg_traces_per_session,
        AVG(duration) AS avg_session_duration_ms
    FROM (SELECT {_BUCKET.format("MIN(started_at)")}, COUNT(*) AS traces,
        SUM(ended_at - started_at) / 1000.0 AS duration
        FROM traces WHERE {_IN_WINDOW} AND session_id IS NOT NULL GROUP BY session_id) {_IN_BUCKETS}
"""
"""Sessions by their first trace in the period. A duration is the sum of the traces' latencies."""

SUMMARY: Final = f"""
    SELECT name AS metric_name, AVG(number) AS avg_score, MIN(number) AS min_score, MAX(number) AS max_score,
        percentile(json_group_array(number), 0.5) AS median_score, SUM(status = 'SUCCESS') AS success_count,
        SUM(status = 'FAILED') AS failed_count, iso(MAX(created_at)) AS latest_score_at
    {_SCORES} GROUP BY name ORDER BY name
"""
"""The scores of each name."""
TREND: Final = f"""
    SELECT iso(bucket) AS bucket, :name AS metric_name, AVG(number) AS avg_score, COUNT(*) AS count
    FROM (SELECT {_BUCKET.format("created_at")}, number {_SCORES} AND number IS NOT NULL) {_IN_BUCKETS}
"""
"""The mean of a metric by the time of scoring."""
DISTRIBUTION: Final = f"""
    SELECT bucket, round(MIN(1.0, (bucket - 1.0) / :buckets), 4) AS bucket_min,
        round(MIN(1.0, bucket * 1.0 / :buckets), 4) AS bucket_max, COUNT(*) AS count
    FROM (SELECT MIN(CAST(number * :buckets AS INTEGER), :buckets) + 1 AS bucket {_SCORES} AND number IS NOT NULL)
    {_IN_BUCKETS}
"""
"""A metric's scores by value. A score of exactly 1.0 has its own bucket after the last (as on the server)."""
HISTORY: Final = f"""
    SELECT name AS metric_name, number AS score, eval_run_id, iso(created_at) AS created_at, status
    {_SCORES} AND data_type = 'NUMERIC' AND session_id = :session ORDER BY seq LIMIT :limit
"""
"""The scores of a session, oldest first."""
RANKING: Final = f"""
    SELECT session_id, number AS score, iso(created_at) AS evaluated_at, eval_run_id FROM {{table}}
    WHERE seq IN (SELECT MAX(seq) {_SCORES} AND number IS NOT NULL GROUP BY session_id)
    ORDER BY :sign * number, session_id
"""
"""Sessions by their newest score of a metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Period from `after` until before `before`; None means any."""

    after: datetime | None = None
    before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Analytics:
    """The statements of this module, executed in a database."""

    database: Database

    def rows(
        self,
        statement: str,
        project_id: str,
        window: Window | None = None,
        granularity: AnalyticsGranularity = "day",
        *,
        table: str = "session_scores",
        **values: Any,
    ) -> list[dict[str, Any]]:
        """Return the rows of a statement for a project."""
        width, begin = _WIDTHS[granularity]
        period = window or Window()
        after, before = (None if one is None else micros_of(one) for one in (period.after, period.before))
        given = {"project": project_id, "after": after, "before": before, "width": width, "begin": begin, "name": None}
        with self.database.read() as connection:
            found = connection.execute(statement.format(table=table), {**given, **values})
            return [dict(row) for row in found]
