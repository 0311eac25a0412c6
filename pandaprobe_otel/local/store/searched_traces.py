"""One page of found traces, in order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from pandaprobe_otel.api.fields import SortOrder, TraceSortBy
from pandaprobe_otel.local.payloads import dumps
from pandaprobe_otel.local.search.bit_search import Found, search
from pandaprobe_otel.local.search.language import All, Field
from pandaprobe_otel.local.search.searchable_fields import Comparison
from pandaprobe_otel.local.store.trace_filter import TraceFilter

_FEW: Final = 2000
"""Maximum number of found traces that are sorted directly. If there are more, all traces of the project are read in
order, up to the page.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOrder:
    """Part of an SQL statement that orders traces, and the bounds of the page."""

    clause: str
    sort_by: TraceSortBy
    order: SortOrder
    limit: int
    offset: int


def found_by(connection: sqlite3.Connection, project_id: str, wanted: TraceFilter) -> Found:
    """Return the traces that match a filter with a search."""
    assert wanted.search is not None
    moments = (("after", wanted.after), ("before", wanted.before))
    within = [Field(key, Comparison.EQUAL, (float(at),)) for key, at in moments if at is not None]
    others = replace(wanted, search=None, after=None, before=None)
    narrowed = None if others == TraceFilter() else others.where(project_id)
    query = All((wanted.search.query, *within)) if within else wanted.search.query
    return search(connection, project_id, query, wanted.search.now, narrowed)


def page_of(
    connection: sqlite3.Connection, project_id: str, found: Found, ordered: PageOrder, columns: str
) -> list[sqlite3.Row]:
    """Return the rows of one page of found traces."""
    if found.count <= _FEW:
        return connection.execute(
            f"SELECT {columns} FROM traces WHERE seq IN (SELECT value FROM json_each(?)) {ordered.clause}"
            " LIMIT ? OFFSET ?",
            (dumps(found.seqs).decode(), ordered.limit, ordered.offset),
        ).fetchall()
    seqs = list(_read_in_order(connection, project_id, found, ordered))
    rows = connection.execute(
        f"SELECT {columns}, seq AS place FROM traces WHERE seq IN (SELECT value FROM json_each(?))",
        (dumps(seqs).decode(),),
    )
    by_seq = {row["place"]: row for row in rows}
    return [by_seq[seq] for seq in seqs]


def _read_in_order(connection: sqlite3.Connection, project_id: str, found: Found, ordered: PageOrder) -> Iterator[int]:
    """Yield the numbers of a page's traces: read an index in order, and skip traces that the search did not find."""
    digits, base = f"{found.bits:b}"[::-1], found.base
    where, values, skip = "project_id = ?", [project_id], ordered.offset
    if ordered.sort_by is TraceSortBy.STARTED_AT and ordered.order is SortOrder.DESC:
        latest, before = _start_of(connection, found, ordered.offset)
        if latest is not None:
            where, values, skip = f"{where} AND started_at <= ?", [*values, latest], ordered.offset - before
    cursor = connection.cursor()
    cursor.row_factory = None
    wanted = skip + ordered.limit
    for (seq,) in cursor.execute(f"SELECT seq FROM traces WHERE {where} {ordered.clause}", values):
        at = seq - base
        if 0 <= at < len(digits) and digits[at] == "1":
            wanted -= 1
            if wanted < ordered.limit:
                yield seq
            if not wanted:
                break
    cursor.close()


def _start_of(connection: sqlite3.Connection, found: Found, offset: int) -> tuple[Any, int]:
    """Return a latest start for the traces of the page, and the number of found traces that start later.

    The start is None for the first pages.
    """
    rank = found.indexed.bit_count() - 1 - (offset - len(found.loose))
    if offset < _FEW or rank < 0:
        return None, 0
    started = found.sets.column("started")
    latest = started.ranked(rank, found.indexed)
    later = started.compared(Comparison.MORE, latest, found.indexed).bit_count()
    (loose,) = connection.execute(
        "SELECT COUNT(*) FROM traces WHERE started_at > ? AND seq IN (SELECT value FROM json_each(?))",
        (latest, dumps(list(found.loose)).decode()),
    ).fetchone()
    return latest, later + loose
