"""Analytics of traces and sessions over a period, by time bucket."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.api.fields import AnalyticsGranularity
from pandaprobe_otel.local.store.buckets import bucket_of, mean, percentile
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.times import iso

_TOP_MODELS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Period from `after` until before `before`, in microseconds."""

    after: int
    before: int


class TraceAnalytics:
    """Analytics of traces. Buckets without data are omitted, as on the server."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def volume(self, project_id: str, window: Window, granularity: AnalyticsGranularity) -> list[dict[str, Any]]:
        """Count traces and errors, and summarize latencies."""
        rows = self._rows(
            "SELECT started_at, ended_at, status FROM traces"
            " WHERE project_id = ? AND started_at >= ? AND started_at < ?",
            project_id,
            window,
        )
        buckets: dict[int, list[Any]] = {}
        for row in rows:
            buckets.setdefault(bucket_of(row["started_at"], granularity), []).append(row)
        return [_volume_bucket(bucket, members) for bucket, members in sorted(buckets.items())]

    def tokens(self, project_id: str, window: Window, granularity: AnalyticsGranularity) -> list[dict[str, Any]]:
        """Add up tokens and cost of spans by the start of the span. A bucket needs a span, but not tokens."""
        rows = self._rows(
            "SELECT s.started_at, s.prompt_tokens, s.completion_tokens, s.total_cost FROM spans s"
            " JOIN traces t ON t.seq = s.trace_seq"
            " WHERE t.project_id = ? AND s.started_at >= ? AND s.started_at < ?",
            project_id,
            window,
        )
        sums: dict[int, list[float]] = defaultdict(lambda: [0, 0, 0.0])
        for row in rows:
            bucket = sums[bucket_of(row["started_at"], granularity)]
            bucket[0] += row["prompt_tokens"]
            bucket[1] += row["completion_tokens"]
            bucket[2] += row["total_cost"]
        return [
            {
                "bucket": iso(bucket),
                "total_tokens": prompt + completion,
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_cost": cost,
            }
            for bucket, (prompt, completion, cost) in sorted(sums.items())
        ]

    def models(self, project_id: str, window: Window) -> list[dict[str, Any]]:
        """List the ten models with the most calls."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT s.model, COUNT(*) AS calls, SUM(s.prompt_tokens + s.completion_tokens) AS tokens,"
                " SUM(s.total_cost) AS cost FROM spans s JOIN traces t ON t.seq = s.trace_seq"
                " WHERE t.project_id = ? AND s.started_at >= ? AND s.started_at < ? AND s.model IS NOT NULL"
                " GROUP BY s.model ORDER BY calls DESC, s.model LIMIT ?",
                (project_id, window.after, window.before, _TOP_MODELS),
            ).fetchall()
        return [
            {
                "model": row["model"],
                "call_count": row["calls"],
                "total_tokens": row["tokens"],
                "total_cost": row["cost"],
            }
            for row in rows
        ]

    def sessions(self, project_id: str, window: Window, granularity: AnalyticsGranularity) -> list[dict[str, Any]]:
        """Count sessions by their first trace in the period. A duration is the sum of the traces' latencies."""
        rows = self._rows(
            "SELECT MIN(started_at) AS first, COUNT(*) AS traces, SUM(ended_at - started_at) AS duration FROM traces"
            " WHERE project_id = ? AND session_id IS NOT NULL AND started_at >= ? AND started_at < ?"
            " GROUP BY session_id",
            project_id,
            window,
        )
        found: dict[int, list[Any]] = {}
        for row in rows:
            found.setdefault(bucket_of(row["first"], granularity), []).append(row)
        return [
            {
                "bucket": iso(bucket),
                "session_count": len(sessions),
                "avg_traces_per_session": mean([row["traces"] for row in sessions]),
                "avg_session_duration_ms": mean(
                    [row["duration"] / 1000 for row in sessions if row["duration"] is not None]
                ),
            }
            for bucket, sessions in sorted(found.items())
        ]

    def _rows(self, statement: str, project_id: str, window: Window) -> list[Any]:
        with self._database.read() as connection:
            return connection.execute(statement, (project_id, window.after, window.before)).fetchall()


def _volume_bucket(bucket: int, rows: list[Any]) -> dict[str, Any]:
    latencies: list[float] = sorted(
        (row["ended_at"] - row["started_at"]) / 1000 for row in rows if row["ended_at"] is not None
    )
    return {
        "bucket": iso(bucket),
        "trace_count": len(rows),
        "error_count": sum(row["status"] == "ERROR" for row in rows),
        "avg_latency_ms": mean(latencies),
        "p50_latency_ms": percentile(latencies, 0.5),
        "p90_latency_ms": percentile(latencies, 0.9),
        "p99_latency_ms": percentile(latencies, 0.99),
    }
