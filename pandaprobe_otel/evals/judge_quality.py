"""Quality of a judge: its agreement with people and with itself."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final

from pandaprobe_otel.evals.dataset import Dataset
from pandaprobe_otel.evals.judging import Bench, Question, check_names, count_answers, counted
from pandaprobe_otel.evals.kappa import Agreement, agreement
from pandaprobe_otel.evals.labels import Labelled, load_labelled
from pandaprobe_otel.evals.local_judge import LocalJudge, ModelJudge, local_metrics
from pandaprobe_otel.evals.progress import Show, all_at_once, shown
from pandaprobe_otel.evals.statistics import Rate, rate
from pandaprobe_otel.evals.task_runs import Scorer, scored, sorted_metrics
from pandaprobe_otel.evals.verdicts import Finding, Judgement, Outcome, share, whole

_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledAnswers:
    """A labelled case, with the judge's answers that have a score."""

    id: str
    label: bool
    values: tuple[float, ...]
    reason: str
    """Reason of the last answer."""
    threshold: float

    @property
    def share(self) -> float:
        """Share of the answers that are a yes."""
        return sum(value >= self.threshold for value in self.values) / len(self.values)


@dataclass(frozen=True, kw_only=True)
class JudgeQuality:
    """Quality of a judge for one metric."""

    metric: str
    threshold: float
    repeat: int
    answers: tuple[LabelledAnswers, ...]
    unanswered: Mapping[str, str]
    """Cases without any score, with the reason."""
    unanswered_labels: tuple[bool, ...] = ()
    """Labels of the cases without any score."""
    min_kappa: float | None = None
    seed: int = 0

    @cached_property
    def agreement(self) -> Agreement:
        """Agreement of the labels with the answers."""
        return self._agreement()

    def _agreement(self, *missing: tuple[bool, float]) -> Agreement:
        return agreement([*((one.label, one.share) for one in self.answers), *missing], seed=self.seed)

    @property
    def deviation(self) -> float | None:
        """Pooled standard deviation of the scores within a case. None: no case has two answers."""
        variances = [statistics.variance(one.values) for one in self.answers if len(one.values) > 1]
        return math.sqrt(statistics.fmean(variances)) if variances else None

    @property
    def steady(self) -> Rate:
        """Share of the cases with several answers whose verdict was always the same."""
        repeated = [one for one in self.answers if len(one.values) > 1]
        return rate(sum(one.share in (0.0, 1.0) for one in repeated), len(repeated))

    @property
    def outcome(self) -> Outcome:
        """Verdict. No evidence if there are too few cases, or if `min_kappa` is inside the interval.

        If answers are missing, the verdict must hold for any values of the missing answers.
        """
        if self.agreement.kappa is None or (self.agreement.lack is not None and self.min_kappa is None):
            return Outcome.NO_EVIDENCE
        if self.min_kappa is None:
            return Outcome.PASSED
        worst = self._agreement(*((label, float(not label)) for label in self.unanswered_labels))
        best = self._agreement(*((label, float(label)) for label in self.unanswered_labels))
        if worst.low >= self.min_kappa:
            return Outcome.PASSED
        return Outcome.FAILED if best.high < self.min_kappa else Outcome.NO_EVIDENCE

    @property
    def disagreements(self) -> tuple[LabelledAnswers, ...]:
        """Cases whose answer differs from the label, the clearest first."""
        wrong = [one for one in self.answers if one.share != float(one.label)]
        return tuple(sorted(wrong, key=lambda one: -abs(one.share - one.label)))

    def _repr_html_(self) -> str:
        from pandaprobe_otel.evals.notebook import quality_html

        return quality_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        found = self.agreement
        return {
            "metric": self.metric,
            "outcome": self.outcome,
            "threshold": self.threshold,
            "cases": found.cases,
            "unanswered": dict(self.unanswered),
            "kappa": found.kappa,
            "interval": [found.low, found.high],
            "lack": found.lack,
            "agreement": found.share,
            "false_yes": found.false_yes,
            "false_no": found.false_no,
            "repeat": self.repeat,
            "deviation": self.deviation,
            "steady": None if self.deviation is None else self.steady.share,
            "answers": [
                {"id": one.id, "label": one.label, "scores": list(one.values), "reason": one.reason}
                for one in self.answers
            ],
        }


def measure_judge(
    dataset: Dataset,
    metrics: str | Mapping[str, float] | Sequence[str | Scorer],
    *,
    judge: str | LocalJudge | None = None,
    thresholds: Mapping[str, float] | None = None,
    repeat: int = 1,
    min_kappa: float | None = None,
    seed: int = 0,
    max_evaluations: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[JudgeQuality]:
    """Ask a judge about labelled cases, `repeat` times, and return the agreement for each metric.

    dataset: see `load_labelled`.
    metrics: names of metrics of traces, which need a `judge`, and scorers.
    thresholds: by metric (default 0.5): the lowest score that counts as a yes.
    seed: the seed of the draws for the interval.
    min_kappa: the required kappa.
    max_evaluations: ask nothing if the judge would be asked more often.

    Raises ValueError for invalid arguments, and if the limit would be exceeded.
    """
    cases = load_labelled(dataset)
    whole(repeat=repeat)
    names, scorers = sorted_metrics(metrics)
    given = {**(metrics if isinstance(metrics, Mapping) else {}), **(thresholds or {})}
    share(**given)
    limits = {name: given.get(name, 0.5) for name in (*names, *scorers)}
    judge = LocalJudge(judge) if isinstance(judge, str) else judge
    if names and judge is None:
        raise ValueError(f"{names[0]} needs a judge: pass judge=")
    check_names(local_metrics(), of_traces=names)
    if not limits:
        raise ValueError("there is no metric to measure: pass metrics=")
    for case in cases:
        for name, limit in limits.items():
            case.is_good(name, limit)  # Invalid labels are refused before the judge is asked.
    asked = len(cases) * len(names) * repeat
    parts = (counted(len(cases), "case"), counted(len(names), "metric"), counted(repeat, "answer"))
    bill = f"{' × '.join(parts)} = {counted(asked, 'evaluation')}"
    if max_evaluations is not None and asked > max_evaluations:
        raise ValueError(f"{bill}, but max_evaluations is {max_evaluations}")
    if names:
        say(bill)
    with shown(say, live=False) as show:
        found = {name: _by_scorer(name, scorer, cases, repeat, show) for name, scorer in scorers.items()}
        if names and judge is not None:
            found |= _by_judge(judge, names, cases, repeat, show)
    return [_quality(name, cases, found[name], limits[name], repeat, min_kappa, seed) for name in limits]


_Answers = list[list[Judgement]]
"""Answers of each case, in order."""


def _by_judge(
    judge: LocalJudge, names: Sequence[str], cases: Sequence[Labelled], repeat: int, show: Show
) -> dict[str, _Answers]:
    traces = {case.run.case.id: case.run.traces for case in cases}  # The same trace may be labelled twice.
    metrics = dict.fromkeys(names, 0.0)
    questions = [Question(target=target, metrics=metrics, traces=found) for target, found in traces.items()]
    with closing(judge.open()) as opened:
        bench = Bench(ModelJudge(opened), show=show)
        rounds = [bench.judge(questions), *(bench.again(questions) for _ in range(repeat - 1))]
    return {name: [[answers[target, name] for answers in rounds] for target in traces] for name in names}


def _by_scorer(name: str, scorer: Scorer, cases: Sequence[Labelled], repeat: int, show: Show) -> _Answers:
    def answers(case: Labelled) -> list[Judgement]:
        return [scored(scorer, case.run) for _ in range(repeat)]

    jobs = [partial(answers, case) for case in cases]
    return all_at_once(jobs, f"judged ({name})", threads=_AT_ONCE, show=show, count=count_answers)


def _quality(
    metric: str,
    cases: Sequence[Labelled],
    found: _Answers,
    threshold: float,
    repeat: int,
    min_kappa: float | None,
    seed: int,
) -> JudgeQuality:
    answered: list[LabelledAnswers] = []
    unanswered: dict[str, str] = {}
    silent: list[bool] = []
    for case, label, answers in _with_labels(metric, threshold, cases, found):
        values = [one.value for one in answers if one.finding is Finding.SCORED and one.value is not None]
        if not values:
            unanswered[case.run.case.id] = answers[-1].reason
            silent.append(label)
            continue
        reason = next(one.reason for one in reversed(answers) if one.finding is Finding.SCORED)
        answered.append(
            LabelledAnswers(id=case.run.case.id, label=label, values=tuple(values), reason=reason, threshold=threshold)
        )
    return JudgeQuality(
        metric=metric,
        threshold=threshold,
        repeat=repeat,
        answers=tuple(answered),
        unanswered=unanswered,
        unanswered_labels=tuple(silent),
        min_kappa=min_kappa,
        seed=seed,
    )


def _with_labels(
    metric: str, threshold: float, cases: Sequence[Labelled], found: _Answers
) -> Iterator[tuple[Labelled, bool, list[Judgement]]]:
    for case, answers in zip(cases, found, strict=True):
        label = case.is_good(metric, threshold)
        if label is not None:
            yield case, label, answers
