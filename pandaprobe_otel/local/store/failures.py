"""Failures of traces, found by fixed rules, and the groups of those with the same fingerprint.

The failures of a trace are found in the transaction that changes the trace or its scores, so they are never outdated.
A running trace has none yet, since it may recover.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.failures.find import find_failures, is_low
from pandaprobe_otel.failures.finding import MARKED, RULE_OF, FailureKind
from pandaprobe_otel.local.payloads import dumps, loads, plain
from pandaprobe_otel.local.search.language import All
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.records import TRACE_COLUMNS, Slice
from pandaprobe_otel.local.store.spans import whole_trace
from pandaprobe_otel.local.store.trace_filter import Search, TraceFilter
from pandaprobe_otel.local.times import iso

_log = logging.getLogger(__name__)

COLUMNS: Final = 24
"""Number of intervals in a trend."""
_OF_GROUPS: Final = "project_id = ? AND recovered = 0 AND fingerprint IN (SELECT value FROM json_each(?))"
_EXAMPLE: Final = ("trace_id", "name", "status", "release", "span_id", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroups:
    """A page of groups in the form of `GET /local/failures`, the number of all, and the period of the trends."""

    items: list[dict[str, Any]]
    total: int
    start: int
    end: int


def find_anew(connection: sqlite3.Connection, trace_id: str) -> None:
    """Find the failures of a trace again, inside the transaction that has changed the trace or its scores."""
    row = connection.execute(f"SELECT {TRACE_COLUMNS} FROM traces WHERE trace_id = ?", (trace_id,)).fetchone()
    if row is None:
        return
    project_id, seq, started_at, release = (row[name] for name in ("project_id", "seq", "started_at", "release"))
    connection.execute("DELETE FROM findings WHERE trace_seq = ?", (seq,))
    if row["status"] in ("RUNNING", "PENDING"):
        return
    try:
        found = find_failures(plain(whole_trace(connection, row)), _low_scores(connection, trace_id))
    except Exception:  # noqa: BLE001 - a trace is stored, whatever the rules make of it
        _log.warning("pandaprobe local: the failures of trace %s cannot be found", trace_id, exc_info=True)
        return
    for position, one in enumerate(found):
        connection.execute(
            "INSERT INTO failure_groups VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET first_at = MIN(first_at, excluded.first_at)",
            (
                *(project_id, one.fingerprint, one.kind, one.title, dumps(dict(one.parts)).decode()),
                *(one.marked is not None, started_at),
            ),
        )
        connection.execute(
            "INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (project_id, seq, one.fingerprint, position, one.recovered, started_at, release, one.span_id, one.text),
        )


class Failures:
    """The groups of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, project_id: str, search: Search, page: Slice) -> FailureGroups:
        """Return one page of the groups with traces that match a search; groups with most traces come first."""
        where, values = "", list[Any]()
        if search.query != All(()):
            condition, values = TraceFilter(search=search).where(project_id)
            where = f" AND trace_seq IN (SELECT traces.seq FROM traces NOT INDEXED WHERE {condition})"
        with self._database.read() as connection:
            rows = _groups(connection, project_id, where, values)
            start = min((row["since"] for row in rows), default=search.now)
            end = max(search.now, start + 1)
            shown = _records(connection, project_id, rows[page.offset : page.offset + page.limit], start, end)
            return FailureGroups(items=shown, total=len(rows), start=start, end=end)

    def get(self, project_id: str, fingerprint: str, *, now: int) -> dict[str, Any] | None:
        """Return a group; None if no trace of the project has this failure."""
        with self._database.read() as connection:
            rows = _groups(connection, project_id, " AND fingerprint = ?", [fingerprint])
            found = _records(connection, project_id, rows, rows[0]["since"], now + 1) if rows else [None]
            return found[0]

    def examples(self, project_id: str, fingerprint: str, page: Slice) -> list[dict[str, Any]]:
        """Return traces of a group, newest first, with the text and the span of the finding."""
        with self._database.read() as connection:
            return _examples(connection, project_id, fingerprint, page)

    def of_trace(self, project_id: str, trace_id: str) -> list[tuple[str, str]]:
        """Return fingerprints and names of a trace's groups, by the rank of its failures."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT fingerprint, title FROM findings JOIN failure_groups USING (project_id, fingerprint)"
                " JOIN traces ON traces.seq = trace_seq WHERE traces.trace_id = ? AND findings.project_id = ?"
                " AND recovered = 0 ORDER BY position",
                (trace_id, project_id),
            ).fetchall()
        return list(dict.fromkeys((row["fingerprint"], row["title"]) for row in rows))


def _groups(connection: sqlite3.Connection, project_id: str, where: str, values: Sequence[Any]) -> list[sqlite3.Row]:
    return connection.execute(
        "WITH sums AS MATERIALIZED (SELECT fingerprint, SUM(recovered = 0) AS n, SUM(recovered) AS recovered,"
        " MIN(started_at) AS since, MAX(CASE recovered WHEN 0 THEN started_at END) AS last_at FROM findings"
        f" WHERE project_id = ?{where} GROUP BY fingerprint HAVING n > 0)"
        " SELECT * FROM sums JOIN failure_groups USING (fingerprint) WHERE project_id = ?"
        " ORDER BY n DESC, last_at DESC",
        (project_id, *values, project_id),
    ).fetchall()


def _records(
    connection: sqlite3.Connection, project_id: str, rows: Sequence[sqlite3.Row], start: int, end: int
) -> list[dict[str, Any]]:
    of_groups = (project_id, dumps([row["fingerprint"] for row in rows]).decode())
    trends: dict[str, list[int]] = {row["fingerprint"]: [0] * COLUMNS for row in rows}
    releases: dict[str, list[str]] = {row["fingerprint"]: [] for row in rows}
    width = max(-(-(end - start) // COLUMNS), 1)
    for fingerprint, part, count in connection.execute(
        f"SELECT fingerprint, (started_at - ?) / ? AS part, COUNT(*) FROM findings WHERE {_OF_GROUPS}"
        " AND started_at BETWEEN ? AND ? GROUP BY 1, 2",
        (start, width, *of_groups, start, end - 1),
    ):
        trends[fingerprint][part] = count
    for fingerprint, release, _ in connection.execute(
        f"SELECT fingerprint, release, MIN(started_at) AS first_at FROM findings WHERE {_OF_GROUPS}"
        " AND release IS NOT NULL GROUP BY 1, 2 ORDER BY first_at, release",
        of_groups,
    ):
        releases[fingerprint].append(release)
    return [
        {
            "fingerprint": row["fingerprint"],
            "name": row["title"],
            "kind": row["kind"],
            "count": row["n"],
            "recovered": row["recovered"],
            "trend": trends[row["fingerprint"]],
            "first_seen": iso(row["first_at"]),
            "last_seen": iso(row["last_at"]),
            "releases": releases[row["fingerprint"]],
            "parts": loads(row["parts"]),
            "why": MARKED if row["marked"] else RULE_OF[FailureKind(row["kind"])],
            "example": _examples(connection, project_id, row["fingerprint"], Slice(limit=1))[0],
        }
        for row in rows
    ]


def _examples(connection: sqlite3.Connection, project_id: str, fingerprint: str, page: Slice) -> list[dict[str, Any]]:
    rows = connection.execute(
        f"SELECT {', '.join(f'traces.{name}' for name in _EXAMPLE[:4])}, traces.started_at, span_id, text FROM"
        " (SELECT rowid AS id, trace_seq FROM findings WHERE project_id = ? AND recovered = 0 AND fingerprint = ?"
        " GROUP BY trace_seq ORDER BY started_at DESC, trace_seq DESC LIMIT ? OFFSET ?) AS newest"
        " JOIN findings ON findings.rowid = newest.id"
        " JOIN traces ON traces.seq = newest.trace_seq ORDER BY traces.started_at DESC, traces.seq DESC",
        (project_id, fingerprint, page.limit, page.offset),
    ).fetchall()
    return [{**{name: row[name] for name in _EXAMPLE}, "started_at": iso(row["started_at"])} for row in rows]


def _low_scores(connection: sqlite3.Connection, trace_id: str) -> list[Mapping[str, Any]]:
    """Return the latest score of each name, if it is low enough to count as a failure."""
    rows = connection.execute(
        "SELECT name, value, data_type, reason FROM trace_scores WHERE trace_id = ? AND status = 'SUCCESS'"
        " ORDER BY created_at, seq",
        (trace_id,),
    ).fetchall()
    latest: dict[str, Mapping[str, Any]] = {row["name"]: dict(row) for row in rows}
    return [score for score in latest.values() if is_low(score["value"])]
