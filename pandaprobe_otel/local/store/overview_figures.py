"""Figures of an overview: statistics of a project's traces over time, and by model, tool, agent and other names.

Indexed traces are counted by sets of bits. The others are read as rows and added.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Protocol

from pandaprobe_otel.local.payloads import dumps, loads
from pandaprobe_otel.local.sealing.bit_sets import last_of
from pandaprobe_otel.local.sealing.facets import COST_UNITS, cost_of, tokens_of
from pandaprobe_otel.local.sealing.sliced_numbers import Column
from pandaprobe_otel.local.search.bit_search import Found
from pandaprobe_otel.local.search.language import search_for
from pandaprobe_otel.local.search.searchable_fields import Comparison
from pandaprobe_otel.local.store.score_figures import Score, scores_of

BUCKETS: Final = 45
SAMPLED: Final = 300
"""Number of the newest traces whose calls are timed."""
_MOST_GROUPS: Final = 6
_COLUMNS: Final = ("latency", "longest ttft", "tokens", "cost")
_STARTED: Final = "started"
_STATUS: Final = ("status", "ERROR")


class Row(Protocol):
    """A row of the store, or a mapping."""

    def __getitem__(self, key: str, /) -> Any:
        """Return the value of a column."""
        ...


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
class Overview:
    """All figures of a range. `groups` are by model, tool, agent, release and environment, the most frequent first."""

    total: Figures
    first_token_ms: float | None
    buckets: Sequence[Bucket]
    scores: Sequence[Score]
    groups: Mapping[str, Sequence[Group]]


class Measured:
    """Traces of a search: those in the index as bits, the others as rows."""

    def __init__(self, connection: sqlite3.Connection, found: Found) -> None:
        self._connection = connection
        self._sets = found.sets
        self.bits = found.indexed
        self.found = found
        loose = dumps(list(found.loose)).decode()
        self.rows: list[sqlite3.Row] = connection.execute(
            "SELECT seq, started_at, ended_at, status, total_tokens, total_cost, environment, release,"
            " (SELECT MAX(completion_start_time - started_at) FROM spans WHERE trace_seq = traces.seq) AS first_token"
            " FROM traces WHERE seq IN (SELECT value FROM json_each(?))",
            (loose,),
        ).fetchall()
        self._columns = {name: self._sets.column(name) for name in _COLUMNS}
        self._columns["failed"] = Column(known=self._sets.of(*_STATUS), digits=())

    def range(self) -> tuple[int, int] | None:
        """Return the first and the last start; None without traces."""
        started = self._sets.column(_STARTED)
        ends = [row["started_at"] for row in self.rows]
        if self.bits:
            ends += [started.ranked(0, self.bits), started.ranked(self.bits.bit_count() - 1, self.bits)]
        return (min(ends), max(ends)) if ends else None

    def figures(self, bits: int, rows: Sequence[Row]) -> Figures:
        """Return the figures of some of the traces."""
        return _figures(*_cut(bits, self._columns, self._sets.size)[:2], rows)

    def first_token_ms(self) -> float | None:
        """Return the median wait for the first token."""
        return _first_token(self.bits, self._columns, self.rows)

    def buckets(self, start: int, end: int) -> list[Bucket]:
        """Return the figures of equal intervals of a range."""
        width = max(math.ceil((end - start) / BUCKETS), 1)
        edges = [start + at * width for at in range(BUCKETS + 1)]
        places: list[list[Row]] = [[] for _ in range(BUCKETS)]
        for row in self.rows:
            places[min(max(int(row["started_at"] - start) // width, 0), BUCKETS - 1)].append(row)
        columns = {**self._columns, _STARTED: self._sets.column(_STARTED)}
        parts = _parted(edges[1:-1], self.bits, columns, self._sets.size)
        return [
            Bucket(
                start=edges[at],
                end=edges[at + 1],
                figures=_figures(*part, rows),
                first_token_ms=_first_token(*part, rows),
            )
            for at, (part, rows) in enumerate(zip(parts, places, strict=True))
        ]

    def groups(self) -> dict[str, list[Group]]:
        """Return the figures of the most frequent models, tools, agents, releases and environments."""
        return {
            "model": self._called("model", "LLM"),
            "tool": self._called("tool", "TOOL"),
            "agent": self._called("agent", "AGENT"),
            "release": self._named("release", "release"),
            "environment": self._named("env", "environment"),
        }

    def _named(self, key: str, column: str) -> list[Group]:
        loose: dict[str, list[Row]] = {}
        for row in self.rows:
            if row[column] is not None:
                loose.setdefault(row[column], []).append(row)
        return [
            Group(name=name, search=search_for(key, name), figures=self.figures(bits, rows))
            for name, bits, rows in self._most(key, loose)
        ]

    def _called(self, key: str, kind: str) -> list[Group]:
        loose = {name: rows for (each, name), rows in self._callers.items() if each == kind}
        return [
            Group(
                name=name,
                search=search_for(key, name),
                figures=self.figures(bits, rows) if kind != "LLM" else self._figures_of_model(name, bits, rows),
                calls=_percentiles(self._times.get((kind, name), ())),
            )
            for name, bits, rows in self._most(key, loose)
        ]

    def _figures_of_model(self, model: str, bits: int, rows: Sequence[Row]) -> Figures:
        tokens, cost = self._loose_sums.get(model, (0, 0.0))
        return replace(
            self.figures(bits, rows),
            tokens=tokens + self._sets.column(tokens_of(model)).total(bits),
            cost=cost + self._sets.column(cost_of(model)).total(bits) / COST_UNITS,
        )

    @cached_property
    def _loose_sums(self) -> Mapping[str, tuple[int, float]]:
        """Tokens and cost of each model's calls in the traces that are not in the index."""
        rows = self._connection.execute(
            "SELECT model, SUM(prompt_tokens + completion_tokens) AS tokens, SUM(total_cost) AS cost FROM spans"
            " WHERE trace_seq IN (SELECT value FROM json_each(?)) AND model IS NOT NULL GROUP BY model",
            (dumps([row["seq"] for row in self.rows]).decode(),),
        )
        return {row["model"]: (row["tokens"], row["cost"]) for row in rows}

    @cached_property
    def _callers(self) -> Mapping[tuple[str, str], Sequence[Row]]:
        """Rows of the traces that are not in the index, by the kind and name of what they call."""
        by_seq: dict[int, Row] = {row["seq"]: row for row in self.rows}
        called = self._of_calls("json_group_array(DISTINCT trace_seq)", [*by_seq])
        return {each: [by_seq[seq] for seq in seqs] for each, seqs in called.items()}

    @cached_property
    def _times(self) -> Mapping[tuple[str, str], Sequence[int]]:
        """Sorted durations of calls in the newest traces, by the kind and name of what they call."""
        newest = [self.found.base + at for at in last_of(self.found.bits, SAMPLED)]
        times = self._of_calls("json_group_array(ended_at - started_at)", newest)
        return {each: sorted(time for time in of if time is not None and time >= 0) for each, of in times.items()}

    def _of_calls(self, array: str, seqs: Sequence[int]) -> dict[tuple[str, str], list[Any]]:
        """Return an array, given as SQL, of the calls in some traces, by the kind and name of what they call."""
        # One text for each name, since one row for each call takes longer than all the rest.
        rows = self._connection.execute(
            f"SELECT kind, CASE kind WHEN 'LLM' THEN model ELSE name END AS called, {array} AS found"
            " FROM spans WHERE trace_seq IN (SELECT value FROM json_each(?)) AND kind IN ('LLM', 'TOOL', 'AGENT')"
            " AND called IS NOT NULL GROUP BY kind, called",
            (dumps(seqs).decode(),),
        )
        return {(row["kind"], row["called"]): loads(row["found"]) for row in rows}

    def _most(self, key: str, loose: Mapping[str, Sequence[Row]]) -> list[tuple[str, int, Sequence[Row]]]:
        values = self._sets.values([key], most=100)
        sets = self._sets.load(value.id for value in values)
        bits = {value.value: sets[value.id] & self.bits for value in values}
        every = [(name, bits.get(name, 0), loose.get(name, ())) for name in {*bits, *loose}]
        some = [one for one in every if one[1] or one[2]]
        return sorted(some, key=lambda one: (-(one[1].bit_count() + len(one[2])), one[0]))[:_MOST_GROUPS]


def overview_of(
    connection: sqlite3.Connection, project_id: str, found: Found, start: int | None, end: int | None
) -> Overview | None:
    """Return the figures of traces from `start` until before `end`, or of all traces; None without traces."""
    measured = Measured(connection, found)
    ends = measured.range()
    if ends is None:
        return None
    first, last = ends
    start = first if start is None else start
    buckets = measured.buckets(start, max(last + 1, end or 0))
    return Overview(
        total=measured.figures(measured.bits, measured.rows),
        first_token_ms=measured.first_token_ms(),
        buckets=buckets,
        scores=scores_of(connection, project_id, found, start, buckets[0].end - buckets[0].start, len(buckets)),
        groups=measured.groups(),
    )


def _cut(bits: int, columns: Mapping[str, Column], size: int) -> tuple[int, Mapping[str, Column], int]:
    """Return a set and columns, cut to the range from the set's first to its last trace, and the size of the range.

    Nothing is cut if the range is half of the size or more, since cutting takes as long as counting in twice the range.
    """
    low = (bits & -bits).bit_length() - 1 if bits else 0
    length = (bits >> low).bit_length()
    if 2 * length >= size:
        return bits, columns, size
    return bits >> low, {name: column.part(low, length) for name, column in columns.items()}, length


def _parted(
    edges: Sequence[int], bits: int, columns: Mapping[str, Column], size: int
) -> list[tuple[int, Mapping[str, Column]]]:
    """Return the traces that started between neighbouring edges: one set for each interval, with its columns.

    The edges are halved again and again. Traces are numbered roughly by their starts, so each half has a shorter range.
    """
    bits, columns, size = _cut(bits, columns, size)
    if not edges:
        return [(bits, columns)]
    middle = len(edges) // 2
    before = columns[_STARTED].compared(Comparison.LESS, edges[middle], bits)
    return [
        *_parted(edges[:middle], before, columns, size),
        *_parted(edges[middle + 1 :], bits & ~before, columns, size),
    ]


def _figures(bits: int, columns: Mapping[str, Column], rows: Sequence[Row]) -> Figures:
    times = [row["ended_at"] - row["started_at"] for row in rows if row["ended_at"] is not None]
    return Figures(
        count=bits.bit_count() + len(rows),
        errors=(bits & columns["failed"].known).bit_count() + sum(row["status"] == "ERROR" for row in rows),
        p50_ms=_rank(columns["latency"], bits, times, 0.5),
        p95_ms=_rank(columns["latency"], bits, times, 0.95),
        tokens=columns["tokens"].total(bits) + sum(row["total_tokens"] for row in rows),
        cost=columns["cost"].total(bits) / COST_UNITS + math.fsum(row["total_cost"] for row in rows),
    )


def _first_token(bits: int, columns: Mapping[str, Column], rows: Sequence[Row]) -> float | None:
    waits = [row["first_token"] for row in rows if row["first_token"] is not None]
    return _rank(columns["longest ttft"], bits, waits, 0.5)


def _rank(column: Column, bits: int, others: Iterable[int], share: float) -> float | None:
    extra = [other for other in others if other >= 0]
    count = (bits & column.known).bit_count() + len(extra)
    if not count:
        return None
    return column.ranked(max(math.ceil(count * share) - 1, 0), bits, extra) / 1000


def _percentiles(times: Sequence[int]) -> tuple[float | None, float | None]:
    """Return p50 and p95 of sorted durations in milliseconds, by nearest rank."""
    if not times:
        return None, None
    return times[math.ceil(len(times) * 0.5) - 1] / 1000, times[math.ceil(len(times) * 0.95) - 1] / 1000
