"""Analytics of traces, sessions and scores, as PostgreSQL's date_trunc and percentile_cont compute them.

Buckets without data are omitted, as on the server. Only successful NUMERIC scores are averaged; others are counted.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pandaprobe_otel.api.fields import AnalyticsGranularity
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.records import Slice, where_of
from pandaprobe_otel.local.times import DAY, HOUR, iso, iso_or_none, micros_of

_TOP_MODELS: Final = 10
# The epoch was a Thursday; weeks begin on Monday.
_WIDTHS: Final[dict[AnalyticsGranularity, tuple[int, int]]] = {
    "hour": (HOUR, 0),
    "day": (DAY, 0),
    "week": (7 * DAY, 4 * DAY),
}
"""Width of the buckets, and the beginning of one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Period from `after` until before `before`; None means any."""

    after: datetime | None
    before: datetime | None


ALWAYS: Final = Window(after=None, before=None)


class TraceAnalytics:
    """Analytics of traces."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def volume(self, project_id: str, window: Window, granularity: AnalyticsGranularity) -> list[dict[str, Any]]:
        """Count traces and errors, and summarize latencies."""
        rows = self._rows(
            "SELECT started_at AS at, ended_at - started_at AS latency, status FROM traces"
            " WHERE project_id = ? AND started_at >= ? AND started_at < ?",
            project_id,
            window,
        )
        found: list[dict[str, Any]] = []
        for bucket, members in _bucketed(rows, granularity):
            latencies = sorted(row["latency"] / 1000 for row in members if row["latency"] is not None)
            found.append(
                {
                    "bucket": bucket,
                    "trace_count": len(members),
                    "error_count": sum(row["status"] == "ERROR" for row in members),
                    "avg_latency_ms": _mean(latencies),
                    **{f"p{rank}_latency_ms": _percentile(latencies, rank / 100) for rank in (50, 90, 99)},
                }
            )
        return found

    def tokens(self, project_id: str, window: Window, granularity: AnalyticsGranularity) -> list[dict[str, Any]]:
        """Add up tokens and cost of spans by the start of the span. A bucket needs a span, but not tokens."""
        rows = self._rows(
            "SELECT s.started_at AS at, s.prompt_tokens, s.completion_tokens,"
            " s.prompt_tokens + s.completion_tokens AS total_tokens, s.total_cost FROM spans s"
            " JOIN traces t ON t.seq = s.trace_seq WHERE t.project_id = ? AND s.started_at >= ? AND s.started_at < ?",
            project_id,
            window,
        )
        sums = ("total_tokens", "prompt_tokens", "completion_tokens", "total_cost")
        return [
            {"bucket": bucket, **{name: sum(row[name] for row in members) for name in sums}}
            for bucket, members in _bucketed(rows, granularity)
        ]

    def models(self, project_id: str, window: Window) -> list[dict[str, Any]]:
        """List the ten models with the most calls."""
        rows = self._rows(
            "SELECT s.model, COUNT(*) AS call_count, SUM(s.prompt_tokens + s.completion_tokens) AS total_tokens,"
            " SUM(s.total_cost) AS total_cost FROM spans s JOIN traces t ON t.seq = s.trace_seq"
            " WHERE t.project_id = ? AND s.started_at >= ? AND s.started_at < ? AND s.model IS NOT NULL"
            f" GROUP BY s.model ORDER BY call_count DESC, s.model LIMIT {_TOP_MODELS}",
            project_id,
            window,
        )
        return [dict(row) for row in rows]

    def sessions(self, project_id: str, window: Window, granularity: AnalyticsGranularity) -> list[dict[str, Any]]:
        """Count sessions by their first trace in the period. A duration is the sum of the traces' latencies."""
        rows = self._rows(
            "SELECT MIN(started_at) AS at, COUNT(*) AS traces, SUM(ended_at - started_at) AS duration FROM traces"
            " WHERE project_id = ? AND session_id IS NOT NULL AND started_at >= ? AND started_at < ?"
            " GROUP BY session_id",
            project_id,
            window,
        )
        return [
            {
                "bucket": bucket,
                "session_count": len(members),
                "avg_traces_per_session": _mean([row["traces"] for row in members]),
                "avg_session_duration_ms": _mean(
                    [row["duration"] / 1000 for row in members if row["duration"] is not None]
                ),
            }
            for bucket, members in _bucketed(rows, granularity)
        ]

    def _rows(self, statement: str, project_id: str, window: Window) -> list[sqlite3.Row]:
        with self._database.read() as connection:
            moments = (micros_of(moment) for moment in (window.after, window.before) if moment is not None)
            return connection.execute(statement, (project_id, *moments)).fetchall()


class ScoreAnalytics:
    """Analytics of one score table."""

    def __init__(self, database: Database, table: str) -> None:
        self._database = database
        self._table = table

    def summary(self, project_id: str, window: Window) -> list[dict[str, Any]]:
        """Summarize the scores of each name."""
        groups: dict[str, list[Any]] = {}
        for row in self._rows(project_id, {}, window):
            groups.setdefault(row["name"], []).append(row)
        return [_summary(name, groups[name]) for name in sorted(groups)]

    def trend(
        self, project_id: str, name: str, window: Window, granularity: AnalyticsGranularity
    ) -> list[dict[str, Any]]:
        """Average a metric by the time of scoring."""
        rows = [row for row in self._rows(project_id, {"name": name}, window) if _counts(row)]
        return [
            {
                "bucket": bucket,
                "metric_name": name,
                "avg_score": _mean([row["number"] for row in members]),
                "count": len(members),
            }
            for bucket, members in _bucketed(rows, granularity)
        ]

    def distribution(self, project_id: str, name: str, window: Window, buckets: int) -> list[dict[str, Any]]:
        """Count a metric's scores by value. A score of exactly 1.0 has its own bucket after the last (as on the
        server).
        """
        rows = self._rows(project_id, {"name": name}, window)
        counts = Counter(min(int(row["number"] * buckets), buckets) + 1 for row in rows if _counts(row))
        return [
            {
                "bucket": bucket,
                "bucket_min": round(min(1.0, (bucket - 1) / buckets), 4),
                "bucket_max": round(min(1.0, bucket / buckets), 4),
                "count": count,
            }
            for bucket, count in sorted(counts.items())
        ]

    def history(self, project_id: str, session_id: str, name: str | None, limit: int) -> list[dict[str, Any]]:
        """List the scores of a session, oldest first."""
        wanted = {"session_id": session_id, "data_type": "NUMERIC", "name": name}
        columns = "name AS metric_name, number AS score, eval_run_id, created_at, status"
        where, values = where_of(project_id, wanted)
        with self._database.read() as connection:
            statement = f"SELECT {columns} FROM {self._table} WHERE {where} ORDER BY created_at, seq LIMIT ?"
            rows = connection.execute(statement, (*values, limit)).fetchall()
        return [{**dict(row), "created_at": iso(row["created_at"])} for row in rows]

    def comparison(
        self, project_id: str, name: str, page: Slice, *, ascending: bool
    ) -> tuple[list[dict[str, Any]], int]:
        """Rank sessions by their newest score of a metric."""
        newest: dict[str, sqlite3.Row] = {}
        for row in self._rows(project_id, {"name": name, "data_type": "NUMERIC"}, ALWAYS, "*"):
            if row["status"] == "SUCCESS":
                newest[row["session_id"]] = row
        sign = 1 if ascending else -1
        ranked = sorted(newest.values(), key=lambda row: (sign * row["number"], row["session_id"]))
        return [
            {
                "session_id": row["session_id"],
                "score": row["number"],
                "evaluated_at": iso(row["created_at"]),
                "eval_run_id": row["eval_run_id"],
            }
            for row in ranked[page.offset : page.offset + page.limit]
        ], len(ranked)

    def _rows(
        self,
        project_id: str,
        wanted: dict[str, Any],
        window: Window,
        columns: str = "name, number, status, created_at AS at",
    ) -> list[sqlite3.Row]:
        """Return scores, oldest first."""
        where, values = where_of(project_id, wanted, window.after, window.before)
        with self._database.read() as connection:
            statement = f"SELECT {columns} FROM {self._table} WHERE {where} ORDER BY created_at, seq"
            return connection.execute(statement, values).fetchall()


def _counts(row: sqlite3.Row) -> bool:
    return row["number"] is not None and row["status"] == "SUCCESS"


def _summary(name: str, rows: list[Any]) -> dict[str, Any]:
    numbers: list[float] = sorted(row["number"] for row in rows if _counts(row))
    return {
        "metric_name": name,
        "avg_score": _mean(numbers),
        "min_score": numbers[0] if numbers else None,
        "max_score": numbers[-1] if numbers else None,
        "median_score": _percentile(numbers, 0.5),
        "success_count": sum(row["status"] == "SUCCESS" for row in rows),
        "failed_count": sum(row["status"] == "FAILED" for row in rows),
        "latest_score_at": iso_or_none(max(row["at"] for row in rows)),
    }


def _bucketed(rows: Iterable[sqlite3.Row], granularity: AnalyticsGranularity) -> list[tuple[str, list[sqlite3.Row]]]:
    """Return rows by the beginning of the bucket of their moment `at`, in order."""
    width, begin = _WIDTHS[granularity]
    found: dict[int, list[sqlite3.Row]] = {}
    for row in rows:
        found.setdefault(row["at"] - (row["at"] - begin) % width, []).append(row)
    return [(iso(bucket), members) for bucket, members in sorted(found.items())]


def _percentile(ordered: Sequence[float], fraction: float) -> float | None:
    """Return a percentile of ascending values, interpolated between neighbours; None without values."""
    if not ordered:
        return None
    position = fraction * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
