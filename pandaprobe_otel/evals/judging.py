"""Judging of many traces or sessions at once, with a result for each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from pandaprobe_otel.errors import PandaProbeError
from pandaprobe_otel.evals.outcome import Outcome

if TYPE_CHECKING:
    from datetime import datetime

    from pandaprobe_otel.api import Client
    from pandaprobe_otel.evals.cache import JudgementCache

_PER_RUN: Final = 500
"""Maximum number of targets of one run. The server accepts more, but returns all scores of a run in one answer."""


class Finding(Enum):
    """Kind of answer about a target and a metric."""

    SCORED = "scored"
    VACUOUS = "vacuous"
    """The best score, which the judge gives if there is nothing to judge."""
    ERROR = "error"
    """No score: the metric failed, the trace does not exist, or the server cannot be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Answer about one target and one metric. `value` is None without a score.

    A scorer may return one, made by `scored`, `vacuous` or `error`.
    """

    finding: Finding
    value: float | None = None
    reason: str = ""
    cached: bool = False
    unfinished: str | None = None
    """Outcome of a trace that was cancelled, timed out or abandoned, so that only part of it was judged."""

    @classmethod
    def scored(cls, value: float, reason: str = "") -> Judgement:
        """Return a score from 0 to 1, with its reason."""
        return cls(finding=Finding.SCORED, value=float(value), reason=reason)

    @classmethod
    def vacuous(cls, reason: str) -> Judgement:
        """Return the judgement that there was nothing to judge. It gives no evidence unless `allow_vacuous` is set."""
        return cls(finding=Finding.VACUOUS, value=1.0, reason=reason)

    @classmethod
    def error(cls, reason: str) -> Judgement:
        """Return the judgement that no score could be given. It gives no evidence."""
        return cls(finding=Finding.ERROR, reason=reason)

    def outcome(self, threshold: float, *, allow_vacuous: bool = False) -> Outcome:
        """Return the verdict. A yes about nothing, or about part of a trace, gives no evidence unless `allow_vacuous`
        is set.
        """
        if self.is_no(threshold):
            return Outcome.FAILED
        if self.finding is Finding.ERROR:
            return Outcome.NO_EVIDENCE
        whole = self.finding is Finding.SCORED and self.unfinished is None
        return Outcome.PASSED if whole or allow_vacuous else Outcome.NO_EVIDENCE

    def passes(self, threshold: float, *, allow_vacuous: bool = False) -> bool:
        """Return whether the verdict is a yes."""
        return self.outcome(threshold, allow_vacuous=allow_vacuous) is Outcome.PASSED

    def is_no(self, threshold: float) -> bool:
        """Return whether the judge gave a "no" with evidence, which another answer may overrule."""
        return self.finding is Finding.SCORED and not (self.value is not None and self.value >= threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A trace or session to be judged by some metrics."""

    target: str
    metrics: tuple[str, ...]
    session: bool = False
    model: str | None = None
    content: str | None = None
    """Hash of the trace's behaviour, as the key of the cache. None: do not cache."""
    started: datetime | None = None
    unfinished: str | None = None
    """Outcome of the trace, if it was cancelled, timed out or abandoned."""
    traces: tuple[str, ...] = ()
    """Ids of a session's traces, if known. The session is judged once all are readable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Targets that one run can evaluate together."""

    metrics: tuple[str, ...]
    session: bool
    model: str | None
    questions: tuple[Question, ...]

    @property
    def evaluations(self) -> int:
        """Number of billed evaluations of the run."""
        return len(self.metrics) * len(self.questions)

    def __str__(self) -> str:
        return (
            f"{counted(len(self.questions), 'session' if self.session else 'trace')}"
            f" × {counted(len(self.metrics), 'metric')}"
        )


Judgements = dict[tuple[str, str], Judgement]
"""Judgements by target and metric."""


def groups_of(questions: Iterable[Question]) -> list[Group]:
    """Return one group for each set of metrics and judge."""
    sorted_in: dict[tuple[tuple[str, ...], bool, str | None], dict[str, Question]] = {}
    for question in questions:
        if question.metrics:
            key = (tuple(sorted(question.metrics)), question.session, question.model)
            sorted_in.setdefault(key, {})[question.target] = question
    return [
        Group(metrics=metrics, session=session, model=model, questions=tuple(found.values()))
        for (metrics, session, model), found in sorted_in.items()
    ]


def bill(groups: Sequence[Group]) -> str:
    """Return the cost of the runs: `42 traces × 2 metrics = 84 evaluations`."""
    total = sum(group.evaluations for group in groups)
    return f"{' + '.join(map(str, groups)) or 'nothing'} = {counted(total, 'evaluation')}"


class UnknownMetric(ValueError):
    """Unknown name of a metric of traces or sessions."""

    def __init__(self, metric: str, *, of_sessions: bool, known: Iterable[str]) -> None:
        what = "sessions" if of_sessions else "traces"
        super().__init__(f"{metric} is not a metric of {what}; the metrics are {', '.join(sorted(known))}")
        self.metric = metric
        self.of_sessions = of_sessions


def check_metrics(client: Client, *, of_traces: Iterable[str] = (), of_sessions: Iterable[str] = ()) -> None:
    """Raise UnknownMetric for an unknown metric of traces or sessions, before a task or test has run.

    If the server does not answer, nothing is raised: the judging itself will report it.
    """
    try:
        known = {
            False: {metric.name for metric in client.evaluations.trace_metrics()},
            True: {metric.name for metric in client.evaluations.session_metrics()},
        }
    except PandaProbeError:
        return
    for whole, names in ((False, of_traces), (True, of_sessions)):
        if unknown := sorted(set(names) - known[whole]):
            raise UnknownMetric(unknown[0], of_sessions=whole, known=known[whole])


class Allowance:
    """Number of evaluations that may still be started, shared by several judges. None: no limit."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._left = limit

    def covers(self, evaluations: int) -> bool:
        """Return whether this many evaluations may still be started."""
        return self._left is None or evaluations <= self._left

    def draw(self, evaluations: int) -> None:
        """Subtract evaluations that are started."""
        if self._left is not None:
            self._left -= evaluations


class Bench(ABC):
    """A judge of questions. It never raises for failures of the judge; these become ERROR judgements.

    allowance: runs that would exceed it are not started, and their judgements are errors.
    say: called with a line of text for each event, such as the bill.
    """

    def __init__(
        self,
        *,
        allowance: Allowance | None = None,
        cache: JudgementCache | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._allowance = allowance or Allowance()
        self._cache = cache
        self._say = say

    @abstractmethod
    def _readable(self, groups: Sequence[Group]) -> tuple[list[Group], Mapping[str, str]]:
        """Remove targets that cannot be judged. Return the remaining groups, and the reasons by removed target."""

    @abstractmethod
    def _answers(self, group: Group) -> Judgements:
        """Have a group judged. Raises PandaProbeError."""

    def judge(self, questions: Sequence[Question]) -> Judgements:
        """Judge all questions: from the cache if possible, otherwise by one run for each set of metrics."""
        return _marked(self._judge(questions), questions)

    def again(self, questions: Sequence[Question]) -> Judgements:
        """Ask once more, without cache and bill, but within the limit."""
        found: Judgements = {}
        for group in groups_of(questions):
            if self._allowance.covers(group.evaluations):
                found |= self._judged(group)
        return _marked(found, questions)

    def _judge(self, questions: Sequence[Question]) -> Judgements:
        known = self._from_cache(questions)
        open_questions = [
            replace(q, metrics=tuple(m for m in q.metrics if (q.target, m) not in known)) for q in questions
        ]
        groups = groups_of(open_questions)
        self._say(bill(groups) + (f", {len(known)} more from the cache" if known else ""))
        if not self._allowance.covers(sum(group.evaluations for group in groups)):
            reason = f"not judged: {bill(groups)}, but the limit is {self._allowance.limit} in total"
            return {**known, **all_errors(groups, reason)}
        here, missing = self._readable(groups)
        found: Judgements = {**known, **all_errors(groups, "", only=missing)}
        for group in here:
            found |= self._judged(group)
        return found

    def _judged(self, group: Group) -> Judgements:
        found: Judgements = {}
        for start in range(0, len(group.questions), _PER_RUN):
            part = replace(group, questions=group.questions[start : start + _PER_RUN])
            self._allowance.draw(part.evaluations)
            try:
                answers = self._answers(part)
            except PandaProbeError as error:
                answers = all_errors([part], f"{type(error).__name__}: {error}")
            found |= answers
            self._remember(part, answers)
        return found

    def _remember(self, group: Group, answers: Judgements) -> None:
        if self._cache is None:
            return
        for question in group.questions:
            for metric in group.metrics if question.content is not None else ():
                self._cache.put(str(question.content), metric, group.model, answers[question.target, metric])

    def _from_cache(self, questions: Sequence[Question]) -> Judgements:
        if self._cache is None:
            return {}
        known: Judgements = {}
        for question in questions:
            for metric in question.metrics if question.content is not None else ():
                if (judgement := self._cache.get(str(question.content), metric, question.model)) is not None:
                    known[question.target, metric] = judgement
        return known


def _marked(found: Judgements, questions: Iterable[Question]) -> Judgements:
    """Return the judgements, marked if only part of a trace was judged."""
    marks = {question.target: question.unfinished for question in questions if question.unfinished is not None}
    if not marks:
        return found
    return {key: replace(one, unfinished=marks.get(key[0])) for key, one in found.items()}


def all_errors(groups: Iterable[Group], reason: str, *, only: Mapping[str, str] | None = None) -> Judgements:
    """Return an ERROR judgement for each target and metric. With `only`, for these targets, with their reasons."""
    return {
        (question.target, metric): Judgement(
            finding=Finding.ERROR, reason=reason if only is None else only[question.target]
        )
        for group in groups
        for question in group.questions
        if only is None or question.target in only
        for metric in group.metrics
    }


def has_error(found: Iterable[Judgement]) -> bool:
    """Return whether a judgement has no score."""
    return any(judgement.finding is Finding.ERROR for judgement in found)


def counted(count: int, noun: str) -> str:
    """Return `1 trace`, `2 traces`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
