"""Monitors in the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.records import insert, newest_of, record, update, where_of


class MonitorStore:
    """Store of monitors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, connection: sqlite3.Connection, columns: Mapping[str, Any]) -> str:
        """Store a monitor inside the caller's transaction and return its id."""
        monitor_id = str(uuid4())
        insert(connection, "monitors", {"id": monitor_id, **columns})
        return monitor_id

    def get(self, project_id: str, monitor_id: str) -> sqlite3.Row | None:
        """Return a monitor; None if the project does not have it."""
        with self._database.read() as connection:
            row: sqlite3.Row | None = connection.execute(
                "SELECT * FROM monitors WHERE id = ? AND project_id = ?", (monitor_id, project_id)
            ).fetchone()
        return row

    def find(self, project_id: str, *, status: str | None, limit: int, offset: int) -> tuple[list[sqlite3.Row], int]:
        """Return one page of monitors, newest first, and the number of all that match."""
        condition = where_of(project_id, {"status": status})
        with self._database.read() as connection:
            return newest_of(connection, "monitors", condition, limit=limit, offset=offset)

    def change(self, monitor_id: str, columns: Mapping[str, Any], *, now: int | None) -> None:
        """Set columns of a monitor. `updated_at` becomes `now` unless that is None."""
        changes = dict(columns) if now is None else {**columns, "updated_at": now}
        if changes:
            with self._database.write() as connection:
                update(connection, "monitors", monitor_id, changes)

    def delete(self, project_id: str, monitor_id: str) -> bool:
        """Delete a monitor. Its runs stay. Return False if the project does not have it."""
        with self._database.write() as connection:
            found = connection.execute("DELETE FROM monitors WHERE id = ? AND project_id = ?", (monitor_id, project_id))
            return found.rowcount > 0

    def due(self, now: int) -> list[sqlite3.Row]:
        """Return the active monitors that are due."""
        with self._database.read() as connection:
            return connection.execute(
                "SELECT * FROM monitors WHERE status = 'ACTIVE' AND next_run_at <= ? ORDER BY next_run_at",
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
