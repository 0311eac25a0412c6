"""Asks PandaProbe's judges about many traces or sessions at once, and says honestly what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from pandaprobe_otel.errors import PandaProbeError
from pandaprobe_otel.evals.outcome import Outcome

if TYPE_CHECKING:
    from datetime import datetime

    from pandaprobe_otel.api import Client
    from pandaprobe_otel.api.models import EvalRun, Score
    from pandaprobe_otel.api.runs.result import RunResult
    from pandaprobe_otel.evals.cache import JudgementCache

_PAUSE_S: Final = 0.4
_SPARE_S: Final = 2.0
UNDELIVERED_WITHIN_S: Final = 30.0
"""How long traces that were not all delivered in time are looked for all the same."""
_PER_RUN: Final = 500
"""Targets of one run; the server takes more, but an answer of a run lists all of its scores at once."""


class Finding(Enum):
    """What asking about a target and a metric led to."""

    SCORED = "scored"
    VACUOUS = "vacuous"
    """The best score, for want of anything to judge."""
    ERROR = "error"
    """No score: the metric failed, the trace is not there, the server could not be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is known about one target and one metric; `value` is None without a score."""

    finding: Finding
    value: float | None = None
    reason: str = ""
    cached: bool = False
    unfinished: str | None = None
    """Outcome of a trace that was cancelled, timed out or left early: what was judged is only a part."""

    def outcome(self, threshold: float, *, allow_vacuous: bool = False) -> Outcome:
        """Return the verdict. A yes about nothing, or about a part, is none unless that is allowed; a no is a no."""
        if self.is_no(threshold):
            return Outcome.FAILED
        if self.finding is Finding.ERROR:
            return Outcome.NO_EVIDENCE
        whole = self.finding is Finding.SCORED and self.unfinished is None
        return Outcome.PASSED if whole or allow_vacuous else Outcome.NO_EVIDENCE

    def passes(self, threshold: float, *, allow_vacuous: bool = False) -> bool:
        """Whether this counts as a yes."""
        return self.outcome(threshold, allow_vacuous=allow_vacuous) is Outcome.PASSED

    def is_no(self, threshold: float) -> bool:
        """Whether the judge said so on evidence, which another answer may overrule."""
        return self.finding is Finding.SCORED and not (self.value is not None and self.value >= threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A trace (or session) to be judged by some metrics."""

    target: str
    metrics: tuple[str, ...]
    session: bool = False
    model: str | None = None
    content: str | None = None
    """Hash of the trace's behaviour, for the cache; None: not to be cached."""
    started: datetime | None = None
    unfinished: str | None = None
    """Outcome of the trace, if it was cancelled, timed out or left early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The targets that one run can evaluate together."""

    metrics: tuple[str, ...]
    session: bool
    model: str | None
    questions: tuple[Question, ...]

    @property
    def evaluations(self) -> int:
        """What the run is billed."""
        return len(self.metrics) * len(self.questions)

    def __str__(self) -> str:
        return (
            f"{_counted(len(self.questions), 'session' if self.session else 'trace')}"
            f" × {_counted(len(self.metrics), 'metric')}"
        )


Judgements = dict[tuple[str, str], Judgement]
"""By target and metric."""


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
    """Return what the runs will cost: `42 traces × 2 metrics = 84 evaluations`."""
    total = sum(group.evaluations for group in groups)
    return f"{' + '.join(map(str, groups)) or 'nothing'} = {_counted(total, 'evaluation')}"


class UnknownMetric(ValueError):
    """A name that is no metric of traces, or of sessions."""

    def __init__(self, metric: str, *, of_sessions: bool, known: Iterable[str]) -> None:
        what = "sessions" if of_sessions else "traces"
        super().__init__(f"{metric} is no metric of {what}; there are {', '.join(sorted(known))}")
        self.metric = metric
        self.of_sessions = of_sessions


def check_metrics(client: Client, *, of_traces: Iterable[str] = (), of_sessions: Iterable[str] = ()) -> None:
    """Raise UnknownMetric for a name that is no metric of traces, or of sessions; before a task or test has run.

    A server that cannot be asked is no reason to stop here: it is told when it is asked to judge.
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
    """How many evaluations may be started, in all; shared by whoever draws on it. None: any number."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._left = limit

    def covers(self, evaluations: int) -> bool:
        """Whether so many may still be started."""
        return self._left is None or evaluations <= self._left

    def draw(self, evaluations: int) -> None:
        """Count evaluations that are started."""
        if self._left is not None:
            self._left -= evaluations


class Bench:
    """Judges questions with one client. Never raises for what the server does: it becomes ERROR judgements.

    allowance: runs that would go beyond it are not started; their judgements are errors that say so.
    timeout_s: how long one run may take.
    visible_within_s: how long traces that were sent may take to be readable; default: as long as a run.
    say: gets one line for what is going on, such as the bill.
    progress: is shown each state of a run.
    """

    def __init__(
        self,
        client: Client,
        *,
        allowance: Allowance | None = None,
        timeout_s: float = 600.0,
        visible_within_s: float | None = None,
        cache: JudgementCache | None = None,
        say: Callable[[str], None] = lambda line: None,
        progress: bool | Callable[[EvalRun], None] | None = False,
    ) -> None:
        self._client = client
        self._allowance = allowance or Allowance()
        self._timeout_s = timeout_s
        self._visible_within_s = timeout_s if visible_within_s is None else min(visible_within_s, timeout_s)
        self._cache = cache
        self._say = say
        self._progress = progress

    def judge(self, questions: Sequence[Question]) -> Judgements:
        """Ask about everything: first the cache, then one run for each set of metrics."""
        return _marked(self._judge(questions), questions)

    def _judge(self, questions: Sequence[Question]) -> Judgements:
        known = self._from_cache(questions)
        open_questions = [
            replace(q, metrics=tuple(m for m in q.metrics if (q.target, m) not in known)) for q in questions
        ]
        groups = groups_of(open_questions)
        self._say(bill(groups) + (f", {len(known)} more known from the cache" if known else ""))
        if not self._allowance.covers(sum(group.evaluations for group in groups)):
            reason = f"not judged: {bill(groups)}, and the limit is {self._allowance.limit} in all"
            return {**known, **_all(groups, reason)}
        here, missing = self._stored(groups)
        found: Judgements = {**known, **_all(groups, "", only=missing)}
        for group in here:
            found |= self._judged(group)
        return found

    def again(self, questions: Sequence[Question]) -> Judgements:
        """Ask once more, without cache and bill; nothing beyond the limit."""
        found: Judgements = {}
        for group in groups_of(questions):
            if self._allowance.covers(group.evaluations):
                found |= self._judged(group)
        return _marked(found, questions)

    # -- one group ----------------------------------------------------------------------------------------------------

    def _judged(self, group: Group) -> Judgements:
        found: Judgements = {}
        for start in range(0, len(group.questions), _PER_RUN):
            part = replace(group, questions=group.questions[start : start + _PER_RUN])
            self._allowance.draw(part.evaluations)
            try:
                found |= self._judgements(part, self._run(part))
            except PandaProbeError as error:
                found |= _all([part], f"{type(error).__name__}: {error}")
        return found

    def _run(self, group: Group) -> RunResult:
        targets = [question.target for question in group.questions]
        chosen: dict[str, Any] = {"session": targets} if group.session else {"traces": targets}
        run = self._client.evaluations.run(list(group.metrics), model=group.model, name="test suite", **chosen)
        return run.wait(self._timeout_s, progress=self._progress)

    def _judgements(self, group: Group, result: RunResult) -> Judgements:
        from pandaprobe_otel.api.runs.result import Pair

        given = {(score.target, score.name): score for score in result.scores}
        found: Judgements = {}
        for question in group.questions:
            for metric in group.metrics:
                score = given.get((question.target, metric))
                vacuous = result.vacuous.get(Pair(question.target, metric))
                judgement = found[question.target, metric] = _judgement(score, vacuous)
                if self._cache is not None and question.content is not None:
                    self._cache.put(question.content, metric, group.model, judgement)
        return found

    def _from_cache(self, questions: Sequence[Question]) -> Judgements:
        if self._cache is None:
            return {}
        known: Judgements = {}
        for question in questions:
            for metric in question.metrics if question.content is not None else ():
                if (judgement := self._cache.get(str(question.content), metric, question.model)) is not None:
                    known[question.target, metric] = judgement
        return known

    # -- what is there ------------------------------------------------------------------------------------------------

    def _stored(self, groups: Sequence[Group]) -> tuple[list[Group], Mapping[str, str]]:
        """Wait until the traces can be read. Return the groups without those that cannot, and why they cannot.

        The server counts traces that it does not have as evaluated and gives them no score.
        """
        wanted = {q.target: q for group in groups if not group.session for q in group.questions}
        missing: dict[str, str] = {}
        try:
            left = self._wait_visible(wanted)
            reason = f"the trace is not in PandaProbe {self._visible_within_s:g} s after it was sent"
        except PandaProbeError as error:
            left, reason = set(wanted), f"{type(error).__name__}: {error}"
        missing.update(dict.fromkeys(left, reason))
        here = [replace(g, questions=tuple(q for q in g.questions if q.target not in missing)) for g in groups]
        return [group for group in here if group.questions], missing

    def _wait_visible(self, wanted: Mapping[str, Question]) -> set[str]:
        from datetime import timedelta

        left = set(wanted)
        if not left:
            return left
        starts = [question.started for question in wanted.values() if question.started is not None]
        window: dict[str, Any] = {}
        if len(starts) == len(wanted):
            window["started_after"] = min(starts) - timedelta(seconds=_SPARE_S)
        deadline = time.monotonic() + self._visible_within_s
        while True:
            left -= {str(trace.trace_id) for trace in self._client.traces.iter(**window)}
            if not left or time.monotonic() >= deadline:
                return left
            time.sleep(_PAUSE_S)


def _marked(found: Judgements, questions: Iterable[Question]) -> Judgements:
    """What was found, with a mark where only a part was judged."""
    marks = {question.target: question.unfinished for question in questions if question.unfinished is not None}
    if not marks:
        return found
    return {key: replace(one, unfinished=marks.get(key[0])) for key, one in found.items()}


def _judgement(score: Score | None, vacuous: str | None) -> Judgement:
    if score is None:
        return Judgement(finding=Finding.ERROR, reason="the run gave no score: the target is not in PandaProbe")
    value, reason = score.parsed, score.reason or ""
    if score.status != "SUCCESS" or not isinstance(value, float):
        return Judgement(finding=Finding.ERROR, reason=reason or f"the metric is {score.status}")
    if vacuous is not None:
        return Judgement(finding=Finding.VACUOUS, value=value, reason=vacuous)
    return Judgement(finding=Finding.SCORED, value=value, reason=reason)


def _all(groups: Iterable[Group], reason: str, *, only: Mapping[str, str] | None = None) -> Judgements:
    return {
        (question.target, metric): Judgement(
            finding=Finding.ERROR, reason=reason if only is None else only[question.target]
        )
        for group in groups
        for question in group.questions
        if only is None or question.target in only
        for metric in group.metrics
    }


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
