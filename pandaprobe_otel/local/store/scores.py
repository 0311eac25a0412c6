"""Scores of traces and sessions: one implementation for two tables with different targets."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from pandaprobe_otel.local.payloads import dumps, encode
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.records import insert, newest_of, record, update


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


class ScoreStore:
    """Scores of one kind of target."""

    def __init__(
        self,
        database: Database,
        *,
        table: str,
        target_column: str,
        on_change: Callable[[sqlite3.Connection, str], object] | None = None,
    ) -> None:
        self._database = database
        self._on_change = on_change or _ignore
        self.table = table
        self._target = target_column
        self._of_traces = target_column == "trace_id"

    def add(self, connection: sqlite3.Connection, project_id: str, score: NewScore, *, now: int) -> str:
        """Store a score inside the caller's transaction and return its id."""
        row: dict[str, Any] = {
            "id": str(uuid4()),
            "project_id": project_id,
            self._target: score.target,
            "name": score.name,
            "data_type": score.data_type,
            "value": score.value,
            "number": number_of(score.value, score.data_type),
            "source": score.source,
            "status": score.status,
            "eval_run_id": score.eval_run_id,
            "created_at": now,
            "updated_at": now,
            "metadata": encode(dict(score.metadata or {})),
            "reason": score.reason,
        }
        if self._of_traces:
            row["environment"] = score.environment
        insert(connection, self.table, row)
        self._on_change(connection, score.target)
        identifier: str = row["id"]
        return identifier

    def get(self, project_id: str, score_id: str) -> sqlite3.Row | None:
        """Return the row of a score; None if the project does not have it."""
        found = self._select(project_id, "id = ?", (score_id,))
        return found[0] if found else None

    def find(self, condition: tuple[str, list[Any]], *, limit: int, offset: int) -> tuple[list[sqlite3.Row], int]:
        """Return one page of the scores of a condition, newest first, and the number of all matches."""
        with self._database.read() as connection:
            return newest_of(connection, self.table, condition, limit=limit, offset=offset)

    def of_target(self, project_id: str, target: str) -> list[sqlite3.Row]:
        """Return every score of a trace or session, newest first."""
        return self._select(project_id, f"{self._target} = ?", (target,))

    def latest_of_target(self, project_id: str, target: str) -> list[sqlite3.Row]:
        """Return the newest score of each name of a trace or session, by name."""
        newest: dict[str, sqlite3.Row] = {}
        for row in self.of_target(project_id, target):
            newest.setdefault(row["name"], row)
        return [newest[name] for name in sorted(newest)]

    def latest_of_targets(self, project_id: str, targets: Sequence[str]) -> dict[str, list[sqlite3.Row]]:
        """Return the newest score of each name for some traces or sessions: by the target's id, then by name."""
        found = self._select(
            project_id, f"{self._target} IN (SELECT value FROM json_each(?))", (dumps(list(targets)).decode(),)
        )
        newest: dict[str, dict[str, sqlite3.Row]] = {}
        for row in found:
            newest.setdefault(row[self._target], {}).setdefault(row["name"], row)
        return {target: [scores[name] for name in sorted(scores)] for target, scores in newest.items()}

    def of_run(self, project_id: str, run_id: str) -> list[sqlite3.Row]:
        """Return the scores of a run, newest first."""
        return self._select(project_id, "eval_run_id = ?", (run_id,))

    def failed_of_run(self, project_id: str, run_id: str) -> list[sqlite3.Row]:
        """Return the failed scores of a run, oldest first."""
        return self._select(project_id, "eval_run_id = ? AND status = 'FAILED'", (run_id,))[::-1]

    def latest_value(self, target: str, name: str) -> str | None:
        """Return the newest successful value of a name, of any source; None if there is none."""
        with self._database.read() as connection:
            row = connection.execute(
                f"SELECT value FROM {self.table} WHERE {self._target} = ? AND name = ? AND status = 'SUCCESS'"
                " ORDER BY created_at DESC, seq DESC LIMIT 1",
                (target, name),
            ).fetchone()
        return None if row is None else row["value"]

    def change(self, score_id: str, columns: Mapping[str, Any], *, now: int) -> None:
        """Set columns of a score."""
        with self._database.write() as connection:
            update(connection, self.table, score_id, {**columns, "updated_at": now})
            for target in self._targets(connection, "id = ?", score_id):
                self._on_change(connection, target)

    def delete(self, project_id: str, score_id: str) -> bool:
        """Delete a score. Return False if the project does not have it."""
        with self._database.write() as connection:
            return self._delete(connection, "project_id = ? AND id = ?", project_id, score_id)

    def delete_of_run(self, connection: sqlite3.Connection, run_id: str) -> None:
        """Delete the scores of a run inside the caller's transaction."""
        self._delete(connection, "eval_run_id = ?", run_id)

    def _delete(self, connection: sqlite3.Connection, where: str, *values: str) -> bool:
        targets = self._targets(connection, where, *values)
        connection.execute(f"DELETE FROM {self.table} WHERE {where}", values)
        for target in targets:
            self._on_change(connection, target)
        return bool(targets)

    def _targets(self, connection: sqlite3.Connection, where: str, *values: str) -> list[str]:
        rows = connection.execute(f"SELECT DISTINCT {self._target} FROM {self.table} WHERE {where}", values).fetchall()
        return [row[0] for row in rows]

    def record(self, row: sqlite3.Row) -> dict[str, Any]:
        """Return the object of the API."""
        return {**record(row), "author_user_id": None, **({"config_id": None} if self._of_traces else {})}

    def _select(self, project_id: str, condition: str, values: Sequence[Any]) -> list[sqlite3.Row]:
        with self._database.read() as connection:
            return connection.execute(
                f"SELECT * FROM {self.table} WHERE project_id = ? AND {condition} ORDER BY created_at DESC, seq DESC",
                (project_id, *values),
            ).fetchall()


def _ignore(_connection: sqlite3.Connection, _target: str) -> None:
    """Do nothing: scores of sessions lead to no findings."""


def number_of(value: str | None, data_type: str) -> float | None:
    """Return the number for analytics; only a NUMERIC score has one."""
    return float(value) if value is not None and data_type == "NUMERIC" else None


def trace_scores(database: Database, on_change: Callable[[sqlite3.Connection, str], object]) -> ScoreStore:
    """Return the store of trace scores. `on_change` is called with each trace whose scores change, in the same
    transaction.
    """
    return ScoreStore(database, table="trace_scores", target_column="trace_id", on_change=on_change)


def session_scores(database: Database) -> ScoreStore:
    """Return the store of session scores."""
    return ScoreStore(database, table="session_scores", target_column="session_id")
