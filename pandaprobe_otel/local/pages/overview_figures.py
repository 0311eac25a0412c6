"""Figures of an overview: what a project's traces did over time, and by model, tool, release and environment."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

BUCKETS: Final = 45
_MOST_GROUPS: Final = 12


class Row(Protocol):
    """A row of the store, or a mapping."""

    def __getitem__(self, key: str, /) -> Any:
        """Return the value of a column."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Counts, sums and times of some traces or steps. Times are milliseconds, None where nothing has ended.

    Percentiles are of the nearest rank: a value that occurred.
    """

    count: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    first_token_ms: float | None
    tokens: int
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """The figures of the traces that started within a part of the range, in microseconds; `end` is exclusive."""

    start: int
    end: int
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The figures of the steps or traces of one name, and the search that finds their traces."""

    name: str
    search: str
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All figures of a range. `groups` are by model, tool, release and environment, the most frequent first."""

    total: Figures
    buckets: Sequence[Bucket]
    groups: Mapping[str, Sequence[Group]]


def overview_of(traces: Sequence[Row], steps: Sequence[Row], start: int, end: int) -> Overview:
    """Return the figures of traces and of their calls of models and tools, from `start` to before `end`."""
    width = max(math.ceil((end - start) / BUCKETS), 1)
    places: list[list[Row]] = [[] for _ in range(BUCKETS)]
    for row in traces:
        places[min(int(row["started_at"] - start) // width, BUCKETS - 1)].append(row)
    first_tokens: list[list[float]] = [[] for _ in range(BUCKETS)]
    for step in steps:
        at = int(step["started_at"] - start) // width
        if step["completion_start_time"] is not None and 0 <= at < BUCKETS:
            first_tokens[at].append((step["completion_start_time"] - step["started_at"]) / 1000)
    calls = [step for step in steps if step["kind"] == "LLM"]
    return Overview(
        total=figures_of(traces, [wait for waits in first_tokens for wait in waits]),
        buckets=[
            Bucket(start=start + at * width, end=start + (at + 1) * width, figures=figures_of(rows, first_tokens[at]))
            for at, rows in enumerate(places)
        ],
        groups={
            "model": _groups(calls, lambda row: row["model"], "model"),
            "tool": _groups([step for step in steps if step["kind"] == "TOOL"], lambda row: row["name"], "tool"),
            "release": _groups(traces, lambda row: row["release"], "release"),
            "environment": _groups(traces, lambda row: row["environment"], "env"),
        },
    )


def figures_of(rows: Sequence[Row], first_tokens: Sequence[float] = ()) -> Figures:
    """Return the figures of rows; each has `started_at`, `ended_at`, `status`, `tokens` and `cost`."""
    times = sorted((row["ended_at"] - row["started_at"]) / 1000 for row in rows if row["ended_at"] is not None)
    return Figures(
        count=len(rows),
        errors=sum(row["status"] == "ERROR" for row in rows),
        p50_ms=_rank(times, 0.5),
        p95_ms=_rank(times, 0.95),
        first_token_ms=_rank(sorted(first_tokens), 0.5),
        tokens=sum(row["tokens"] for row in rows),
        cost=math.fsum(row["cost"] for row in rows),
    )


def _groups(rows: Iterable[Row], name_of: Callable[[Row], Any], key: str) -> list[Group]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        if (name := name_of(row)) is not None:
            found.setdefault(str(name), []).append(row)
    most = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))[:_MOST_GROUPS]
    return [Group(name=name, search=_search(key, name), figures=figures_of(members)) for name, members in most]


def _search(key: str, name: str) -> str:
    """Return the search for a name; one that the language cannot quote is looked for by its beginning."""
    quoted = name.partition('"')[0]
    return f'{key}:"{quoted}{"" if quoted == name else "*"}"'


def _rank(values: Sequence[float], share: float) -> float | None:
    return values[max(math.ceil(len(values) * share) - 1, 0)] if values else None
