"""New verdict about a finished run with other thresholds. Nothing runs, and no judge is called."""

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
    """Return the report with a verdict for these thresholds. Omitted thresholds stay unchanged.

    The result has no baseline; pass it again.

    metrics: the metrics that count. Default: all of the run.
    thresholds: thresholds by metric; "" stands for all others. Repetitions of a test are not a metric and count as
    before.

    Raises ValueError for a metric that the run does not have, and for a report that has only verdicts, no judgements.
    """
    thresholds = thresholds or {}
    known = [metric for metric in report.metrics if metric != REPEAT]
    unknown = [name for name in (*metrics, *thresholds) if name and name not in known]
    if unknown and known:  # If every task failed, the report names no metric.
        raise ValueError(f"{unknown[0]} is not a metric of this run; its metrics are {', '.join(known)}")
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
        raise ValueError(f"the report has no judgements of {result.metric}: run the evaluation again")
    evidence = replace(result.evidence, allow_vacuous=result.evidence.allow_vacuous or allow_vacuous)
    return MetricResult.of(result.metric, evidence, wanted)
