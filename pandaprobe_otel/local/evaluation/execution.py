"""One evaluation run from PENDING to COMPLETED."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeAlias

from pandaprobe_otel.judge.judge import Judge, JudgeError
from pandaprobe_otel.judge.metrics import SIGNALS, Result, evaluate_session, evaluate_trace
from pandaprobe_otel.local.payloads import plain
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.evaluations import NewScore, RunStore, ScoreStore
from pandaprobe_otel.local.store.queries import Queries
from pandaprobe_otel.local.store.records import Slice
from pandaprobe_otel.local.store.traces import TraceStore

_WHOLE_SESSION = Slice(limit=2**31)

Run: TypeAlias = Mapping[str, Any]
Trace: TypeAlias = Mapping[str, Any]
Outcomes: TypeAlias = Mapping[str, Result | str]
"""The result of each metric, or the reason why there is none."""
Attempt: TypeAlias = Callable[..., Outcomes]
"""Evaluation of metrics for a trace, given the earlier ones of its session."""


class Execution:
    """Execution of runs: it evaluates targets with a judge and stores the scores."""

    def __init__(
        self,
        database: Database,
        *,
        runs: RunStore,
        traces: TraceStore,
        queries: Queries,
        trace_scores: ScoreStore,
        session_scores: ScoreStore,
        judge: Callable[[], Judge],
        now: Callable[[], int],
    ) -> None:
        self._database = database
        self._runs = runs
        self._traces = traces
        self._queries = queries
        self._trace_scores = trace_scores
        self._session_scores = session_scores
        self._judge = judge
        self._now = now

    def run(self, run_id: str, stopping: threading.Event) -> None:
        """Evaluate a run from its beginning. If `stopping` is set, return early and leave the run RUNNING."""
        run = self._runs.begin(run_id)
        if run is None:
            return
        with self._database.write() as connection:
            self._trace_scores.delete_of_run(connection, run_id)
            self._session_scores.delete_of_run(connection, run_id)
        evaluate = self._evaluate_session if run["target_type"] == "SESSION" else self._evaluate_trace
        judge = self._judge()
        with ThreadPoolExecutor(judge.parallel, thread_name_prefix="pandaprobe-local-judge") as pool:

            def attempt(metrics: Sequence[str], trace: Trace, earlier: Sequence[Trace] = ()) -> Outcomes:
                def one(metric: str) -> Result | str:
                    try:
                        return evaluate_trace(metric, trace, judge, model=run["model"], earlier=earlier)
                    except JudgeError as error:
                        return str(error)

                return dict(zip(metrics, pool.map(one, metrics), strict=True))

            for target, metrics in run["targets"].items():
                if stopping.is_set():
                    return
                evaluate(run, target, metrics or run["metric_names"], attempt)
        self._runs.finish(run_id, now=self._now())

    def fail(self, run_id: str, error: Exception) -> None:
        """Make a run FAILED."""
        self._runs.finish(run_id, now=self._now(), error=str(error) or type(error).__name__)

    def _evaluate_trace(self, run: Run, trace_id: str, metrics: Sequence[str], attempt: Attempt) -> None:
        found = self._traces.get(run["project_id"], trace_id)
        trace: Trace = {} if found is None else plain(found)
        outcomes: Outcomes = attempt(metrics, trace) if trace else {}
        with self._database.write() as connection:
            for metric, outcome in outcomes.items():
                self._store(connection, run, trace, metric, outcome, "Metric execution")
            self._advance(connection, run, outcomes)

    def _evaluate_session(self, run: Run, session_id: str, metrics: Sequence[str], attempt: Attempt) -> None:
        traces: list[Trace] = plain(self._queries.session_traces(run["project_id"], session_id, _WHOLE_SESSION))
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
                self._session_scores.score(connection, run["project_id"], score, now=self._now())
            self._advance(connection, run, outcomes)

    def _signals(self, run: Run, trace: Trace, earlier: Sequence[Trace], attempt: Attempt) -> dict[str, float]:
        """Return a trace's signals: existing scores with these names, of any source, and new ones."""
        stored = reversed(self._trace_scores.of_target(run["project_id"], trace["trace_id"]))
        latest = {score["name"]: score["value"] for score in stored if score["status"] == "SUCCESS"}
        signals = {name: float(latest[name]) for name in SIGNALS if name in latest}
        outcomes = attempt([name for name in SIGNALS if name not in latest], trace, earlier)
        with self._database.write() as connection:
            for name, outcome in outcomes.items():
                self._store(connection, run, trace, name, outcome, "Signal computation")
        return signals | {name: one.score for name, one in outcomes.items() if isinstance(one, Result)}

    def _store(
        self, connection: sqlite3.Connection, run: Run, trace: Trace, metric: str, outcome: Result | str, what: str
    ) -> None:
        score = _score(run, trace["trace_id"], metric, outcome, what, environment=trace["environment"])
        # If a trace is deleted while it is judged, its scores are deleted too.
        with suppress(sqlite3.IntegrityError):
            self._trace_scores.score(connection, run["project_id"], score, now=self._now())

    def _advance(self, connection: sqlite3.Connection, run: Run, outcomes: Outcomes) -> None:
        failed = sum(isinstance(outcome, str) for outcome in outcomes.values())
        self._runs.advance(connection, run["id"], failed=failed)


def _score(
    run: Run, target: str, metric: str, outcome: Result | str, what: str, *, environment: str | None = None
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
