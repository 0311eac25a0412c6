"""Monitors in the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.records import record

_COLUMNS: Final = (
    "id, project_id, name, target_type, metric_names, filters, sampling_rate, model, cadence, only_if_changed,"
    " status, last_run_at, last_run_id, next_run_at, created_at, updated_at"
)


class MonitorStore:
    """Store of monitors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, connection: sqlite3.Connection, columns: Mapping[str, Any]) -> str:
        """Store a monitor inside the caller's transaction and return its id."""
        monitor_id = str(uuid4())
        row = {"id": monitor_id, **columns}
        names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
        connection.execute(f"INSERT INTO monitors ({names}) VALUES ({marks})", row)
        return monitor_id

    def get(self, project_id: str, monitor_id: str) -> sqlite3.Row | None:
        """Return a monitor; None if the project does not have it."""
        with self._database.read() as connection:
            row: sqlite3.Row | None = connection.execute(
                f"SELECT {_COLUMNS} FROM monitors WHERE id = ? AND project_id = ?", (monitor_id, project_id)
            ).fetchone()
        return row

    def find(self, project_id: str, *, status: str | None, limit: int, offset: int) -> tuple[list[sqlite3.Row], int]:
        """Return one page of monitors, newest first, and the number of all that match."""
        where, values = "project_id = ?", [project_id]
        if status is not None:
            where += " AND status = ?"
            values.append(status)
        with self._database.read() as connection:
            (total,) = connection.execute(f"SELECT COUNT(*) FROM monitors WHERE {where}", values).fetchone()
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM monitors WHERE {where} ORDER BY seq DESC LIMIT ? OFFSET ?",
                (*values, limit, offset),
            ).fetchall()
        return rows, total

    def change(self, monitor_id: str, columns: Mapping[str, Any], *, now: int | None) -> None:
        """Set columns of a monitor. `updated_at` becomes `now` unless that is None."""
        changes = dict(columns) if now is None else {**columns, "updated_at": now}
        if not changes:
            return
        assignments = ", ".join(f"{column} = ?" for column in changes)
        with self._database.write() as connection:
            connection.execute(f"UPDATE monitors SET {assignments} WHERE id = ?", (*changes.values(), monitor_id))

    def delete(self, project_id: str, monitor_id: str) -> bool:
        """Delete a monitor. Its runs stay. Return False if the project does not have it."""
        with self._database.write() as connection:
            found = connection.execute("DELETE FROM monitors WHERE id = ? AND project_id = ?", (monitor_id, project_id))
            return found.rowcount > 0

    def due(self, now: int) -> list[sqlite3.Row]:
        """Return the active monitors that are due."""
        with self._database.read() as connection:
            return connection.execute(
                f"SELECT {_COLUMNS} FROM monitors WHERE status = 'ACTIVE' AND next_run_at <= ? ORDER BY next_run_at",
                (now,),
            ).fetchall()

    def next_due(self) -> int | None:
        """Return the time at which the next active monitor is due; None if there is none."""
        with self._database.read() as connection:
            row = connection.execute("SELECT MIN(next_run_at) AS next FROM monitors WHERE status = 'ACTIVE'").fetchone()
        value: int | None = row["next"]
        return value


def monitor_record(row: sqlite3.Row) -> dict[str, Any]:
    """Return the object of the API."""
    return {**record(row), "only_if_changed": bool(row["only_if_changed"])}
