"""Evaluation for the routes: runs, monitors and the worker."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException

from pandaprobe_otel.judge.judge import Judge
from pandaprobe_otel.judge.metrics import SESSION_METRICS, TRACE_METRICS
from pandaprobe_otel.local.errors import InvalidFieldError, not_found, refused
from pandaprobe_otel.local.evaluation.cadence import next_run
from pandaprobe_otel.local.evaluation.execution import Execution
from pandaprobe_otel.local.evaluation.selection import Selection, sample, session_filters, trace_filters
from pandaprobe_otel.local.evaluation.worker import Worker
from pandaprobe_otel.local.payloads import loads
from pandaprobe_otel.local.quota import Counter, QuotaBook
from pandaprobe_otel.local.store.accounts import Accounts, Organization
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.failures import find_anew
from pandaprobe_otel.local.store.monitors import MonitorStore
from pandaprobe_otel.local.store.queries import Queries
from pandaprobe_otel.local.store.runs import NewRun, RunStore
from pandaprobe_otel.local.store.scores import ScoreStore, session_scores, trace_scores
from pandaprobe_otel.local.store.traces import TraceStore

_log = logging.getLogger(__name__)

Targets = Mapping[str, Sequence[str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A run to create. `targets` may name metrics for each target."""

    organization: Organization
    project_id: str
    target_type: str
    metrics: Sequence[str]
    targets: Targets
    filters: Mapping[str, Any]
    name: str | None = None
    model: str | None = None
    sampling_rate: float = 1.0
    monitor_id: str | None = None


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
        self.trace_scores: ScoreStore = trace_scores(database, find_anew)
        self.session_scores: ScoreStore = session_scores(database)
        self.selection = Selection(database)
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
        self.worker.resume(self.runs.unfinished(), monitors=self.monitors.next_due() is not None)

    def start(self, request: RunRequest, keep_project: Callable[[sqlite3.Connection], None]) -> sqlite3.Row:
        """Store a run, count it against the quota and pass it to the worker. Return its row, which is still PENDING."""
        counter: Counter = "session_evals" if request.target_type == "SESSION" else "trace_evals"
        units = sum(len(metrics or request.metrics) for metrics in request.targets.values())
        self._quota.check(request.organization, counter, units)
        with self._database.write() as connection:
            keep_project(connection)
            run_id = self.runs.add(connection, self._new_run(request), now=self._now())
            self._quota.count(connection, request.organization, counter, units)
        row = self.runs.get(request.project_id, run_id)
        assert row is not None
        self.worker.submit(run_id)
        return row

    def delete_run(self, row: sqlite3.Row, *, with_scores: bool) -> None:
        """Delete a run, and its scores if requested."""
        with self._database.write() as connection:
            if with_scores:
                self.trace_scores.delete_of_run(connection, row["id"])
                self.session_scores.delete_of_run(connection, row["id"])
            self.runs.delete(connection, row["id"])

    def trigger(self, monitor: sqlite3.Row) -> sqlite3.Row:
        """Run a monitor now, whatever its state. Raises the 422 of a monitor that matches nothing."""
        run = self._run_of(monitor)
        now = self._now()
        columns = {
            "last_run_at": now,
            "last_run_id": run["id"],
            "next_run_at": next_run(monitor["cadence"], now),
        }
        self.monitors.change(monitor["id"], columns, now=None)
        return run

    def _run_of(self, monitor: sqlite3.Row) -> sqlite3.Row:
        filters = loads(monitor["filters"])
        project_id = monitor["project_id"]
        if monitor["target_type"] == "TRACE":
            targets = self.selection.traces(project_id, trace_filters(filters))
        else:
            targets = self.selection.sessions(project_id, session_filters(filters))
        if not targets:
            raise refused(f"No {monitor['target_type'].lower()}s match the monitor's filters.")
        chosen = sample(targets, monitor["sampling_rate"]) or targets[:1]
        project = self._accounts.project(project_id)
        organization = None if project is None else self._accounts.organization(project.org_id)
        if organization is None:
            raise not_found(f"Project {project_id}")
        request = RunRequest(
            organization=organization,
            project_id=project_id,
            target_type=monitor["target_type"],
            metrics=loads(monitor["metric_names"]),
            targets=dict.fromkeys(chosen),
            filters=filters,
            name=f"[Monitor] {monitor['name']}",
            model=monitor["model"],
            sampling_rate=monitor["sampling_rate"],
            monitor_id=monitor["id"],
        )
        return self.start(request, _already_kept)

    def start_due_monitors(self) -> float | None:
        """Start runs of due monitors. Return the seconds until the next one; None if no monitor is waiting."""
        now = self._now()
        for monitor in self.monitors.due(now):
            self.monitors.change(monitor["id"], {"next_run_at": next_run(monitor["cadence"], now)}, now=None)
            if self._worth_running(monitor):
                self._run_due(monitor, now)
        upcoming = self.monitors.next_due()
        return None if upcoming is None else (upcoming - self._now()) / 1e6

    def _worth_running(self, monitor: sqlite3.Row) -> bool:
        if not monitor["only_if_changed"] or monitor["last_run_at"] is None:
            return True
        filters = loads(monitor["filters"])
        return self.selection.changed_since(
            monitor["project_id"], monitor["target_type"], filters, monitor["last_run_at"]
        )

    def _run_due(self, monitor: sqlite3.Row, now: int) -> None:
        try:
            run = self._run_of(monitor)
        except (HTTPException, InvalidFieldError) as error:
            # Nothing matches, or the quota is used up. The monitor waits for its next time.
            _log.info("pandaprobe local: monitor %s did not run: %s", monitor["id"], error)
            return
        self.monitors.change(monitor["id"], {"last_run_at": now, "last_run_id": run["id"]}, now=None)

    def _new_run(self, request: RunRequest) -> NewRun:
        return NewRun(
            project_id=request.project_id,
            target_type=request.target_type,
            name=request.name,
            metric_names=request.metrics,
            filters=request.filters,
            sampling_rate=request.sampling_rate,
            model=self.judge.model(request.model),
            targets=request.targets,
            monitor_id=request.monitor_id,
        )


def check_metrics(names: Sequence[str], *, target_type: str, label: str = "metrics") -> None:
    """Raise the 422 that names unknown metrics."""
    known = TRACE_METRICS if target_type == "TRACE" else SESSION_METRICS
    if unknown := [name for name in names if name not in known]:
        raise refused(f"Unknown {label}: {', '.join(unknown)}")


def _already_kept(_connection: sqlite3.Connection) -> None:
    """Do nothing, since a monitor's project is stored already."""
