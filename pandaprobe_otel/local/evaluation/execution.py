"""One evaluation run from PENDING to COMPLETED."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pandaprobe_otel.judge.judge import Judge, JudgeError
from pandaprobe_otel.judge.metrics import SIGNALS, Result, Signals, evaluate_session, evaluate_trace
from pandaprobe_otel.local.payloads import plain
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.queries import Queries, Slice
from pandaprobe_otel.local.store.runs import RunPlan, RunStore
from pandaprobe_otel.local.store.scores import NewScore, ScoreStore
from pandaprobe_otel.local.store.traces import TraceStore

_SESSION_PAGE = Slice(limit=2**31, offset=0)

Trace = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """A metric's result, or the reason why there is none."""

    metric: str
    result: Result | None
    problem: str = ""


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
        plan = self._runs.begin(run_id)
        if plan is None:
            return
        with self._database.write() as connection:
            self._trace_scores.delete_of_run(connection, run_id)
            self._session_scores.delete_of_run(connection, run_id)
        one = self._evaluate_session if plan.target_type == "SESSION" else self._evaluate_trace
        judge = self._judge()
        with ThreadPoolExecutor(judge.parallel, thread_name_prefix="pandaprobe-local-judge") as pool:
            for target, metrics in plan.targets.items():
                if stopping.is_set():
                    return
                one(plan, target, metrics or plan.metric_names, judge, pool)
        self._runs.finish(run_id, now=self._now())

    def fail(self, run_id: str, error: Exception) -> None:
        """Make a run FAILED."""
        self._runs.finish(run_id, now=self._now(), error=str(error) or type(error).__name__)

    def _evaluate_trace(
        self, plan: RunPlan, trace_id: str, metrics: Sequence[str], judge: Judge, pool: ThreadPoolExecutor
    ) -> None:
        trace = self._trace(plan.project_id, trace_id)
        outcomes: list[_Outcome] = []
        if trace is not None:
            outcomes = _attempt_all(pool, metrics, trace, judge, plan.model, ())
        with self._database.write() as connection:
            for outcome in outcomes:
                assert trace is not None
                self._store_trace_score(connection, plan, trace, outcome, "Metric execution failed")
            failed = sum(outcome.result is None for outcome in outcomes)
            self._runs.advance(connection, plan.id, failed=failed)

    def _evaluate_session(
        self, plan: RunPlan, session_id: str, metrics: Sequence[str], judge: Judge, pool: ThreadPoolExecutor
    ) -> None:
        traces: list[Trace] = plain(self._queries.session_traces(plan.project_id, session_id, _SESSION_PAGE))
        signals = {
            trace["trace_id"]: self._signals(plan, trace, traces[:position], judge, pool)
            for position, trace in enumerate(traces)
        }
        weights: Mapping[str, float] | None = plan.filters.get("signal_weights")
        outcomes = [_aggregate(metric, signals, weights) for metric in metrics if traces]
        with self._database.write() as connection:
            for outcome in outcomes:
                result = outcome.result
                score = NewScore(
                    target=session_id,
                    name=outcome.metric,
                    value=None if result is None else result.value,
                    source="AUTOMATED",
                    status="FAILED" if result is None else "SUCCESS",
                    eval_run_id=plan.id,
                    reason=f"Session metric failed: {outcome.problem}" if result is None else result.reason,
                    metadata={} if result is None else result.metadata,
                )
                self._session_scores.add(connection, plan.project_id, score, now=self._now())
            failed = sum(outcome.result is None for outcome in outcomes)
            self._runs.advance(connection, plan.id, failed=failed)

    def _signals(
        self, plan: RunPlan, trace: Trace, earlier: Sequence[Trace], judge: Judge, pool: ThreadPoolExecutor
    ) -> dict[str, float]:
        """Return a trace's signals: existing scores with these names, of any source, and new ones."""
        signals: dict[str, float] = {}
        missing: list[str] = []
        for name in SIGNALS:
            known = self._trace_scores.latest_value(trace["trace_id"], name)
            if known is None:
                missing.append(name)
            else:
                signals[name] = float(known)
        outcomes = _attempt_all(pool, missing, trace, judge, plan.model, earlier)
        with self._database.write() as connection:
            for outcome in outcomes:
                self._store_trace_score(connection, plan, trace, outcome, "Signal computation failed")
                if outcome.result is not None:
                    signals[outcome.metric] = outcome.result.score
        return signals

    def _store_trace_score(
        self, connection: sqlite3.Connection, plan: RunPlan, trace: Trace, outcome: _Outcome, what_failed: str
    ) -> None:
        result = outcome.result
        score = NewScore(
            target=trace["trace_id"],
            name=outcome.metric,
            value=None if result is None else result.value,
            source="AUTOMATED",
            status="FAILED" if result is None else "SUCCESS",
            eval_run_id=plan.id,
            reason=f"{what_failed}: {outcome.problem}" if result is None else result.reason,
            metadata={} if result is None else result.metadata,
            environment=trace["environment"],
        )
        # If a trace is deleted while it is judged, its scores are deleted too.
        with suppress(sqlite3.IntegrityError):
            self._trace_scores.add(connection, plan.project_id, score, now=self._now())

    def _trace(self, project_id: str, trace_id: str) -> Trace | None:
        found = self._traces.get(project_id, trace_id)
        return None if found is None else plain(found)


def _attempt(metric: str, trace: Trace, judge: Judge, model: str | None, earlier: Sequence[Trace]) -> _Outcome:
    try:
        return _Outcome(metric=metric, result=evaluate_trace(metric, trace, judge, model=model, earlier=earlier))
    except JudgeError as error:
        return _Outcome(metric=metric, result=None, problem=str(error))


def _aggregate(metric: str, signals: Signals, weights: Mapping[str, float] | None) -> _Outcome:
    try:
        return _Outcome(metric=metric, result=evaluate_session(metric, signals, weights))
    except (ArithmeticError, ValueError) as error:  # Weights may be as large as floats allow.
        return _Outcome(metric=metric, result=None, problem=str(error))


def _attempt_all(
    pool: ThreadPoolExecutor,
    metrics: Sequence[str],
    trace: Trace,
    judge: Judge,
    model: str | None,
    earlier: Sequence[Trace],
) -> list[_Outcome]:
    def attempt(metric: str) -> _Outcome:
        return _attempt(metric, trace, judge, model, earlier)

    return list(pool.map(attempt, metrics))
