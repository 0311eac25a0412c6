"""Verdict about a finished run with other thresholds: nothing runs, and no judge is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pandaprobe_otel.evals.report import CaseResult, MetricResult, Report
from pandaprobe_otel.evals.suite_runs import REPEAT


def gated(
    report: Report,
    *,
    metrics: Sequence[str] = (),
    thresholds: Mapping[str, float] | None = None,
    pass_rate: float | None = None,
    allow_vacuous: bool = False,
) -> Report:
    """Return the report as the run would have given it with these thresholds; others stay as they were.

    A baseline is not kept: it is given anew.

    metrics: those that count; default: all of the run. thresholds: by metric, "" for all others.
    The repetitions of a test are no metric, and count as they did.

    Raises ValueError for a metric that the run has not, and for a report that holds too little to decide again.
    """
    thresholds = thresholds or {}
    known = [metric for metric in report.metrics if metric != REPEAT]
    unknown = [name for name in (*metrics, *thresholds) if name and name not in known]
    if unknown and known:  # where every task failed, the report names no metric
        raise ValueError(f"{unknown[0]} is no metric of this run; there are {', '.join(known)}")
    chosen = {
        metric: thresholds.get(metric, thresholds.get("")) for metric in known if not metrics or metric in metrics
    }
    return replace(
        report,
        cases=tuple(_case(case, chosen, allow_vacuous=allow_vacuous) for case in report.cases),
        pass_rate=report.pass_rate if pass_rate is None else pass_rate,
        comparison=None,
    )


def _case(case: CaseResult, chosen: Mapping[str, float | None], *, allow_vacuous: bool) -> CaseResult:
    kept = [result for result in case.results if result.metric == REPEAT or result.metric in chosen]
    decided = [_decided(result, chosen.get(result.metric), allow_vacuous=allow_vacuous) for result in kept]
    return replace(case, results=tuple(decided))


def _decided(result: MetricResult, threshold: float | None, *, allow_vacuous: bool) -> MetricResult:
    wanted = result.threshold if threshold is None else threshold
    if result.metric == REPEAT or (wanted == result.threshold and not allow_vacuous):
        return result
    if result.evidence is None:
        raise ValueError(
            f"the report does not say what {result.metric} was decided from: an earlier version wrote it; run it again"
        )
    evidence = replace(result.evidence, allow_vacuous=result.evidence.allow_vacuous or allow_vacuous)
    return MetricResult.of(result.metric, evidence, wanted)
