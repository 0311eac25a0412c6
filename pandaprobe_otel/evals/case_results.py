"""From the runs of a case and the judgements about them to the result of the case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pandaprobe_otel.evals.judging import Finding, Judgement, Judgements
from pandaprobe_otel.evals.outcome import Outcome, enough
from pandaprobe_otel.evals.repetition import Repetition
from pandaprobe_otel.evals.report import CaseResult, MetricResult
from pandaprobe_otel.evals.task_runs import TaskRun

_ABSENT = Judgement(finding=Finding.ERROR, reason="there is nothing to judge: no trace was made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What decides about a case."""

    judged: Sequence[str]
    """Metrics of PandaProbe."""
    thresholds: Mapping[str, float]
    """Of all metrics, those of the caller's own scorers included."""
    allow_vacuous: bool
    repetition: Repetition

    def settled(self, runs: Sequence[TaskRun]) -> bool:
        """Whether further runs can change nothing: a metric is out of reach, or all are reached and free.

        A run that PandaProbe has yet to judge may still be rejected, so it never counts as reached.
        """
        errors = sum(run.error is not None for run in runs)
        states = [self.repetition.settled(passed=0 if self.judged else len(runs) - errors, failed=errors)]
        for metric in self.thresholds.keys() - set(self.judged):
            passed = sum(self._passes(metric, run) for run in runs)
            states.append(self.repetition.settled(passed=passed, failed=len(runs) - passed))
        return "out of reach" in states or all(state == "reached" for state in states)

    def _passes(self, metric: str, run: TaskRun) -> bool:
        found = run.judgements.get(metric)
        return found is not None and found.passes(self.thresholds[metric])


def case_result(runs: Sequence[TaskRun], found: Judgements, rules: Rules) -> CaseResult:
    """Return the result of a case. What it shows as output is that of the first run that failed, else of the last."""
    results = {run.number: _results(run, found, rules) for run in runs}
    bad = [run for run in runs if run.error or not all(result.passed for result in results[run.number].values())]
    shown = bad[0] if bad else runs[-1]
    error = _error(runs, rules.repetition)
    return CaseResult(
        id=shown.case.id,
        input=shown.case.input,
        output=shown.output,
        expected=shown.case.expected,
        error=error,
        seconds=sum(run.seconds for run in runs) / len(runs),
        results=() if error else tuple(_over_runs(metric, runs, results, rules) for metric in rules.thresholds),
        traces=tuple(trace.body for run in runs for trace in run.traces),
    )


def _results(run: TaskRun, found: Judgements, rules: Rules) -> dict[str, MetricResult]:
    """What each metric says about one run; nothing about one whose task failed."""
    if run.error is not None:
        return {}
    judgements = {metric: found.get((run.target, metric), _ABSENT) for metric in rules.judged} | {**run.judgements}
    return {
        metric: MetricResult.of(metric, judgement, rules.thresholds[metric], allow_vacuous=rules.allow_vacuous)
        for metric, judgement in judgements.items()
    }


def _error(runs: Sequence[TaskRun], repetition: Repetition) -> str | None:
    """The task's failure, if it decides about the case."""
    errors = [run.error for run in runs if run.error is not None]
    if repetition.settled(passed=0, failed=len(errors)) != "out of reach":
        return None
    return errors[0] if repetition.repeat == 1 else f"{len(errors)} of {len(runs)} runs: {errors[0]}"


def _over_runs(
    metric: str, runs: Sequence[TaskRun], results: Mapping[int, Mapping[str, MetricResult]], rules: Rules
) -> MetricResult:
    """One result of all runs: the mean, and whether enough of them passed."""
    of_runs = [of_run[metric] for of_run in results.values() if metric in of_run]
    said = [result.outcome for result in of_runs]
    yes, unknown = said.count(Outcome.PASSED), said.count(Outcome.NO_EVIDENCE)
    outcome = enough(passed=yes, failed=len(runs) - yes - unknown, unknown=unknown, needed=rules.repetition.needed)
    if not of_runs:  # every task failed, and min_pass=0 makes nothing of it
        of_runs = [MetricResult.of(metric, _ABSENT, rules.thresholds[metric])]
    if rules.repetition.repeat == 1:
        return replace(of_runs[0], outcome=outcome)
    example = next((result for result in of_runs if result.outcome is outcome), of_runs[0])
    values = [result.value for result in of_runs if result.finding == "scored" and result.value is not None]
    return replace(
        example,
        value=sum(values) / len(values) if values else None,
        outcome=outcome,
        text=f"{metric}: {rules.repetition.text(yes, len(runs), unknown)}; {example.text}",
    )
