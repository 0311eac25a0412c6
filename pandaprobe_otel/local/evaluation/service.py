"""Evaluation for the routes: runs, monitors and the worker."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException

from pandaprobe_otel.judge.judge import Judge
from pandaprobe_otel.judge.metrics import SESSION_METRICS, TRACE_METRICS
from pandaprobe_otel.local.errors import InvalidFieldError, not_found, refused
from pandaprobe_otel.local.evaluation.cadence import next_run
from pandaprobe_otel.local.evaluation.execution import Execution
from pandaprobe_otel.local.evaluation.selection import Filters, changed_since, checked_filters, sample, targets_of
from pandaprobe_otel.local.evaluation.worker import Worker
from pandaprobe_otel.local.payloads import encode, loads
from pandaprobe_otel.local.quota import Counter, QuotaBook
from pandaprobe_otel.local.store.accounts import Accounts, Project
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.evaluations import MonitorStore, RunStore, ScoreStore, parsed
from pandaprobe_otel.local.store.failures import find_anew
from pandaprobe_otel.local.store.queries import Queries
from pandaprobe_otel.local.store.traces import TraceStore

_log = logging.getLogger(__name__)

Targets = Mapping[str, Sequence[str] | None]
"""The metrics of each trace or session of a run, by its id; None for those of the run."""


class Evaluation:
    """Runs, scores and monitors of one server."""

    def __init__(
        self,
        database: Database,
        *,
        accounts: Accounts,
        traces: TraceStore,
        queries: Queries,
        quota: QuotaBook,
        judge: Callable[[], Judge],
        now: Callable[[], int],
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._quota = quota
        self._judge = judge
        self._now = now
        self.runs = RunStore(database)
        self.monitors = MonitorStore(database)
        self.trace_scores = ScoreStore(database, "trace_id", find_anew)
        self.session_scores = ScoreStore(database, "session_id")
        execution = Execution(
            database,
            runs=self.runs,
            traces=traces,
            queries=queries,
            trace_scores=self.trace_scores,
            session_scores=self.session_scores,
            judge=judge,
            now=now,
        )
        self.worker = Worker(execution, self.start_due_monitors)

    @property
    def judge(self) -> Judge:
        """The judge of new runs."""
        return self._judge()

    def resume(self) -> None:
        """Resume the work that an earlier process left."""
        self.worker.resume(self.runs.unfinished(), monitors=bool(self.monitors.active()))

    def targets(self, project_id: str, filters: Filters) -> list[str]:
        """Return the ids of the traces or sessions that match filters, newest first."""
        return targets_of(self._database, project_id, filters)

    def start(
        self,
        project: Project,
        target_type: str,
        metrics: Sequence[str],
        targets: Targets,
        filters: Mapping[str, Any],
        *,
        name: str | None = None,
        model: str | None = None,
        sampling_rate: float = 1.0,
        monitor_id: str | None = None,
    ) -> dict[str, Any]:
        """Store a run, count it against the quota and pass it to the worker. Return it, still PENDING."""
        organization = self._accounts.organization(project.org_id)
        if organization is None:
            raise not_found(f"Project {project.id}")
        counter: Counter = "session_evals" if target_type == "SESSION" else "trace_evals"
        units = sum(len(of_one or metrics) for of_one in targets.values())
        self._quota.check(organization, counter, units)
        with self._database.write() as connection:
            self._accounts.keep(project, connection)
            run_id = self.runs.add(
                connection,
                {
                    "project_id": project.id,
                    "target_type": target_type,
                    "name": name,
                    "status": "PENDING",
                    "metric_names": encode(list(metrics)),
                    "filters": encode(dict(filters)),
                    "sampling_rate": sampling_rate,
                    "model": self.judge.model(model),
                    "monitor_id": monitor_id,
                    "total_targets": len(targets),
                    "created_at": self._now(),
                    "targets": encode(dict(targets)),
                },
            )
            self._quota.count(connection, organization, counter, units)
        row = self.runs.get(project.id, run_id)
        assert row is not None
        self.worker.submit(run_id)
        return self.runs.record(row)

    def delete_run(self, row: sqlite3.Row, *, with_scores: bool) -> None:
        """Delete a run, and its scores if requested."""
        with self._database.write() as connection:
            if with_scores:
                self.trace_scores.delete_of_run(connection, row["id"])
                self.session_scores.delete_of_run(connection, row["id"])
            self.runs.delete(connection, row["id"])

    def trigger(self, monitor: sqlite3.Row) -> dict[str, Any]:
        """Run a monitor now, whatever its state. Raises the 422 of a monitor that matches nothing."""
        run, now = self._run_of(monitor), self._now()
        ran = {"last_run_at": now, "last_run_id": run["id"], "next_run_at": next_run(monitor["cadence"], now)}
        self.monitors.change(monitor["id"], ran)
        return run

    def _run_of(self, row: sqlite3.Row) -> dict[str, Any]:
        monitor, kind = parsed(row), row["target_type"]
        project = self._accounts.project(monitor["project_id"])
        if project is None:
            raise not_found(f"Project {monitor['project_id']}")
        targets = self.targets(project.id, checked_filters(kind, monitor["filters"]))
        if not targets:
            raise refused(f"No {kind.lower()}s match the monitor's filters.")
        chosen = sample(targets, monitor["sampling_rate"]) or targets[:1]
        return self.start(
            project,
            kind,
            monitor["metric_names"],
            dict.fromkeys(chosen),
            monitor["filters"],
            name=f"[Monitor] {monitor['name']}",
            model=monitor["model"],
            sampling_rate=monitor["sampling_rate"],
            monitor_id=monitor["id"],
        )

    def start_due_monitors(self) -> float | None:
        """Start runs of due monitors. Return the seconds until the next one; None if no monitor is waiting."""
        now = self._now()
        for monitor in self.monitors.active():
            if monitor["next_run_at"] > now:
                break
            self.monitors.change(monitor["id"], {"next_run_at": next_run(monitor["cadence"], now)})
            if self._worth_running(monitor):
                try:
                    run = self._run_of(monitor)
                except (HTTPException, InvalidFieldError) as error:
                    # Nothing matches, or the quota is used up. The monitor waits for its next time.
                    _log.info("pandaprobe local: monitor %s did not run: %s", monitor["id"], error)
                else:
                    self.monitors.change(monitor["id"], {"last_run_at": now, "last_run_id": run["id"]})
        waiting = self.monitors.active()
        return (waiting[0]["next_run_at"] - self._now()) / 1e6 if waiting else None

    def _worth_running(self, monitor: sqlite3.Row) -> bool:
        if not monitor["only_if_changed"] or monitor["last_run_at"] is None:
            return True
        filters = checked_filters(monitor["target_type"], loads(monitor["filters"]))
        return changed_since(self._database, monitor["project_id"], filters, monitor["last_run_at"])


def check_metrics(names: Sequence[str], *, target_type: str, label: str = "metrics") -> None:
    """Raise the 422 that names unknown metrics."""
    known = TRACE_METRICS if target_type == "TRACE" else SESSION_METRICS
    if unknown := [name for name in names if name not in known]:
        raise refused(f"Unknown {label}: {', '.join(unknown)}")
