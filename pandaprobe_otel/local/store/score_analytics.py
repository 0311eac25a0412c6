"""Analytics of scores. Only successful NUMERIC scores are averaged; others are only counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pandaprobe_otel.api.fields import AnalyticsGranularity
from pandaprobe_otel.local.store.buckets import bucket_of, mean, percentile
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.times import iso, iso_or_none


class ScoreAnalytics:
    """Analytics of one score table."""

    def __init__(self, database: Database, table: str) -> None:
        self._database = database
        self._table = table

    def summary(self, project_id: str, after: int | None, before: int | None) -> list[dict[str, Any]]:
        """Summarize the scores of each name."""
        where, values = _window(project_id, after, before)
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT name, number, status, created_at FROM {self._table} WHERE {where} ORDER BY name, number",
                values,
            ).fetchall()
        groups: dict[str, list[Any]] = {}
        for row in rows:
            groups.setdefault(row["name"], []).append(row)
        return [_summary(name, groups[name]) for name in sorted(groups)]

    def trend(
        self, project_id: str, name: str, after: int | None, before: int | None, granularity: AnalyticsGranularity
    ) -> list[dict[str, Any]]:
        """Average a metric by the time of scoring."""
        buckets: dict[int, list[float]] = {}
        for created_at, number in self._numbers(project_id, name, after, before):
            buckets.setdefault(bucket_of(created_at, granularity), []).append(number)
        return [
            {
                "bucket": iso(bucket),
                "metric_name": name,
                "avg_score": sum(numbers) / len(numbers),
                "count": len(numbers),
            }
            for bucket, numbers in sorted(buckets.items())
        ]

    def distribution(
        self, project_id: str, name: str, after: int | None, before: int | None, buckets: int
    ) -> list[dict[str, Any]]:
        """Count a metric's scores by value. A score of exactly 1.0 has its own bucket after the last (as on the
        server).
        """
        step = 1.0 / buckets
        counts = Counter(
            min(int(number * buckets), buckets) + 1 for _, number in self._numbers(project_id, name, after, before)
        )
        return [
            {
                "bucket": bucket,
                "bucket_min": round(min(1.0, (bucket - 1) * step), 4),
                "bucket_max": round(min(1.0, bucket * step), 4),
                "count": counts[bucket],
            }
            for bucket in sorted(counts)
        ]

    def history(self, project_id: str, session_id: str, name: str | None, limit: int) -> list[dict[str, Any]]:
        """List the scores of a session, oldest first."""
        clause, values = ("", []) if name is None else (" AND name = ?", [name])
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT name, number, eval_run_id, created_at, status FROM {self._table}"
                f" WHERE project_id = ? AND session_id = ? AND data_type = 'NUMERIC'{clause}"
                " ORDER BY created_at, seq LIMIT ?",
                (project_id, session_id, *values, limit),
            ).fetchall()
        return [
            {
                "metric_name": row["name"],
                "score": row["number"],
                "eval_run_id": row["eval_run_id"],
                "created_at": iso(row["created_at"]),
                "status": row["status"],
            }
            for row in rows
        ]

    def comparison(
        self, project_id: str, name: str, *, ascending: bool, limit: int, offset: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Rank sessions by their newest score of a metric."""
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT session_id, number, eval_run_id, created_at FROM {self._table}"
                " WHERE project_id = ? AND name = ? AND data_type = 'NUMERIC' AND status = 'SUCCESS'"
                " ORDER BY created_at DESC, seq DESC",
                (project_id, name),
            ).fetchall()
        newest: dict[str, Any] = {}
        for row in rows:
            newest.setdefault(row["session_id"], row)
        sign = 1 if ascending else -1
        ranked = sorted(newest.values(), key=lambda row: (sign * row["number"], row["session_id"]))
        return [
            {
                "session_id": row["session_id"],
                "score": row["number"],
                "evaluated_at": iso(row["created_at"]),
                "eval_run_id": row["eval_run_id"],
            }
            for row in ranked[offset : offset + limit]
        ], len(ranked)

    def _numbers(self, project_id: str, name: str, after: int | None, before: int | None) -> list[tuple[int, float]]:
        where, values = _window(project_id, after, before)
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT created_at, number FROM {self._table}"
                f" WHERE {where} AND name = ? AND number IS NOT NULL AND status = 'SUCCESS'",
                (*values, name),
            ).fetchall()
        return [(row["created_at"], row["number"]) for row in rows]


def _window(project_id: str, after: int | None, before: int | None) -> tuple[str, list[Any]]:
    clauses: list[str] = ["project_id = ?"]
    values: list[Any] = [project_id]
    if after is not None:
        clauses.append("created_at >= ?")
        values.append(after)
    if before is not None:
        clauses.append("created_at < ?")
        values.append(before)
    return " AND ".join(clauses), values


def _summary(name: str, rows: list[Any]) -> dict[str, Any]:
    numbers: list[float] = [row["number"] for row in rows if row["number"] is not None and row["status"] == "SUCCESS"]
    return {
        "metric_name": name,
        "avg_score": mean(numbers),
        "min_score": numbers[0] if numbers else None,
        "max_score": numbers[-1] if numbers else None,
        "median_score": percentile(numbers, 0.5),
        "success_count": sum(row["status"] == "SUCCESS" for row in rows),
        "failed_count": sum(row["status"] == "FAILED" for row in rows),
        "latest_score_at": iso_or_none(max(row["created_at"] for row in rows)),
    }
