"""Evaluation runs in the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from pandaprobe_otel.local.payloads import encode, loads
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.records import insert, newest_of, where_of


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to store. `targets` maps each trace or session id to its metrics (None: the metrics of the run)."""

    project_id: str
    target_type: str
    name: str | None
    metric_names: Sequence[str]
    filters: Mapping[str, Any]
    sampling_rate: float
    model: str | None
    targets: Mapping[str, Sequence[str] | None]
    monitor_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """The parts of a run that the worker needs."""

    id: str
    project_id: str
    target_type: str
    metric_names: Sequence[str]
    model: str | None
    filters: Mapping[str, Any]
    targets: Mapping[str, Sequence[str] | None]


class RunStore:
    """Store of evaluation runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, connection: sqlite3.Connection, run: NewRun, *, now: int) -> str:
        """Store a PENDING run inside the caller's transaction and return its id."""
        run_id = str(uuid4())
        row: dict[str, Any] = {
            "id": run_id,
            "project_id": run.project_id,
            "target_type": run.target_type,
            "name": run.name,
            "status": "PENDING",
            "metric_names": encode(list(run.metric_names)),
            "filters": encode(dict(run.filters)),
            "sampling_rate": run.sampling_rate,
            "model": run.model,
            "monitor_id": run.monitor_id,
            "total_targets": len(run.targets),
            "created_at": now,
            "targets": encode(dict(run.targets)),
        }
        insert(connection, "eval_runs", row)
        return run_id

    def get(self, project_id: str, run_id: str) -> sqlite3.Row | None:
        """Return a run of either kind; None if the project does not have it."""
        with self._database.read() as connection:
            row: sqlite3.Row | None = connection.execute(
                "SELECT * FROM eval_runs WHERE id = ? AND project_id = ?", (run_id, project_id)
            ).fetchone()
        return row

    def find(
        self,
        project_id: str,
        *,
        target_type: str | None = None,
        status: str | None = None,
        monitor_id: str | None = None,
        limit: int,
        offset: int,
    ) -> tuple[list[sqlite3.Row], int]:
        """Return one page of runs, newest first, and the number of all matches."""
        wanted = {"target_type": target_type, "status": status, "monitor_id": monitor_id}
        with self._database.read() as connection:
            return newest_of(connection, "eval_runs", where_of(project_id, wanted), limit=limit, offset=offset)

    def delete(self, connection: sqlite3.Connection, run_id: str) -> None:
        """Delete a run inside the caller's transaction. Its scores stay, without a run."""
        connection.execute("DELETE FROM eval_runs WHERE id = ?", (run_id,))

    def unfinished(self) -> list[str]:
        """Return the ids of runs that were waiting or running, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT id FROM eval_runs WHERE status IN ('PENDING', 'RUNNING') ORDER BY seq"
            ).fetchall()
        return [row["id"] for row in rows]

    def begin(self, run_id: str) -> RunPlan | None:
        """Set a run to RUNNING from its beginning, and return its plan; None if it was deleted."""
        with self._database.write() as connection:
            row = connection.execute("SELECT * FROM eval_runs WHERE id = ?", (run_id,)).fetchone()
            if row is None:
                return None
            connection.execute(
                "UPDATE eval_runs SET status = 'RUNNING', evaluated_count = 0, failed_count = 0, error_message = NULL,"
                " completed_at = NULL WHERE id = ?",
                (run_id,),
            )
        return RunPlan(
            id=run_id,
            project_id=row["project_id"],
            target_type=row["target_type"],
            metric_names=loads(row["metric_names"]),
            model=row["model"],
            filters=loads(row["filters"]),
            targets=loads(row["targets"]),
        )

    def advance(self, connection: sqlite3.Connection, run_id: str, *, failed: int) -> None:
        """Count one target as evaluated, inside the caller's transaction."""
        connection.execute(
            "UPDATE eval_runs SET evaluated_count = evaluated_count + 1, failed_count = failed_count + ? WHERE id = ?",
            (failed, run_id),
        )

    def finish(self, run_id: str, *, now: int, error: str | None = None) -> None:
        """Set a run to COMPLETED, or to FAILED with a message."""
        status = "COMPLETED" if error is None else "FAILED"
        with self._database.write() as connection:
            connection.execute(
                "UPDATE eval_runs SET status = ?, error_message = ?, completed_at = ? WHERE id = ?",
                (status, error, now, run_id),
            )
