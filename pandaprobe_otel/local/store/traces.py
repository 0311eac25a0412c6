"""Traces: one transaction for a whole POST, merge by id, patch, delete, tags.

Merge rules of a repeated `POST /traces` (measured on server 0.5.0): Name, status, start, input and output are
overwritten, even if omitted. End, session, user, environment and release stay if omitted. Metadata is merged on its
first level. Tags become the sorted union. Spans are merged by id.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from pandaprobe_otel.local.models.traces import SpanCreate, SpanUpdate, TraceCreate, TraceUpdate
from pandaprobe_otel.local.payloads import dumps, encode, loads, merge_objects
from pandaprobe_otel.local.store import blocks
from pandaprobe_otel.local.store.database import AT_ONCE, Database
from pandaprobe_otel.local.store.failures import find_anew
from pandaprobe_otel.local.store.labels import label
from pandaprobe_otel.local.store.records import SPAN_COLUMNS, TRACE_COLUMNS, patched, patched_content
from pandaprobe_otel.local.store.records import update as change
from pandaprobe_otel.local.store.spans import Changed, patch_span, save_spans, whole_trace
from pandaprobe_otel.local.times import micros_of

_INSERT: Final = """
    INSERT INTO traces (
        trace_id, project_id, status, started_at, ended_at, created_at, session_id, user_id, name, folded_name,
        environment, release, tags, metadata
    ) VALUES (
        :trace_id, :project_id, :status, :started_at, :ended_at, :created_at, :session_id, :user_id, :name,
        :folded_name, :environment, :release, :tags, :metadata
    )
"""
_MERGE: Final = """
    UPDATE traces SET
        status = :status, started_at = :started_at, name = :name, folded_name = :folded_name, tags = :tags,
        metadata = :metadata,
        ended_at = COALESCE(:ended_at, ended_at),
        session_id = COALESCE(:session_id, session_id), user_id = COALESCE(:user_id, user_id),
        environment = COALESCE(:environment, environment), release = COALESCE(:release, release)
    WHERE seq = :seq
"""


class ForeignTraceError(Exception):
    """A trace id belongs to another project. The real server would overwrite the trace of that project."""


class TraceStore:
    """Writer of traces and reader of single ones. Lists are in `queries`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, connection: sqlite3.Connection, project_id: str, trace: TraceCreate, *, now: int) -> None:
        """Insert or merge a trace with its spans, inside the caller's transaction.

        Raises ForeignTraceError, ForeignSpanError or TooDeepError. The transaction must then be rolled back.
        """
        row = _row(project_id, trace, now)
        known = connection.execute(
            "SELECT seq, project_id, tags, metadata FROM traces WHERE trace_id = ?", (row["trace_id"],)
        ).fetchone()
        if known is not None and known["project_id"] != project_id:
            raise ForeignTraceError(row["trace_id"])
        if known is None:
            seq = connection.execute(_INSERT, row).lastrowid or 0
        else:
            seq = row["seq"] = known["seq"]
            row["tags"] = encode(sorted({*loads(known["tags"]), *trace.tags}))
            row["metadata"] = merge_objects(known["metadata"], trace.metadata)
            connection.execute(_MERGE, row)
        content = {blocks.TRACE: (trace.name, None, row["input"], row["output"])}
        _changed(
            connection,
            seq,
            row["trace_id"],
            {blocks.block_of(seq): content, **save_spans(connection, seq, trace.spans)},
        )

    def add_spans(self, project_id: str, trace_id: str, spans: Sequence[SpanCreate]) -> bool:
        """Insert or merge spans of a stored trace. Return False if the project does not have the trace."""
        with self._database.write() as connection:
            row = _find(connection, project_id, trace_id)
            if row is None:
                return False
            _changed(connection, row["seq"], trace_id, save_spans(connection, row["seq"], spans))
            return True

    def patch(self, project_id: str, trace_id: str, update: TraceUpdate) -> bool:
        """Change the fields in the request. Return False if the project does not have the trace."""
        with self._database.write() as connection:
            row = _find(connection, project_id, trace_id)
            if row is None:
                return False
            columns, first = patched(row, update.sent()), blocks.block_of(row["seq"])
            content = patched_content(blocks.read(connection, [first])[first][blocks.TRACE], columns)
            if "name" in columns:
                columns["folded_name"] = columns["name"].lower()
            change(connection, "traces", row["seq"], columns, "seq")
            _changed(connection, row["seq"], trace_id, {first: {blocks.TRACE: content}})
            return True

    def patch_span(self, project_id: str, trace_id: str, span_id: str, update: SpanUpdate) -> bool:
        """Change a span. Return False if the trace does not have it."""
        with self._database.write() as connection:
            trace = _find(connection, project_id, trace_id)
            row = None if trace is None else _find_span(connection, trace["seq"], span_id)
            if trace is None or row is None:
                return False
            _changed(connection, trace["seq"], trace_id, patch_span(connection, row, update))
            return True

    def get(self, project_id: str, trace_id: str) -> dict[str, Any] | None:
        """Return a trace as the API returns it; None if the project does not have it."""
        with self._database.read() as connection:
            row = _find(connection, project_id, trace_id)
            return None if row is None else whole_trace(connection, row)

    def get_span(self, project_id: str, trace_id: str, span_id: str) -> dict[str, Any] | None:
        """Return a span as the API returns it; None if the trace does not have it."""
        trace = self.get(project_id, trace_id)
        return next((span for span in trace["spans"] if span["span_id"] == span_id), None) if trace else None

    def delete(self, project_id: str, trace_ids: Iterable[str]) -> int:
        """Delete traces with their spans, tags and scores, a few at a time. Return their number."""
        ids, deleted = list(trace_ids), 0
        for begin in range(0, len(ids), AT_ONCE):
            some = dumps(ids[begin : begin + AT_ONCE]).decode()
            with self._database.write() as connection:
                deleted += connection.execute(
                    "DELETE FROM traces WHERE project_id = ? AND trace_id IN (SELECT value FROM json_each(?))",
                    (project_id, some),
                ).rowcount
        return deleted

    def change_tags(self, project_id: str, trace_ids: Iterable[str], add: Iterable[str], remove: Iterable[str]) -> int:
        """Remove tags, then add others, and return the number of existing traces. Adding sorts the tags and removes
        duplicates.

        Without tags to add, they keep their order and their duplicates.
        """
        added, removed = set(add), set(remove)
        ids = dumps(list(trace_ids)).decode()
        with self._database.write() as connection:
            rows = connection.execute(
                "SELECT seq, trace_id, tags FROM traces WHERE project_id = ?"
                " AND trace_id IN (SELECT value FROM json_each(?))",
                (project_id, ids),
            ).fetchall()
            for row in rows:
                kept: list[str] = [tag for tag in loads(row["tags"]) if tag not in removed]
                tags = sorted({*kept, *added}) if added else kept
                connection.execute("UPDATE traces SET tags = ? WHERE seq = ?", (encode(tags), row["seq"]))
                _changed(connection, row["seq"], row["trace_id"])
            return len(rows)


def _changed(connection: sqlite3.Connection, seq: int, trace_id: str, contents: Changed | None = None) -> None:
    """Derive again what depends on a trace, inside the transaction that has changed it."""
    label(connection, seq)
    blocks.write(connection, contents or {})
    find_anew(connection, trace_id)


def _row(project_id: str, trace: TraceCreate, now: int) -> dict[str, Any]:
    return {
        "trace_id": str(trace.trace_id),
        "project_id": project_id,
        "status": trace.status.value,
        "started_at": micros_of(trace.started_at),
        "ended_at": None if trace.ended_at is None else micros_of(trace.ended_at),
        "created_at": now,
        "session_id": trace.session_id,
        "user_id": trace.user_id,
        "name": trace.name,
        "folded_name": trace.name.lower(),
        "environment": trace.environment,
        "release": trace.release,
        "tags": encode(trace.tags),
        "metadata": encode(trace.metadata),
        "input": encode(trace.input),
        "output": encode(trace.output),
    }


def _find(connection: sqlite3.Connection, project_id: str, trace_id: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        f"SELECT {TRACE_COLUMNS} FROM traces WHERE trace_id = ? AND project_id = ?", (trace_id, project_id)
    ).fetchone()
    return row


def _find_span(connection: sqlite3.Connection, trace_seq: int, span_id: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        f"SELECT {SPAN_COLUMNS} FROM spans WHERE span_id = ? AND trace_seq = ?", (span_id, trace_seq)
    ).fetchone()
    return row
