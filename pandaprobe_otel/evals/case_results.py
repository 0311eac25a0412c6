"""Result of a case, from its runs and their judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pandaprobe_otel.evals.evidence import Evidence
from pandaprobe_otel.evals.judging import Finding, Judgement, Judgements
from pandaprobe_otel.evals.outcome import Outcome
from pandaprobe_otel.evals.repetition import Repetition
from pandaprobe_otel.evals.report import CaseResult, MetricResult
from pandaprobe_otel.evals.task_runs import TaskRun

_ABSENT = Judgement(finding=Finding.ERROR, reason="there is nothing to judge: no trace was made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Rules that decide about a case."""

    judged: Sequence[str]
    """Metrics of PandaProbe."""
    thresholds: Mapping[str, float]
    """Thresholds of all metrics, including the caller's scorers."""
    allow_vacuous: bool
    repetition: Repetition

    def settled(self, runs: Sequence[TaskRun]) -> bool:
        """Return whether further runs cannot change the result: a metric cannot pass any more, or all have passed.

        A run that PandaProbe has not judged yet may still fail, so it never counts as passed.
        """
        errors = sum(run.error is not None for run in runs)
        states = [self.repetition.settled(passed=0 if self.judged else len(runs) - errors, failed=errors)]
        for metric in self.thresholds.keys() - set(self.judged):
            passed = sum(self._passes(metric, run) for run in runs)
            states.append(self.repetition.settled(passed=passed, failed=len(runs) - passed))
        return "out of reach" in states or all(state == "reached" for state in states)

    def is_lost(self, runs: Sequence[TaskRun]) -> bool:
        """Return whether the case has failed, regardless of missing judgements."""
        lost = [run.error is not None for run in runs]
        if self.repetition.settled(passed=0, failed=sum(lost)) == "out of reach":
            return True
        return any(
            _evidence(metric, runs, {}, self).outcome(self.thresholds[metric]) is Outcome.FAILED
            for metric in self.thresholds.keys() - set(self.judged)
        )

    def _passes(self, metric: str, run: TaskRun) -> bool:
        found = run.judgements.get(metric)
        return found is not None and found.passes(self.thresholds[metric])


def case_result(runs: Sequence[TaskRun], found: Judgements, rules: Rules) -> CaseResult:
    """Return the result of a case, with the output of the first failed run, or of the last run if none failed."""
    of_metrics = {metric: _evidence(metric, runs, found, rules) for metric in rules.thresholds}
    said = [evidence.of_runs(rules.thresholds[metric]) for metric, evidence in of_metrics.items()]
    shown = next((run for run, *each in zip(runs, *said, strict=True) if run.error or not _all(each)), runs[-1])
    error = _error(runs, rules.repetition)
    results = [MetricResult.of(metric, known, rules.thresholds[metric]) for metric, known in of_metrics.items()]
    return CaseResult(
        id=shown.case.id,
        input=shown.case.input,
        output=shown.output,
        expected=shown.case.expected,
        error=error,
        seconds=sum(run.seconds for run in runs) / len(runs),
        results=() if error else tuple(results),
        traces=tuple(trace.body for run in runs for trace in run.traces),
    )


def _all(outcomes: Sequence[Outcome]) -> bool:
    return all(outcome is Outcome.PASSED for outcome in outcomes)


def _evidence(metric: str, runs: Sequence[TaskRun], found: Judgements, rules: Rules) -> Evidence:
    """Return the judgement of a metric about each run; None for a run whose task failed."""

    def said(run: TaskRun) -> Judgement:
        if metric in rules.judged and metric not in run.judgements:
            return found.get((run.target, metric), _ABSENT)
        return run.judgements.get(metric, _ABSENT)

    return Evidence(
        runs=tuple(None if run.error is not None else (said(run),) for run in runs),
        repetition=rules.repetition,
        allow_vacuous=rules.allow_vacuous,
    )


def _error(runs: Sequence[TaskRun], repetition: Repetition) -> str | None:
    """Return the task's error if it decides about the case."""
    errors = [run.error for run in runs if run.error is not None]
    if repetition.settled(passed=0, failed=len(errors)) != "out of reach":
        return None
    return errors[0] if repetition.repeat == 1 else f"{len(errors)} of {len(runs)} runs: {errors[0]}"
