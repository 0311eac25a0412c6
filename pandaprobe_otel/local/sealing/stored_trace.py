"""A trace of the store, as derivations read it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pandaprobe_otel.local.payloads import dumps, loads
from pandaprobe_otel.local.store.records import TRACE_COLUMNS, span_record, trace_record
from pandaprobe_otel.local.store.spans import spans_of


@dataclass(frozen=True)
class StoredTrace:
    """Rows of a trace and its spans, ordered by start. JSON columns are text."""

    row: sqlite3.Row
    spans: Sequence[sqlite3.Row]

    @property
    def seq(self) -> int:
        """Number of the trace, in order of arrival."""
        return int(self.row["seq"])

    @property
    def project_id(self) -> str:
        """Id of the trace's project."""
        return str(self.row["project_id"])

    @cached_property
    def record(self) -> dict[str, Any]:
        """The trace in the form of `GET /traces/{id}`."""
        spans = [span_record(span, self.row["trace_id"]) for span in self.spans]
        record: dict[str, Any] = loads(dumps(trace_record(self.row, spans)).decode())
        return record


def read_trace(connection: sqlite3.Connection, seq: int) -> StoredTrace | None:
    """Return a trace by its number; None if it does not exist."""
    row = connection.execute(f"SELECT {TRACE_COLUMNS} FROM whole_traces WHERE seq = ?", (seq,)).fetchone()
    return None if row is None else StoredTrace(row, spans_of(connection, seq))
