"""Quality of a judge: its agreement with people (Cohen's kappa over labelled cases)."""

from __future__ import annotations

import json
import math
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, Final, cast

from pandaprobe_otel.evals.dataset import Case, Dataset, load_cases, read_items
from pandaprobe_otel.evals.judging import Judging, Question, check_names, count_answers, counted
from pandaprobe_otel.evals.local_judge import LocalJudge, ModelJudge, local_metrics
from pandaprobe_otel.evals.progress import all_at_once, shown
from pandaprobe_otel.evals.task_runs import Scorer, TaskRun, scored, sorted_metrics
from pandaprobe_otel.evals.verdicts import Finding, Judgement, Outcome, limits_of
from pandaprobe_otel.traces.records import TraceRecord

_DRAWS: Final = 10_000
_PRIOR: Final = 0.5
"""Count added to each cell (Jeffreys' prior). It keeps the interval wide for few cases that all agree, where a
bootstrap would give a point.
"""
_WIDE: Final = 0.4
"""Widest useful interval. A wider one cannot distinguish a good judge from a bad one."""
_NARROW: Final = 0.2
"""Width for which the number of cases is estimated: kappa ± 0.1."""
_LEAST: Final = 5
"""Minimum number of cases with each label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Agreement of a person and a judge about the same cases: Cohen's kappa with its 95 % interval."""

    both_yes: int
    false_no: int
    """The person says yes and the judge says no."""
    false_yes: int
    both_no: int
    low: float
    high: float

    @property
    def cases(self) -> int:
        """The number of cases."""
        return sum(self._cells)

    @property
    def yes(self) -> int:
        """The number of cases that the person labelled yes."""
        return self.both_yes + self.false_no

    @property
    def share(self) -> float:
        """Share of the cases on which both agree; 0 without cases."""
        return (self.both_yes + self.both_no) / self.cases if self.cases else 0.0

    @property
    def kappa(self) -> float | None:
        """Kappa: 1 is full agreement, 0 is chance. None: only one label or one verdict occurs."""
        return _kappa(*self._cells)

    @property
    def lack(self) -> str | None:
        """The reason why nothing can be concluded, or why there are too few cases. None: there are enough."""
        for word, count in (("yes", self.yes), ("no", self.cases - self.yes)):
            if count < _LEAST:
                return f"too few cases: {count} with the label {word}; each label needs at least {_LEAST}"
        if self.high - self.low <= _WIDE:
            return None
        enough = math.ceil(self.cases * ((self.high - self.low) / _NARROW) ** 2)
        between = f"kappa is between {self.low:.2f} and {self.high:.2f}"
        return f"too few cases: with {self.cases}, {between}; about {enough} would narrow it to ± {_NARROW / 2:.1f}"

    @property
    def _cells(self) -> tuple[int, int, int, int]:
        return self.both_yes, self.false_no, self.false_yes, self.both_no


def agreement(verdicts: Iterable[tuple[bool, bool]]) -> Agreement:
    """Return the agreement of a person and a judge. A pair is one case: the person's verdict, and the judge's.

    The interval is the middle 95 % of 10,000 kappas, each of four cells drawn from their Dirichlet distribution with
    Jeffreys' prior, always with the same draws.
    """
    counts = Counter(verdicts)
    cells = [counts[pair] for pair in ((True, True), (True, False), (False, True), (False, False))]
    draw = random.Random(0).gammavariate
    drawn = (_kappa(*(draw(cell + _PRIOR, 1.0) for cell in cells)) for _ in range(_DRAWS))
    kappas = sorted(value for value in drawn if value is not None)
    edge = len(kappas) // 40
    low, high = (kappas[edge], kappas[-1 - edge]) if any(cells) else (-1.0, 1.0)
    seen = _kappa(*cells)
    if seen is not None:  # Full agreement is the end of the scale, which no draw reaches.
        low, high = min(low, seen), max(high, seen)
    return Agreement(both_yes=cells[0], false_no=cells[1], false_yes=cells[2], both_no=cells[3], low=low, high=high)


def _kappa(both_yes: float, false_no: float, false_yes: float, both_no: float) -> float | None:
    """Return Cohen's kappa (1960) of two verdicts: (observed - expected) / (1 - expected)."""
    total = both_yes + false_no + false_yes + both_no
    if not total:
        return None
    seen = (both_yes + both_no) / total
    person, judge = (both_yes + false_no) / total, (both_yes + false_yes) / total
    chance = person * judge + (1 - person) * (1 - judge)
    return None if math.isclose(chance, 1.0) else (seen - chance) / (1 - chance)


_WORDS: Final = {
    **dict.fromkeys(("true", "yes", "pass", "passed", "good", "1"), True),
    **dict.fromkeys(("false", "no", "fail", "failed", "bad", "0"), False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A case with its run and a person's label, either for all metrics or by metric."""

    run: TaskRun
    label: Any

    def is_good(self, metric: str, threshold: float) -> bool | None:
        """Return whether the label is a yes; None if there is no label for this metric. A number from the threshold up
        is a yes.

        Raises ValueError for an invalid label.
        """
        label: Any = self.label
        if isinstance(label, Mapping):
            label = cast("Mapping[str, Any]", label).get(metric)
        if label is None or label == "":
            return None
        if isinstance(label, bool):
            return label
        if isinstance(label, str) and label.strip().lower() in _WORDS:
            return _WORDS[label.strip().lower()]
        said = f"the label {label!r} of case {self.run.case.id} is "
        try:
            number = float(label)
        except (TypeError, ValueError):
            raise ValueError(f"{said}neither a number nor one of {', '.join(_WORDS)}") from None
        if not 0.0 <= number <= 1.0:
            raise ValueError(f"{said}not between 0 and 1")
        return number >= threshold


def load_labelled(dataset: Dataset) -> tuple[Labelled, ...]:
    """Return the labelled cases of a dataset; see `load_cases` for its forms.

    Each case has a `label`: true or false, yes or no, pass or fail, a number from 0 to 1, or a mapping of these by
    metric. It also has either `input` and `output`, or `trace`: the body of a trace with its spans. Raises ValueError
    for other cases.
    """
    items = read_items(dataset)
    for number, item in enumerate(items, 1):
        if not isinstance(item, Mapping) or "label" not in item or not ("trace" in item or "output" in item):
            raise ValueError(f"case {number} needs 'label' and either 'input' with 'output', or 'trace'")
    found: list[Labelled] = []
    for number, case in enumerate(load_cases([{"input": None, **item} for item in items]), 1):
        try:
            found.append(_labelled(case))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"case {number} cannot be read: {type(error).__name__}: {error}") from None
    return tuple(found)


def _labelled(case: Case) -> Labelled:
    fields = dict(case.metadata)
    label, output, trace = fields.pop("label"), fields.pop("output", None), fields.pop("trace", None)
    body: Any = json.loads(trace) if isinstance(trace, str) else trace
    now = datetime.now(UTC).isoformat()
    if body is None:
        answer = {"name": "labelled", "input": case.input, "output": output, "started_at": now, "ended_at": now}
        span = {"span_id": "0" * 15 + "1", "parent_span_id": None, "kind": "AGENT", "status": "OK", **answer}
        body = {**answer, "spans": [span]}
    spans = list(body.get("spans") or ())
    started = min((str(span["started_at"]) for span in spans), default=now)
    whole = {"trace_id": str(uuid.uuid4()), "name": "labelled", "started_at": started, **body, "spans": spans}
    run = TaskRun.of_traces(case.id, [record := TraceRecord(whole)])
    shown = replace(case, input=record.input if case.input is None else case.input, metadata=fields)
    return Labelled(
        run=replace(run, case=shown, output=record.output if output is None else output),
        label=json.loads(label) if isinstance(label, str) and label.startswith("{") else label,
    )


_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledAnswer:
    """A labelled case, with the score that the judge gave; None without one."""

    id: str
    label: bool
    value: float | None
    reason: str
    """Reason of the score, or else why there is none."""


@dataclass(frozen=True, kw_only=True)
class JudgeQuality:
    """Quality of a judge for one metric."""

    metric: str
    threshold: float
    answers: tuple[LabelledAnswer, ...]
    min_kappa: float | None = None

    @property
    def unanswered(self) -> Mapping[str, str]:
        """Cases without a score, with the reason."""
        return {one.id: one.reason for one in self.answers if one.value is None}

    @cached_property
    def agreement(self) -> Agreement:
        """Agreement of the labels with the answers."""
        return agreement((one.label, one.value >= self.threshold) for one in self.answers if one.value is not None)

    @property
    def outcome(self) -> Outcome:
        """Verdict. No evidence if there are too few cases or, with `min_kappa`, if it is inside the interval or an
        answer is missing.
        """
        found, wanted = self.agreement, self.min_kappa
        if found.kappa is None or (found.lack if wanted is None else self.unanswered):
            return Outcome.NO_EVIDENCE
        if wanted is None or found.low >= wanted:
            return Outcome.PASSED
        return Outcome.FAILED if found.high < wanted else Outcome.NO_EVIDENCE

    @property
    def disagreements(self) -> tuple[LabelledAnswer, ...]:
        """Cases whose answer differs from the label, the clearest first."""
        wrong = [one for one in self.answers if one.value is not None and one.label != (one.value >= self.threshold)]
        return tuple(sorted(wrong, key=lambda one: -abs((one.value or 0.0) - self.threshold)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        found = self.agreement
        values = {name: getattr(found, name) for name in ("cases", "kappa", "lack", "share", "false_yes", "false_no")}
        return {**asdict(self), **values, "outcome": self.outcome, "interval": [found.low, found.high]}


def measure_judge(
    dataset: Dataset,
    metrics: str | Mapping[str, float] | Sequence[str | Scorer],
    *,
    judge: str | LocalJudge | None = None,
    thresholds: Mapping[str, float] | None = None,
    min_kappa: float | None = None,
    max_evaluations: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[JudgeQuality]:
    """Ask a judge about labelled cases, and return the agreement for each metric.

    dataset: see `load_labelled`.
    metrics: names of metrics of traces, which need a `judge`, and scorers.
    thresholds: by metric (default 0.5): the lowest score that counts as a yes.
    min_kappa: the required kappa.
    max_evaluations: ask nothing if the judge would be asked more often.

    Raises ValueError for invalid arguments, and if the limit would be exceeded.
    """
    cases = load_labelled(dataset)
    names, scorers = sorted_metrics(metrics)
    limits = limits_of([*names, *scorers], metrics, thresholds)
    judge = LocalJudge(judge) if isinstance(judge, str) else judge
    if names and judge is None:
        raise ValueError(f"{names[0]} needs a judge: pass judge=")
    check_names(local_metrics(), of_traces=names)
    if not limits:
        raise ValueError("there is no metric to measure: pass metrics=")
    labels = {name: [case.is_good(name, limit) for case in cases] for name, limit in limits.items()}
    asked = len(cases) * len(names)
    bill = f"{counted(len(cases), 'case')} × {counted(len(names), 'metric')} = {counted(asked, 'evaluation')}"
    if max_evaluations is not None and asked > max_evaluations:
        raise ValueError(f"{bill}, but max_evaluations is {max_evaluations}")
    if names:
        say(bill)
    show, runs = shown(say), [case.run for case in cases]
    found: dict[str, list[Judgement]] = {}
    for name, scorer in scorers.items():
        jobs = [partial(scored, scorer, run) for run in runs]
        found[name] = all_at_once(
            jobs,
            f"judged ({name})",
            threads=_AT_ONCE,
            show=show,
            count=lambda tally, one: count_answers(tally, [one]),
        )
    if names and judge is not None:
        metric_limits = dict.fromkeys(names, 0.0)
        # By the id of the case: the same trace may be labelled twice.
        questions = [Question(target=run.case.id, metrics=metric_limits, traces=run.traces) for run in runs]
        with closing(judge.open()) as opened:
            answers = Judging().answered(questions, ModelJudge(opened), show=show)
        found |= {name: [answers[run.case.id, name] for run in runs] for name in names}
    return [
        JudgeQuality(
            metric=name,
            threshold=limit,
            min_kappa=min_kappa,
            answers=tuple(
                LabelledAnswer(id=run.case.id, label=label, value=_value(one), reason=one.reason)
                for run, label, one in zip(runs, labels[name], found[name], strict=True)
                if label is not None
            ),
        )
        for name, limit in limits.items()
    ]


def _value(found: Judgement) -> float | None:
    return found.value if found.finding is Finding.SCORED else None
