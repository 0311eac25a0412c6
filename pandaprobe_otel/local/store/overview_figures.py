"""Figures of an overview: statistics of a project's traces and scores over time, and by model, tool and other names."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pandaprobe_otel.local.payloads import loads
from pandaprobe_otel.local.search.conditions import COST_UNITS
from pandaprobe_otel.local.search.language import search_for, search_for_score

BUCKETS: Final = 45
GROUPED: Final = 2000
"""Number of the newest traces that figures by name cover."""
SCORED: Final = 10_000
"""Number of the newest traces whose scores are read."""
_MOST_GROUPS: Final = 6
_MOST_SCORES: Final = 8
_NAMES: Final = {"model": "model", "tool": "tool", "agent": "agent", "release": "release", "env": "environment"}
"""Titles of the groups, by the key of their labels."""
_CALLS: Final = {"model": "LLM", "tool": "TOOL", "agent": "AGENT"}
# Times come as one text for each row of figures, since a row for each time takes longer than all the rest.
_FIGURES: Final = f"""
    COUNT(*) AS n, SUM(status = 'ERROR') AS errors, SUM(total_tokens) AS tokens,
    SUM(CAST(total_cost * {COST_UNITS} + 0.5 AS INTEGER)) AS cost, json_group_array(ended_at - started_at) AS times,
    json_group_array(longest_ttft) AS waits
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Counts, sums and times of some traces. Times are milliseconds; None if no trace has ended.

    Percentiles are by nearest rank, so they are actual values.
    """

    count: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    tokens: int
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Figures of the traces that started in an interval. Bounds are microseconds, and `end` is exclusive.

    `first_token_ms` is the median over traces of their longest wait for the first token of a model call.
    """

    start: int
    end: int
    figures: Figures
    first_token_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Figures of the traces with one name, and the search that finds them.

    The tokens and cost of a model are those of its own calls, since a trace may call several models. `calls` are the
    durations of its calls in the newest traces, as p50 and p95; None for names without calls.
    """

    name: str
    search: str
    figures: Figures
    calls: Sequence[float | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Figures of the numeric scores with one name. A trace counts with its latest score.

    `means` and `counts` have one item per bucket; a mean is None without scores. `search` finds all traces with a
    number for the name; None if the search language cannot write the name.
    """

    name: str
    search: str | None
    count: int
    mean: float
    lowest: float
    highest: float
    means: Sequence[float | None]
    counts: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All figures of a range. `groups` are by model, tool, agent, release and environment, the most frequent first."""

    total: Figures
    first_token_ms: float | None
    buckets: Sequence[Bucket]
    scores: Sequence[Score]
    groups: Mapping[str, Sequence[Group]]


def overview_of(connection: sqlite3.Connection, where: str, values: Sequence[Any]) -> Overview | None:
    """Return the figures of the traces of an SQL condition; None without traces."""
    start, last = connection.execute(
        f"SELECT MIN(started_at), MAX(started_at) FROM traces WHERE {where}", values
    ).fetchone()
    if start is None:
        return None
    width = max(math.ceil((last + 1 - start) / BUCKETS), 1)
    rows = {
        row["part"]: row
        for row in connection.execute(
            # Rows in the order of an index take three times as long to read.
            f"SELECT MIN((started_at - ?) / ?, {BUCKETS - 1}) AS part, {_FIGURES} FROM traces NOT INDEXED"
            f" WHERE {where} GROUP BY part",
            (start, width, *values),
        )
    }
    return Overview(
        total=_figures(rows.values()),
        first_token_ms=_rank(_times(rows.values(), "waits"), 0.5),
        buckets=[
            Bucket(
                start=start + at * width,
                end=start + (at + 1) * width,
                figures=_figures(found := [rows[at]] if at in rows else []),
                first_token_ms=_rank(_times(found, "waits"), 0.5),
            )
            for at in range(BUCKETS)
        ],
        scores=_scores(connection, where, values, start, width),
        groups=_groups(connection, where, values),
    )


def _scores(connection: sqlite3.Connection, where: str, values: Sequence[Any], start: int, width: int) -> list[Score]:
    """Return the figures of the most frequent scores of the newest traces."""
    rows = connection.execute(
        "WITH found AS MATERIALIZED (SELECT seq, started_at FROM traces"
        f" WHERE EXISTS (SELECT 1 FROM latest_scores) AND {where} ORDER BY started_at DESC LIMIT {SCORED})"
        f" SELECT name, MIN((started_at - ?) / ?, {BUCKETS - 1}) AS part, COUNT(*) AS n, SUM(number) AS sum,"
        " MIN(number) AS lowest, MAX(number) AS highest FROM found CROSS JOIN latest_scores ON trace_seq = seq"
        " WHERE number IS NOT NULL GROUP BY name, part",
        (*values, start, width),
    )
    of_name: dict[str, dict[int, sqlite3.Row]] = {}
    for row in rows:
        of_name.setdefault(row["name"], {})[row["part"]] = row
    found = [
        Score(
            name=name,
            search=search_for_score(name),
            count=(count := sum(row["n"] for row in parts.values())),
            mean=sum(row["sum"] for row in parts.values()) / count,
            lowest=min(row["lowest"] for row in parts.values()),
            highest=max(row["highest"] for row in parts.values()),
            means=[parts[at]["sum"] / parts[at]["n"] if at in parts else None for at in range(BUCKETS)],
            counts=[parts[at]["n"] if at in parts else 0 for at in range(BUCKETS)],
        )
        for name, parts in of_name.items()
    ]
    return sorted(found, key=lambda score: (-score.count, score.name))[:_MOST_SCORES]


def _groups(connection: sqlite3.Connection, where: str, values: Sequence[Any]) -> dict[str, list[Group]]:
    """Return the figures of the most frequent names among the newest traces."""
    columns = "seq, status, started_at, ended_at, total_tokens, total_cost, longest_ttft"
    newest = f"SELECT {columns} FROM traces WHERE {where} ORDER BY started_at DESC LIMIT {GROUPED}"
    rows = connection.execute(
        f"WITH found AS MATERIALIZED ({newest}) SELECT key, value, {_FIGURES} FROM found"
        " JOIN trace_labels ON trace_labels.seq = found.seq JOIN labels ON labels.id = label"
        f" WHERE key IN ({', '.join(map(repr, _NAMES))}) GROUP BY label ORDER BY n DESC, value",
        values,
    ).fetchall()
    calls = {
        (row["kind"], row["called"]): row
        for row in connection.execute(
            "SELECT kind, CASE kind WHEN 'LLM' THEN model ELSE spans.name END AS called,"
            " SUM(prompt_tokens + completion_tokens) AS tokens,"
            f" SUM(CAST(spans.total_cost * {COST_UNITS} + 0.5 AS INTEGER)) AS cost,"
            " json_group_array(ended_at - started_at) AS times FROM spans"
            f" WHERE trace_seq IN (SELECT seq FROM ({newest})) AND kind IN ('LLM', 'TOOL', 'AGENT')"
            " AND called IS NOT NULL GROUP BY kind, called",
            values,
        )
    }
    found: dict[str, list[Group]] = {title: [] for title in _NAMES.values()}
    for row in rows:
        key, name = row["key"], row["value"]
        if len(found[_NAMES[key]]) == _MOST_GROUPS:
            continue
        figures, times = _figures([row]), None
        if key in _CALLS:
            called = calls.get((_CALLS[key], name))
            durations = [] if called is None else _times([called], "times")
            times = _rank(durations, 0.5), _rank(durations, 0.95)
            if key == "model":
                tokens, cost = (0, 0) if called is None else (called["tokens"], called["cost"])
                figures = replace(figures, tokens=tokens, cost=cost / COST_UNITS)
        found[_NAMES[key]].append(Group(name=name, search=search_for(key, name), figures=figures, calls=times))
    return found


def _figures(rows: Iterable[sqlite3.Row]) -> Figures:
    found = list(rows)
    times = _times(found, "times")
    return Figures(
        count=sum(row["n"] for row in found),
        errors=sum(row["errors"] for row in found),
        p50_ms=_rank(times, 0.5),
        p95_ms=_rank(times, 0.95),
        tokens=sum(row["tokens"] for row in found),
        cost=sum(row["cost"] for row in found) / COST_UNITS,
    )


def _times(rows: Iterable[sqlite3.Row], column: str) -> list[int]:
    """Return the sorted times of some rows of figures, without missing and negative ones."""
    return sorted(time for row in rows for time in loads(row[column]) if time is not None and time >= 0)


def _rank(times: Sequence[int], share: float) -> float | None:
    """Return a percentile of sorted times in milliseconds, by nearest rank; None without times."""
    return times[max(math.ceil(len(times) * share) - 1, 0)] / 1000 if times else None
