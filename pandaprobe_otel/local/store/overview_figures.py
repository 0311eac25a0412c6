"""Figures of an overview: statistics of a project's traces and scores over time, and by model, tool and other names."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import orjson

from pandaprobe_otel.local.payloads import dumps
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
_SUMS: Final = f"""
    COUNT(*) AS n, SUM(status = 'ERROR') AS errors, SUM(total_tokens) AS tokens,
    SUM(CAST(total_cost * {COST_UNITS} + 0.5 AS INTEGER)) AS cost,
    json_group_array(ended_at - started_at) FILTER (WHERE ended_at >= started_at) AS times
"""
_FIGURES: Final = f"{_SUMS}, json_group_array(longest_ttft) FILTER (WHERE longest_ttft >= 0) AS waits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Counts, sums and times of some traces, or of the calls in them. Times are in order and in microseconds.

    `waits` has each trace's longest wait for the first token of a model call. Percentiles are by nearest rank, so they
    are actual values; they are in milliseconds, and None without times.
    """

    count: int = 0
    errors: int = 0
    tokens: int = 0
    cost: float = 0.0
    times: Sequence[int] = ()
    waits: Sequence[int] = ()

    @property
    def p50_ms(self) -> float | None:
        """Median of the times."""
        return _rank(self.times, 0.5)

    @property
    def p95_ms(self) -> float | None:
        """95th percentile of the times."""
        return _rank(self.times, 0.95)

    @property
    def first_token_ms(self) -> float | None:
        """Median of the waits."""
        return _rank(self.waits, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Figures of the traces that started in an interval. Bounds are microseconds, and `end` is exclusive."""

    start: int
    end: int
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Figures of the traces with one name, and the search that finds them.

    `calls` are the figures of its own calls: a trace may call several models.
    """

    name: str
    search: str
    figures: Figures
    calls: Figures


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
    buckets: Sequence[Bucket]
    scores: Sequence[Score]
    groups: Mapping[str, Sequence[Group]]


def overview_of(connection: sqlite3.Connection, where: str, values: Sequence[Any]) -> Overview | None:
    """Return the figures of the traces of an SQL condition; None without traces."""
    by_start = f"SELECT seq, started_at FROM traces WHERE {where} ORDER BY started_at"
    newest = connection.execute(f"{by_start} DESC LIMIT {SCORED}", values).fetchall()
    if not newest:
        return None
    start, last = connection.execute(f"{by_start} LIMIT 1", values).fetchone()["started_at"], newest[0]["started_at"]
    seqs = [row["seq"] for row in newest]
    width = max(math.ceil((last + 1 - start) / BUCKETS), 1)
    rows = connection.execute(
        # Rows in the order of an index take three times as long to read.
        f"SELECT MIN((started_at - ?) / ?, {BUCKETS - 1}) AS part, {_FIGURES} FROM traces NOT INDEXED"
        f" WHERE {where} GROUP BY part",
        (start, width, *values),
    )
    parts = {row["part"]: _figures(row) for row in rows}
    return Overview(
        total=Figures(
            count=sum(part.count for part in parts.values()),
            errors=sum(part.errors for part in parts.values()),
            tokens=sum(part.tokens for part in parts.values()),
            cost=math.fsum(part.cost for part in parts.values()),
            times=sorted(chain.from_iterable(part.times for part in parts.values())),
            waits=sorted(chain.from_iterable(part.waits for part in parts.values())),
        ),
        buckets=[
            Bucket(start=start + at * width, end=start + (at + 1) * width, figures=parts.get(at, Figures()))
            for at in range(BUCKETS)
        ],
        scores=_scores(connection, seqs, start, width),
        groups=_groups(connection, seqs[:GROUPED]),
    )


def _scores(connection: sqlite3.Connection, newest: Sequence[int], start: int, width: int) -> list[Score]:
    """Return the figures of the most frequent scores of some traces."""
    rows = connection.execute(
        f"SELECT latest_scores.name, MIN((started_at - ?) / ?, {BUCKETS - 1}) AS part, COUNT(*) AS n,"
        " SUM(number) AS sum, MIN(number) AS lowest, MAX(number) AS highest FROM json_each(?) AS newest"
        " CROSS JOIN latest_scores ON trace_seq = newest.value CROSS JOIN traces ON seq = trace_seq"
        " WHERE number IS NOT NULL GROUP BY latest_scores.name, part",
        (start, width, dumps(newest).decode()),
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


def _groups(connection: sqlite3.Connection, newest: Sequence[int]) -> dict[str, list[Group]]:
    """Return the figures of the most frequent names among some traces."""
    seqs = dumps(newest).decode()
    rows = connection.execute(
        f"SELECT key, value, {_FIGURES} FROM traces JOIN trace_labels USING (seq) JOIN labels ON labels.id = label"
        f" WHERE seq IN (SELECT value FROM json_each(?)) AND key IN ({', '.join(map(repr, _NAMES))})"
        " GROUP BY label ORDER BY n DESC, labels.value",
        (seqs,),
    ).fetchall()
    calls = {
        (row["kind"], row["called"]): _figures(row)
        for row in connection.execute(
            f"SELECT kind, CASE kind WHEN 'LLM' THEN model ELSE spans.name END AS called, {_SUMS}, '[]' AS waits"
            " FROM (SELECT *, prompt_tokens + completion_tokens AS total_tokens FROM spans) AS spans"
            " WHERE trace_seq IN (SELECT value FROM json_each(?)) AND kind IN ('LLM', 'TOOL', 'AGENT')"
            " AND called IS NOT NULL GROUP BY kind, called",
            (seqs,),
        )
    }
    found: dict[str, list[Group]] = {title: [] for title in _NAMES.values()}
    for row in rows:
        key, name = row["key"], row["value"]
        if len(of_key := found[_NAMES[key]]) < _MOST_GROUPS:
            called = calls.get((_CALLS.get(key, ""), name), Figures())
            of_key.append(Group(name=name, search=search_for(key, name), figures=_figures(row), calls=called))
    return found


def _figures(row: sqlite3.Row) -> Figures:
    return Figures(
        count=row["n"],
        errors=row["errors"],
        tokens=row["tokens"],
        cost=row["cost"] / COST_UNITS,
        times=sorted(orjson.loads(row["times"])),
        waits=sorted(orjson.loads(row["waits"])),
    )


def _rank(times: Sequence[int], share: float) -> float | None:
    """Return a percentile of sorted times in milliseconds, by nearest rank; None without times."""
    return times[max(math.ceil(len(times) * share) - 1, 0)] / 1000 if times else None
