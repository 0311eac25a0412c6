"""Evaluation: runs, scores and monitors, and the background thread that executes them.

The thread executes runs one after the other and starts those of due monitors. Runs are rows of the store. If a process
ends during a run, the next process starts that run again.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeAlias

from starlette.exceptions import HTTPException

from pandaprobe_otel.judge.judge import Judge, JudgeError
from pandaprobe_otel.judge.metrics import (
    SESSION_METRICS,
    SIGNALS,
    TRACE_METRICS,
    Result,
    evaluate_session,
    evaluate_trace,
)
from pandaprobe_otel.local.errors import InvalidFieldError, not_found, refused
from pandaprobe_otel.local.evaluation.cadence import next_run
from pandaprobe_otel.local.evaluation.selection import Filters, changed_since, checked_filters, sample, targets_of
from pandaprobe_otel.local.payloads import encode, loads, plain
from pandaprobe_otel.local.quota import Counter, QuotaBook
from pandaprobe_otel.local.store.accounts import Accounts, Project
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.evaluations import MonitorStore, NewScore, RunStore, ScoreStore, parsed
from pandaprobe_otel.local.store.failures import find_anew
from pandaprobe_otel.local.store.queries import Queries
from pandaprobe_otel.local.store.records import Slice
from pandaprobe_otel.local.store.traces import TraceStore

_log = logging.getLogger(__name__)

_LONGEST_WAIT_S: Final = 5.0
"""Longest wait, because a monitor may be changed or the clock set in the meantime."""
_STOP: Final = ""
_WHOLE_SESSION: Final = Slice(limit=2**31)

Row: TypeAlias = Mapping[str, Any]
"""A run, a monitor or a trace with its JSON parsed."""
Targets: TypeAlias = Mapping[str, Sequence[str] | None]
"""The metrics of each trace or session of a run, by its id; None for those of the run."""
Outcomes: TypeAlias = Mapping[str, Result | str]
"""The result of each metric, or the reason why there is none."""
Attempt: TypeAlias = Callable[..., Outcomes]
"""Evaluation of metrics for a trace, given the earlier ones of its session."""


class Evaluation:
    """Runs, scores and monitors of one server. Its thread starts with the first task."""

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
        self._traces = traces
        self._queries = queries
        self._quota = quota
        self._judge = judge
        self._now = now
        self.runs = RunStore(database)
        self.monitors = MonitorStore(database)
        self.trace_scores = ScoreStore(database, "trace_id", find_anew)
        self.session_scores = ScoreStore(database, "session_id")
        self._waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def judge(self) -> Judge:
        """The judge of new runs."""
        return self._judge()

    def resume(self) -> None:
        """Continue the runs that an earlier process left, and watch monitors if there are any."""
        for run_id in self.runs.unfinished():
            self._waiting.put(run_id)
        if not self._waiting.empty() or self.monitors.active():
            self.watch()

    def watch(self) -> None:
        """Evaluate waiting runs and watch monitors from now on."""
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._work, name="pandaprobe-local-evaluation", daemon=True)
                self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread after its current target. The next process continues."""
        self._stopping.set()
        self._waiting.put(_STOP)
        if self._thread is not None:
            self._thread.join(timeout_s)

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
        """Store a run, count it against the quota and pass it to the thread. Return it, still PENDING."""
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
        self._waiting.put(run_id)
        self.watch()
        return self.runs.record(row)

    def delete_run(self, row: sqlite3.Row, *, with_scores: bool) -> None:
        """Delete a run, and its scores if requested; otherwise they stay, without a run."""
        if with_scores:
            self._delete_scores(row["id"])
        self.runs.delete(row["project_id"], row["id"])

    def _delete_scores(self, run_id: str) -> None:
        with self._database.write() as connection:
            self.trace_scores.delete_of_run(connection, run_id)
            self.session_scores.delete_of_run(connection, run_id)

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

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                due_in_s = self._start_due_monitors()
            except sqlite3.Error:
                _log.warning("pandaprobe local: monitors could not be read", exc_info=True)
                due_in_s = None
            wait_s = _LONGEST_WAIT_S if due_in_s is None else min(max(due_in_s, 0.01), _LONGEST_WAIT_S)
            with suppress(queue.Empty):
                if (run_id := self._waiting.get(timeout=wait_s)) != _STOP:
                    self._evaluate(run_id)

    def _start_due_monitors(self) -> float | None:
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

    def _evaluate(self, run_id: str) -> None:
        try:
            self._run(run_id)
        except Exception as error:  # noqa: BLE001 - one run must not end the thread; the run carries the message
            _log.warning("pandaprobe local: evaluation run %s failed", run_id, exc_info=True)
            self.runs.finish(run_id, now=self._now(), error=str(error) or type(error).__name__)

    def _run(self, run_id: str) -> None:
        """Evaluate a run from its beginning. While stopping, return early and leave the run RUNNING."""
        run = self.runs.begin(run_id)
        if run is None:
            return
        self._delete_scores(run_id)
        evaluate = self._evaluate_session if run["target_type"] == "SESSION" else self._evaluate_trace
        judge = self._judge()
        with ThreadPoolExecutor(judge.parallel, thread_name_prefix="pandaprobe-local-judge") as pool:

            def attempt(metrics: Sequence[str], trace: Row, earlier: Sequence[Row] = ()) -> Outcomes:
                def one(metric: str) -> Result | str:
                    try:
                        return evaluate_trace(metric, trace, judge, model=run["model"], earlier=earlier)
                    except JudgeError as error:
                        return str(error)

                return dict(zip(metrics, pool.map(one, metrics), strict=True))

            for target, metrics in run["targets"].items():
                if self._stopping.is_set():
                    return
                evaluate(run, target, metrics or run["metric_names"], attempt)
        self.runs.finish(run_id, now=self._now())

    def _evaluate_trace(self, run: Row, trace_id: str, metrics: Sequence[str], attempt: Attempt) -> None:
        found = self._traces.get(run["project_id"], trace_id)
        trace: Row = {} if found is None else plain(found)
        outcomes: Outcomes = attempt(metrics, trace) if trace else {}
        with self._database.write() as connection:
            for metric, outcome in outcomes.items():
                self._store(connection, run, trace, metric, outcome, "Metric execution")
            self._advance(connection, run, outcomes)

    def _evaluate_session(self, run: Row, session_id: str, metrics: Sequence[str], attempt: Attempt) -> None:
        traces: list[Row] = plain(self._queries.session_traces(run["project_id"], session_id, _WHOLE_SESSION))
        signals = {
            trace["trace_id"]: self._signals(run, trace, traces[:position], attempt)
            for position, trace in enumerate(traces)
        }
        outcomes: dict[str, Result | str] = {}
        for metric in metrics if traces else ():
            try:
                outcomes[metric] = evaluate_session(metric, signals, run["filters"].get("signal_weights"))
            except (ArithmeticError, ValueError) as error:  # Weights may be as large as floats allow.
                outcomes[metric] = str(error)
        with self._database.write() as connection:
            for metric, outcome in outcomes.items():
                score = _score(run, session_id, metric, outcome, "Session metric")
                self.session_scores.score(connection, run["project_id"], score, now=self._now())
            self._advance(connection, run, outcomes)

    def _signals(self, run: Row, trace: Row, earlier: Sequence[Row], attempt: Attempt) -> dict[str, float]:
        """Return a trace's signals: existing scores with these names, of any source, and new ones."""
        stored = reversed(self.trace_scores.of_target(run["project_id"], trace["trace_id"]))
        latest = {score["name"]: score["value"] for score in stored if score["status"] == "SUCCESS"}
        signals = {name: float(latest[name]) for name in SIGNALS if name in latest}
        outcomes = attempt([name for name in SIGNALS if name not in latest], trace, earlier)
        with self._database.write() as connection:
            for name, outcome in outcomes.items():
                self._store(connection, run, trace, name, outcome, "Signal computation")
        return signals | {name: one.score for name, one in outcomes.items() if isinstance(one, Result)}

    def _store(
        self, connection: sqlite3.Connection, run: Row, trace: Row, metric: str, outcome: Result | str, what: str
    ) -> None:
        score = _score(run, trace["trace_id"], metric, outcome, what, environment=trace["environment"])
        # If a trace is deleted while it is judged, its scores are deleted too.
        with suppress(sqlite3.IntegrityError):
            self.trace_scores.score(connection, run["project_id"], score, now=self._now())

    def _advance(self, connection: sqlite3.Connection, run: Row, outcomes: Outcomes) -> None:
        failed = sum(isinstance(outcome, str) for outcome in outcomes.values())
        self.runs.advance(connection, run["id"], failed=failed)


def _score(
    run: Row, target: str, metric: str, outcome: Result | str, what: str, *, environment: str | None = None
) -> NewScore:
    result = Result(score=0.0, reason=f"{what} failed: {outcome}") if isinstance(outcome, str) else outcome
    has_failed = result is not outcome
    return NewScore(
        target=target,
        name=metric,
        value=None if has_failed else result.value,
        source="AUTOMATED",
        status="FAILED" if has_failed else "SUCCESS",
        eval_run_id=run["id"],
        reason=result.reason,
        metadata=result.metadata,
        environment=environment,
    )


def check_metrics(names: Sequence[str], *, target_type: str, label: str = "metrics") -> None:
    """Raise the 422 that names unknown metrics."""
    known = TRACE_METRICS if target_type == "TRACE" else SESSION_METRICS
    if unknown := [name for name in names if name not in known]:
        raise refused(f"Unknown {label}: {', '.join(unknown)}")
