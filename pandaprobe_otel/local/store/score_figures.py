"""Figures of scores for an overview: the mean of each score over time."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.local.search.language import search_for_score

SCORED: Final = 10_000
"""Number of the newest traces whose scores are read."""
_MOST_NAMES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Figures of the scores with one name. A trace counts with its latest score.

    `means` and `counts` have one item per interval; a mean is None without scores. `search` finds all traces
    with a number for the name; None if the search language cannot write the name.
    """

    name: str
    search: str | None
    count: int
    mean: float
    lowest: float
    highest: float
    means: Sequence[float | None]
    counts: Sequence[int]


def scores_of(
    connection: sqlite3.Connection,
    project_id: str,
    chosen: tuple[str, Sequence[Any]],
    start: int,
    width: int,
    intervals: int,
) -> list[Score]:
    """Return the figures of the most frequent numeric scores, in intervals of `width` microseconds from `start`.

    `chosen` is the SQL condition for the traces, and its values.
    """
    scored = "SELECT 1 FROM latest_scores WHERE project_id = ? LIMIT 1"
    if connection.execute(scored, (project_id,)).fetchone() is None:
        return []
    cursor = connection.cursor()
    cursor.row_factory = None
    rows = cursor.execute(
        f"WITH found AS MATERIALIZED (SELECT seq, started_at FROM traces WHERE {chosen[0]}"
        f" ORDER BY started_at DESC LIMIT {SCORED}) SELECT name, number, started_at FROM found"
        " CROSS JOIN latest_scores ON trace_seq = seq WHERE number IS NOT NULL",
        chosen[1],
    )
    by_name: dict[str, list[list[float]]] = {}
    row: tuple[str, float, int]
    for row in rows:
        name, number, started_at = row
        places = by_name.setdefault(name, [list[float]() for _ in range(intervals)])
        places[min(max((started_at - start) // width, 0), intervals - 1)].append(number)
    every = [_figures(name, places) for name, places in by_name.items()]
    return sorted(every, key=lambda score: (-score.count, score.name))[:_MOST_NAMES]


def _figures(name: str, places: Sequence[Sequence[float]]) -> Score:
    numbers = [number for place in places for number in place]
    return Score(
        name=name,
        search=search_for_score(name),
        count=len(numbers),
        mean=_mean(numbers),
        lowest=min(numbers),
        highest=max(numbers),
        means=[_mean(place) if place else None for place in places],
        counts=[len(place) for place in places],
    )


def _mean(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) / len(numbers)
