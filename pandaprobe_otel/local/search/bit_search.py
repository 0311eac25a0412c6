"""Search by sets of bits. The tables are read only for conditions without a set.

The results are those of `conditions.py`, which is used for traces that are not in the index.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.local.payloads import dumps
from pandaprobe_otel.local.sealing.bit_sets import CHUNK, bits_of, numbers_of
from pandaprobe_otel.local.sealing.facet_sets import FacetSets
from pandaprobe_otel.local.sealing.facets import COST_UNITS, ERROR, INDEXED, UNINDEXED
from pandaprobe_otel.local.sealing.word_index import has_full_text, matching, query_of
from pandaprobe_otel.local.search.conditions import condition_of, like_pattern, type_forms, uuid_in
from pandaprobe_otel.local.search.language import All, AnyOf, Field, Flag, Not, Query, Text
from pandaprobe_otel.local.search.searchable_fields import Comparison
from pandaprobe_otel.local.search.text_words import phrase_of

_FEW: Final = 1000
"""Maximum number of traces that are checked one by one. Above that, all traces of the project are read."""
_FACETS: Final = frozenset({"status", "name", "env", "release", "tag", "tool", "failed", "agent", "retriever", "model"})
_NUMBERS: Final = frozenset({"latency", "tokens", "cost", "spans", "ttft", "after", "before"})
_RISING: Final = (Comparison.MORE, Comparison.AT_LEAST)


@dataclass(frozen=True, slots=True)
class Found:
    """Traces of a search. Bit n of `bits` is trace `base` + n, and `loose` are traces that are not in the index."""

    sets: FacetSets
    bits: int
    base: int
    indexed: int
    loose: Sequence[int]

    @property
    def count(self) -> int:
        """Number of the traces."""
        return self.bits.bit_count()

    @property
    def seqs(self) -> list[int]:
        """Numbers of the traces."""
        return [self.base + number for number in numbers_of(self.bits)]


def search(
    connection: sqlite3.Connection,
    project_id: str,
    query: Query,
    now: int,
    narrowed: tuple[str, list[Any]] | None = None,
) -> Found:
    """Return the traces of a project that match a query and, if given, an SQL condition."""
    sets = FacetSets(connection, project_id)
    evaluation = _Evaluation(connection, project_id, sets, now)
    bits = evaluation.matching(query, sets.of(*INDEXED))
    if narrowed is not None and bits:
        bits &= evaluation.by_sql(*narrowed, within=bits)
    loose = _loose(connection, project_id, sets, condition_of(query, now=now), narrowed)
    base = min(sets.base, *loose) // CHUNK * CHUNK if loose else sets.base
    indexed = bits << sets.base - base
    whole = indexed
    if loose:
        whole |= bits_of([seq - base for seq in loose], max(loose) - base + 1)
    return Found(sets, whole, base, bits, loose)


def _loose(
    connection: sqlite3.Connection,
    project_id: str,
    sets: FacetSets,
    condition: tuple[str, list[Any]],
    narrowed: tuple[str, list[Any]] | None,
) -> list[int]:
    """Return the matching traces that are not, or not completely, in the index."""
    odd = dumps([sets.base + number for number in numbers_of(sets.of(*UNINDEXED))]).decode()
    where, values = condition
    if narrowed is not None:
        where, values = f"{where} AND {narrowed[0]}", [*values, *narrowed[1]]
    rows = connection.execute(
        f"SELECT seq FROM traces WHERE seq IN (SELECT trace_seq FROM unsealed WHERE project_id = ?"
        f" UNION SELECT value FROM json_each(?)) AND +project_id = ? AND {where}",
        (project_id, odd, project_id, *values),
    )
    return [row["seq"] for row in rows]


class _Evaluation:
    """Sets of indexed traces that match the parts of a query."""

    def __init__(self, connection: sqlite3.Connection, project_id: str, sets: FacetSets, now: int) -> None:
        self._connection = connection
        self._project_id = project_id
        self._sets = sets
        self._now = now

    def matching(self, query: Query, within: int) -> int:
        """Return the traces of `within` that match."""
        if not within:
            return 0
        match query:
            case All(parts):
                # Cheap conditions come first: the other conditions need only check the traces that are left. Words come
                # last, and all at once: the index joins them faster than this code does.
                words = [part for part in parts if isinstance(part, Text) and uuid_in(part.text) is None]
                for part in sorted((part for part in parts if part not in words), key=_price):
                    within = self.matching(part, within)
                return self._words(words, within) if words and within else within
            case AnyOf(parts):
                found = 0
                for part in parts:
                    found |= self.matching(part, within & ~found)
                return found
            case Not(part):
                return within & ~self.matching(part, within)
            case Text():
                return self._words([query], within)
            case Flag("error"):
                return within & self._sets.of(*ERROR)
            case Flag("running"):
                return within & (self._sets.of("status", "RUNNING") | self._sets.of("status", "PENDING"))
            case Field() if query.key in _NUMBERS:
                return self._numbers(query, within)
            case Field() if (key := _facet_key(query)) is not None and self._sets.is_listed(key):
                return within & self._facets(query, key)
            case Field("score") | Flag("scored"):
                return within & self._scores(query)
            case Flag() | Field():
                return within & self._candidates(query, within)

    def by_sql(self, condition: str, values: Sequence[Any], *, within: int) -> int:
        """Return the indexed traces that match an SQL condition."""
        few = "" if within.bit_count() > _FEW else "seq IN (SELECT value FROM json_each(?)) AND "
        given = [dumps([self._sets.base + number for number in numbers_of(within)]).decode()] if few else []
        cursor = self._connection.cursor()
        cursor.row_factory = None
        rows = cursor.execute(
            f"SELECT seq FROM traces WHERE {few}{'+' if few else ''}project_id = ? AND {condition}",
            (*given, self._project_id, *values),
        )
        return self._set_of(rows.fetchall())

    def _candidates(self, query: Query, within: int) -> int:
        return self.by_sql(*condition_of(query, now=self._now), within=within)

    def _words(self, asked: Sequence[Text], within: int) -> int:
        """Return the traces that have all the words. A trace's id also counts as one of its words."""
        read = {one: phrase_of(one.text, is_prefix=one.is_prefix) for one in asked}
        phrases = {one: phrase for one, phrase in read.items() if phrase is not None}
        if not phrases:
            return within
        if not has_full_text() or self._sets.project is None:
            for one in phrases:
                within &= self._candidates(one, within)
            return within
        connection, project, query = self._connection, self._sets.project, query_of([*phrases.values()])
        found = self._sets.of_words(query, lambda base, size: matching(connection, project, query, base, size))
        identifier = uuid_in(asked[0].text)
        if identifier is not None:
            found |= self.by_sql("trace_id = ?", (identifier,), within=within)
        return within & found

    def _numbers(self, asked: Field, within: int) -> int:
        found = 0
        for operand in asked.operands:
            assert isinstance(operand, float)
            name, comparison, value = asked.key, asked.comparison, operand
            if name in ("after", "before"):
                value = int(self._now + operand if operand <= 0 else operand)
                comparison = Comparison.AT_LEAST if name == "after" else Comparison.LESS
                name = "started"
            elif name == "cost":
                value = round(operand * COST_UNITS, 3)
            elif name == "ttft":
                name = "longest ttft" if comparison in _RISING else "shortest ttft"
            found |= self._sets.column(name).compared(comparison, value, within)
        return found

    def _scores(self, asked: Field | Flag) -> int:
        condition, values = "TRUE", list[Any]()
        if isinstance(asked, Field):
            condition, values = f"name = ? AND number {asked.comparison.value} ?", [asked.name, asked.operands[0]]
        cursor = self._connection.cursor()
        cursor.row_factory = None
        rows = cursor.execute(
            f"SELECT trace_seq FROM latest_scores WHERE project_id = ? AND {condition}", (self._project_id, *values)
        )
        return self._set_of(rows.fetchall())

    def _facets(self, asked: Field, key: str) -> int:
        found = 0
        for operand in asked.operands:
            assert isinstance(operand, str)
            for form in type_forms(operand) if key == "error_type" else (operand,):
                found |= self._sets.like(key, like_pattern(form))
        return found

    def _set_of(self, rows: Sequence[tuple[int]]) -> int:
        base, size = self._sets.base, self._sets.size
        return bits_of((seq - base for (seq,) in rows if 0 <= seq - base < size), size)


def _facet_key(asked: Field) -> str | None:
    if asked.key == "meta":
        return f"meta.{asked.name}"
    return asked.key if asked.key in _FACETS or asked.key == "error_type" else None


def _price(query: Query) -> int:
    match query:
        case Text():
            return 3
        case All(parts) | AnyOf(parts):
            return max(map(_price, parts), default=0)
        case Not(part):
            return _price(part)
        case Flag("scored") | Field("session" | "user" | "score"):
            return 2
        case Field() if query.key in _NUMBERS:
            return 1
        case _:
            return 0
