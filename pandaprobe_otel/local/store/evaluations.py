"""Runs, monitors and scores in the store. Scores of traces and of sessions are one implementation for two tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from pandaprobe_otel.local.payloads import dumps, encode, loads
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.records import Condition, Slice, insert, record, update, where_of


class _Table:
    """Rows of a project with an id. Methods with a connection work inside the caller's transaction."""

    name: str

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, connection: sqlite3.Connection, columns: Mapping[str, Any]) -> str:
        """Store a row and return its id."""
        row_id = str(uuid4())
        insert(connection, self.name, {"id": row_id, **columns})
        return row_id

    def get(self, project_id: str, row_id: str) -> sqlite3.Row | None:
        """Return a row; None if the project does not have it."""
        found = self._select(where_of(project_id, {"id": row_id}))
        return found[0] if found else None

    def find(self, condition: Condition, page: Slice) -> tuple[list[dict[str, Any]], int]:
        """Return one page of the rows of a condition as the API returns them, newest first, and the number of all."""
        where, values = condition
        with self._database.read() as connection:
            (total,) = connection.execute(f"SELECT COUNT(*) FROM {self.name} WHERE {where}", values).fetchone()
            return [self.record(row) for row in self._select(condition, page)], total

    def record(self, row: sqlite3.Row) -> dict[str, Any]:
        """Return a row as the API returns it."""
        return record(row)

    def change(self, row_id: str, columns: Mapping[str, Any]) -> None:
        """Set columns of a row."""
        with self._database.write() as connection:
            update(connection, self.name, row_id, columns)
            self._changed(connection, self._targets(connection, "id = ?", row_id))

    def delete(self, project_id: str, row_id: str) -> bool:
        """Delete a row. Return False if the project does not have it."""
        with self._database.write() as connection:
            return self._delete(connection, "project_id = ? AND id = ?", project_id, row_id)

    def _delete(self, connection: sqlite3.Connection, where: str, *values: str) -> bool:
        targets = self._targets(connection, where, *values)
        found = connection.execute(f"DELETE FROM {self.name} WHERE {where}", values)
        self._changed(connection, targets)
        return found.rowcount > 0

    def _targets(self, connection: sqlite3.Connection, where: str, *values: str) -> set[str]:
        """Return the traces or sessions that a change of rows concerns."""
        return set()

    def _changed(self, connection: sqlite3.Connection, targets: set[str]) -> None:
        """Update what depends on the rows of traces or sessions."""

    def _select(self, condition: Condition, page: Slice | None = None) -> list[sqlite3.Row]:
        """Return the rows of a condition, newest first."""
        where, values = condition
        shown = () if page is None else (page.limit, page.offset)
        with self._database.read() as connection:
            return connection.execute(
                f"SELECT * FROM {self.name} WHERE {where} ORDER BY created_at DESC, seq DESC"
                f"{' LIMIT ? OFFSET ?' if shown else ''}",
                (*values, *shown),
            ).fetchall()


class RunStore(_Table):
    """Evaluation runs. Metrics, filters and targets (see `Targets`) are JSON."""

    name = "eval_runs"

    def unfinished(self) -> list[str]:
        """Return the ids of runs that were waiting or running, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT id FROM eval_runs WHERE status IN ('PENDING', 'RUNNING') ORDER BY seq")
            return [row["id"] for row in rows]

    def begin(self, run_id: str) -> dict[str, Any] | None:
        """Set a run to RUNNING from its beginning, and return it with its JSON parsed; None if it was deleted."""
        anew = {"status": "RUNNING", "evaluated_count": 0, "failed_count": 0, "error_message": None}
        with self._database.write() as connection:
            update(connection, "eval_runs", run_id, {**anew, "completed_at": None})
            row = connection.execute("SELECT * FROM eval_runs WHERE id = ?", (run_id,)).fetchone()
        return None if row is None else parsed(row, "targets")

    def advance(self, connection: sqlite3.Connection, run_id: str, *, failed: int) -> None:
        """Count one target as evaluated."""
        connection.execute(
            "UPDATE eval_runs SET evaluated_count = evaluated_count + 1, failed_count = failed_count + ? WHERE id = ?",
            (failed, run_id),
        )

    def finish(self, run_id: str, *, now: int, error: str | None = None) -> None:
        """Set a run to COMPLETED, or to FAILED with a message."""
        status = "COMPLETED" if error is None else "FAILED"
        self.change(run_id, {"status": status, "error_message": error, "completed_at": now})


class MonitorStore(_Table):
    """Monitors."""

    name = "monitors"

    def active(self) -> list[sqlite3.Row]:
        """Return the active monitors, by the time at which they are due."""
        with self._database.read() as connection:
            return connection.execute("SELECT * FROM monitors WHERE status = 'ACTIVE' ORDER BY next_run_at").fetchall()

    def record(self, row: sqlite3.Row) -> dict[str, Any]:
        """Return a row as the API returns it."""
        return {**record(row), "only_if_changed": bool(row["only_if_changed"])}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewScore:
    """A score to store. `target` is a trace id or a session id. A FAILED score has no value."""

    target: str
    name: str
    value: str | None
    source: str
    status: str = "SUCCESS"
    data_type: str = "NUMERIC"
    eval_run_id: str | None = None
    reason: str | None = None
    metadata: Mapping[str, Any] | None = None
    environment: str | None = None


class ScoreStore(_Table):
    """Scores of traces or of sessions: `target` is the column with their ids.

    `on_change` is called with each target whose scores change, in the same transaction.
    """

    def __init__(
        self,
        database: Database,
        target: str,
        on_change: Callable[[sqlite3.Connection, str], object] | None = None,
    ) -> None:
        super().__init__(database)
        self.name = target.replace("_id", "_scores")
        self._on_change = on_change
        self._target = target
        self._of_traces = target == "trace_id"

    def score(self, connection: sqlite3.Connection, project_id: str, new: NewScore, *, now: int) -> str:
        """Store a score and return its id."""
        row: dict[str, Any] = {
            "project_id": project_id,
            self._target: new.target,
            "name": new.name,
            "data_type": new.data_type,
            "value": new.value,
            "number": number_of(new.value, new.data_type),
            "source": new.source,
            "status": new.status,
            "eval_run_id": new.eval_run_id,
            "created_at": now,
            "updated_at": now,
            "metadata": encode(dict(new.metadata or {})),
            "reason": new.reason,
        }
        if self._of_traces:
            row["environment"] = new.environment
        score_id = self.add(connection, row)
        self._changed(connection, {new.target})
        return score_id

    def of_target(self, project_id: str, target: str) -> list[dict[str, Any]]:
        """Return every score of a trace or session, newest first."""
        return [self.record(row) for row in self._select(where_of(project_id, {self._target: target}))]

    def latest(self, project_id: str, targets: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return the newest score of each name for some traces or sessions: by the target's id, then by name."""
        where = f"project_id = ? AND {self._target} IN (SELECT value FROM json_each(?))"
        newest: dict[str, dict[str, sqlite3.Row]] = {target: {} for target in targets}
        for row in self._select((where, [project_id, dumps(list(targets)).decode()])):
            newest[row[self._target]].setdefault(row["name"], row)
        return {target: [self.record(found[name]) for name in sorted(found)] for target, found in newest.items()}

    def of_run(self, project_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the scores of a run, newest first."""
        return [self.record(row) for row in self._select(where_of(project_id, {"eval_run_id": run_id}))]

    def delete_of_run(self, connection: sqlite3.Connection, run_id: str) -> None:
        """Delete the scores of a run."""
        self._delete(connection, "eval_run_id = ?", run_id)

    def record(self, row: sqlite3.Row) -> dict[str, Any]:
        """Return a row as the API returns it."""
        return {**record(row), "author_user_id": None, **({"config_id": None} if self._of_traces else {})}

    def _targets(self, connection: sqlite3.Connection, where: str, *values: str) -> set[str]:
        return {row[0] for row in connection.execute(f"SELECT {self._target} FROM {self.name} WHERE {where}", values)}

    def _changed(self, connection: sqlite3.Connection, targets: set[str]) -> None:
        if self._on_change is not None:
            for target in targets:
                self._on_change(connection, target)


def parsed(row: sqlite3.Row, *others: str) -> dict[str, Any]:
    """Return a run or a monitor with its metrics, its filters and other columns of JSON parsed."""
    return {**dict(row), **{name: loads(row[name]) for name in ("metric_names", "filters", *others)}}


def number_of(value: str | None, data_type: str) -> float | None:
    """Return the number for analytics; only a NUMERIC score has one."""
    return float(value) if value is not None and data_type == "NUMERIC" else None
