"""Lists of traces, users and sessions.

Filters of a session list also restrict the traces in the totals, and `recent` means the time of arrival (both measured
on server 0.5.0). Missing values come first in descending order.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from pandaprobe_otel.api.fields import SessionSortBy, SortOrder, TraceSortBy
from pandaprobe_otel.local.payloads import dumps, loads
from pandaprobe_otel.local.store import blocks
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.labels import Facet, Proposal, facets, proposals
from pandaprobe_otel.local.store.overview_figures import Overview, overview_of
from pandaprobe_otel.local.store.records import TRACE_COLUMNS, TRACE_LIST_COLUMNS, Slice
from pandaprobe_otel.local.store.spans import whole_trace
from pandaprobe_otel.local.store.trace_filter import Search, TraceFilter
from pandaprobe_otel.local.times import MINUTE

_TRACE_ORDER: Final = {
    "started_at": "started_at",
    "ended_at": "ended_at",
    "name": "name",
    "latency": "ended_at - started_at",
    "status": "status",
}
_PREVIEW_CHARACTERS: Final = 4000
_OVERVIEWS: Final = 32
_NEVER_NULL: Final = frozenset({"started_at", "name", "status"})
_SESSION_ORDER: Final = {
    "recent": "MAX(seq)",
    "trace_count": "COUNT(*)",
    "latency": "SUM(ended_at - started_at)",
    "cost": "SUM(total_cost)",
}
_STORED_SESSION_ORDER: Final = {
    "recent": "last_seq",
    "trace_count": "traces",
    "latency": "CASE WHEN ended > 0 THEN latency END",
    "cost": "cost",
}
_SESSION_SUMS: Final = """
    session_id, COUNT(*) AS trace_count, iso(MIN(started_at)) AS first_trace_at, iso(MAX(ended_at)) AS last_trace_at,
    SUM(ended_at - started_at) / 1000.0 AS total_latency_ms, MAX(status = 'ERROR') AS has_error,
    json_group_array(DISTINCT tags) AS tags, SUM(span_count) AS total_span_count, SUM(total_tokens) AS total_tokens,
    SUM(total_cost) AS total_cost
"""
_USERS: Final = """
    SELECT user_id, COUNT(*) AS trace_count, iso(MIN(started_at)) AS first_seen, iso(MAX(started_at)) AS last_seen,
        SUM(status = 'ERROR') AS error_count
    FROM traces WHERE project_id = ? AND user_id IS NOT NULL
    GROUP BY user_id ORDER BY MAX(started_at) DESC, user_id LIMIT ? OFFSET ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A page of traces, the number of matches, and the facets of the newest matches."""

    rows: list[sqlite3.Row]
    total: int
    facets: dict[str, list[Facet]]


def order_by(expression: str, order: SortOrder, *, nullable: bool, tie_breaker: str) -> str:
    """Return an ORDER BY that puts missing values where PostgreSQL does: first if descending, last if ascending."""
    nulls = "" if not nullable else " NULLS FIRST" if order == "desc" else " NULLS LAST"
    return f"ORDER BY {expression} {order}{nulls}, {tie_breaker} {order}"


class Queries:
    """Queries for lists."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # An overview reads every trace, and its page is opened again and again while nothing changes.
        self._kept_overview = lru_cache(_OVERVIEWS)(self._overview)

    def traces(
        self,
        project_id: str,
        wanted: TraceFilter,
        page: Slice,
        sort_by: TraceSortBy = "started_at",
        order: SortOrder = "desc",
        *,
        counted: int = 0,
    ) -> Listing:
        """Return one page of traces, the number of all matches, and the facets of the newest `counted` matches."""
        where, values = wanted.where(project_id)
        key = order_by("key", order, nullable=sort_by not in _NEVER_NULL, tie_breaker="seq")
        # One statement, so that the matches are found once. To read them in the order of an index would take three
        # times as long, and to sort what comes from the newest on takes little. Labels come as one text and are
        # counted here, since SQLite sorts what it counts by label, which takes as long as all the rest.
        statement = (
            f"WITH found AS MATERIALIZED (SELECT seq, {_TRACE_ORDER[sort_by]} AS key FROM traces"
            f" {'' if wanted.is_narrow else 'NOT INDEXED'} WHERE {where} ORDER BY seq DESC)"
            " SELECT (SELECT COUNT(*) FROM found),"
            f" (SELECT json_group_array(seq) FROM (SELECT seq FROM found {key} LIMIT ? OFFSET ?)),"
            " (SELECT json_group_array(label) FROM (SELECT seq FROM found ORDER BY seq DESC LIMIT ?) AS newest"
            " CROSS JOIN trace_labels ON trace_labels.seq = newest.seq)"
        )
        with self._database.read() as connection:
            found = connection.execute(statement, (*values, page.limit, page.offset, counted)).fetchone()
            total, seqs, labels = found[0], loads(found[1]), Counter[int](loads(found[2]))
            rows = connection.execute(
                f"SELECT {TRACE_LIST_COLUMNS} FROM traces WHERE seq IN (SELECT value FROM json_each(?))",
                (found[1],),
            ).fetchall()
            rows.sort(key=lambda row: seqs.index(row["seq"]))
            return Listing(rows=rows, total=total, facets=facets(connection, labels) if labels else {})

    def overview(self, project_id: str, search: Search) -> Overview | None:
        """Return the figures of the traces that a search finds; None without any."""
        minute = replace(search, now=search.now // MINUTE * MINUTE)  # so that ages are the same for a minute
        where, values = TraceFilter(search=minute).where(project_id)
        return self._kept_overview(self._database.state, where, tuple(values))

    def _overview(self, _state: str, where: str, values: tuple[Any, ...]) -> Overview | None:
        with self._database.read() as connection:
            return overview_of(connection, where, values)

    def proposals(self, project_id: str, term: str) -> Sequence[Proposal]:
        """Return the completions of a search term."""
        with self._database.read() as connection:
            return proposals(connection, project_id, term)

    def newest_project(self) -> str | None:
        """Return the id of the project with the newest trace; None without traces."""
        with self._database.read() as connection:
            row = connection.execute("SELECT project_id FROM traces ORDER BY seq DESC LIMIT 1").fetchone()
        return None if row is None else str(row["project_id"])

    def payloads(self, trace_ids: list[str]) -> dict[str, tuple[Any, str | None]]:
        """Return the input and the outcome of traces by id, for previews.

        Of a long input, only the beginning is returned, as plain text. The outcome may be None.
        """
        ids = dumps(trace_ids).decode()
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT trace_id, seq, json_extract(metadata, '$.outcome') AS outcome FROM traces"
                " WHERE trace_id IN (SELECT value FROM json_each(?))",
                (ids,),
            ).fetchall()
            contents = blocks.read(connection, [blocks.block_of(row["seq"]) for row in rows])
        given = {row["trace_id"]: contents[blocks.block_of(row["seq"])][blocks.TRACE][2] for row in rows}
        return {row["trace_id"]: (_beginning(given[row["trace_id"]]), row["outcome"]) for row in rows}

    def users(self, project_id: str, page: Slice) -> tuple[list[dict[str, Any]], int]:
        """Return one page of users, most recently seen first, and the number of all."""
        with self._database.read() as connection:
            rows = connection.execute(_USERS, (project_id, page.limit, page.offset)).fetchall()
            (total,) = connection.execute(
                "SELECT COUNT(DISTINCT user_id) FROM traces WHERE project_id = ? AND user_id IS NOT NULL", (project_id,)
            ).fetchone()
        return [dict(row) for row in rows], total

    def sessions(
        self,
        project_id: str,
        wanted: TraceFilter,
        page: Slice,
        sort_by: SessionSortBy,
        order: SortOrder,
        *,
        has_error: bool | None = None,
    ) -> tuple[list[dict[str, Any]], int]:
        """Return one page of session summaries, and the number of all matches."""
        with self._database.read() as connection:
            where, values = wanted.where(project_id)
            where += " AND session_id IS NOT NULL"
            if wanted == TraceFilter(session_query=wanted.session_query):  # nothing restricts the traces in the sums
                having = "TRUE" if has_error is None else f"(errors > 0) = {int(has_error)}"
                keys = (
                    f"SELECT session_id, {_STORED_SESSION_ORDER[sort_by]} AS key, last_seq"
                    f" FROM sessions WHERE {where} AND {having}"
                )
            else:
                having = "" if has_error is None else f"HAVING MAX(status = 'ERROR') = {int(has_error)}"
                # All sessions are sorted by one sum. Only those of the page get the other sums.
                keys = (
                    f"SELECT session_id, {_SESSION_ORDER[sort_by]} AS key, MAX(seq) AS last_seq"
                    f" FROM traces WHERE {where} GROUP BY {'+' if wanted.is_narrow else ''}session_id {having}"
                )
            ordered = order_by("key", order, nullable=sort_by == "latency", tie_breaker="last_seq")
            chosen, total = _ordered_sessions(connection, keys, ordered, values, page)
            of_page = f"{where} AND session_id IN (SELECT value FROM json_each(?))"
            ids = dumps(chosen).decode()
            sums = connection.execute(
                f"SELECT {_SESSION_SUMS} FROM traces WHERE {of_page} GROUP BY session_id", (*values, ids)
            ).fetchall()
            users = connection.execute(
                # The user of the first trace: SQLite takes the other columns from the row with the minimum. The plus
                # keeps it from reading all traces with a user.
                f"SELECT session_id, user_id, MIN(started_at) FROM traces WHERE {of_page} AND +user_id IS NOT NULL"
                " GROUP BY session_id",
                (*values, ids),
            ).fetchall()
        by_id, user_of = {row["session_id"]: row for row in sums}, {row["session_id"]: row["user_id"] for row in users}
        return [_summary(by_id[session_id], user_of.get(session_id)) for session_id in chosen], total

    def session(self, project_id: str, session_id: str) -> dict[str, Any] | None:
        """Return the summary of one session; None if the project has no trace of it."""
        found, _ = self.sessions(project_id, TraceFilter(session_id=session_id), Slice(limit=1), "recent", "desc")
        return found[0] if found else None

    def session_traces(self, project_id: str, session_id: str, page: Slice) -> list[dict[str, Any]]:
        """Return one page of the traces of a session as the API returns them, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT {TRACE_COLUMNS} FROM traces WHERE project_id = ? AND session_id = ?"
                " ORDER BY +started_at, seq LIMIT ? OFFSET ?",
                (project_id, session_id, page.limit, page.offset),
            ).fetchall()
            return [whole_trace(connection, row) for row in rows]

    def session_trace_ids(self, project_id: str, session_id: str) -> list[str]:
        """Return the ids of the traces of a session."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT trace_id FROM traces WHERE project_id = ? AND session_id = ?", (project_id, session_id)
            ).fetchall()
        return [row["trace_id"] for row in rows]


def _ordered_sessions(
    connection: sqlite3.Connection, keys: str, ordered: str, values: list[Any], page: Slice
) -> tuple[list[str], int]:
    """Return the ids of a page of sessions, and the number of all, by an SQL query for each session's key."""
    found = f"WITH found AS MATERIALIZED ({keys})"
    rows = connection.execute(
        f"{found} SELECT session_id, (SELECT COUNT(*) FROM found) AS total FROM found {ordered} LIMIT ? OFFSET ?",
        (*values, page.limit, page.offset),
    ).fetchall()
    if rows:
        return [row["session_id"] for row in rows], rows[0]["total"]
    (total,) = connection.execute(f"{found} SELECT COUNT(*) FROM found", values).fetchone()
    return [], total


def _beginning(text: str | None) -> Any:
    return loads(text) if text is None or len(text) < _PREVIEW_CHARACTERS else text[:_PREVIEW_CHARACTERS]


def _summary(row: sqlite3.Row, user_id: str | None) -> dict[str, Any]:
    tags = sorted({tag for tags in loads(row["tags"]) for tag in loads(tags)})
    return {**dict(row), "has_error": bool(row["has_error"]), "user_id": user_id, "tags": tags}
