"""Judging of many traces or sessions at once: bill, limit, cache, and a result for each."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from pandaprobe_otel.errors import PandaProbeError
from pandaprobe_otel.evals.progress import Show, Tally
from pandaprobe_otel.evals.verdicts import Finding, Judgement
from pandaprobe_otel.traces.json_shapes import members
from pandaprobe_otel.traces.records import TraceRecord

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client
    from pandaprobe_otel.api.models import EvalRun, Score
    from pandaprobe_otel.evals.local_judge import LocalJudge


class JudgementCache:
    """A file with one JSON object per line. Later lines override earlier ones. Only scores with evidence are stored.

    The key is the judge (a server's address, or a model), the trace's content (`behaviour_text`) and the metric. An
    unreadable file counts as empty, so the judge is asked again. Without a file, nothing is known and stored.
    """

    def __init__(self, path: str | PathLike[str] | None = None, *, refresh: bool = False) -> None:
        """Open the file. refresh: ignore the existing entries and replace them."""
        self.path = None if path is None else Path(path).expanduser()
        self._refresh = refresh
        self._known: dict[str, Judgement] | None = None
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}

    @property
    def uses(self) -> tuple[str, ...]:
        """One line for each judge and model, with the number of cached judgements among the requested ones."""
        return tuple(
            f"cache of judgements: {known:,} of {wanted:,} ({known / wanted:.0%}) known, of {judge}"
            for judge, (known, wanted) in self._counts.items()
        )

    def get(self, judge: str, content: str | None, metric: str) -> Judgement | None:
        """Return a judgement of an earlier run, or None. Without content, nothing is known."""
        if self.path is None or content is None:
            return None
        with self._lock:
            if self._known is None:
                self._known = {} if self._refresh else _read(self.path)
            found = self._known.get(_key(judge, content, metric))
            counts = self._counts.setdefault(judge, [0, 0])
            counts[0] += found is not None
            counts[1] += 1
        return found

    def put(self, judge: str, content: str | None, metric: str, judgement: Judgement) -> None:
        """Store a score for later runs. This run does not read it, so that repetitions are judged separately."""
        if self.path is None or content is None or judgement.finding is not Finding.SCORED:
            return
        kept = {"metric": metric, "value": judgement.value, "reason": judgement.reason}
        line = {"key": _key(judge, content, metric), **kept}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A single write in append mode: processes that share the file cannot mix up each other's lines.
        with open(self.path, "ab") as file:
            file.write(b"\n" + json.dumps(line).encode())  # the previous line may be incomplete


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _read(path: Path) -> dict[str, Judgement]:
    known: dict[str, Judgement] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return known
    for line in lines:
        try:
            entry: Any = json.loads(line)
        except ValueError:
            continue  # cut off when a process was killed
        fields = members(entry)
        if {"key", "value", "reason"} <= fields.keys():
            found = Judgement.scored(fields["value"], str(fields["reason"]))
            known[str(fields["key"])] = replace(found, cached=True)
    return known


_PER_RUN: Final = 500
"""Maximum number of targets of one run. The server accepts more, but returns all scores of a run in one answer."""
_PAUSE_S: Final = 0.4
_SPARE: Final = timedelta(seconds=2)
_UNDELIVERED_WITHIN_S: Final = 30.0
"""Seconds to look for traces even if not all of them were delivered in time."""

Judgements = dict[tuple[str, str], Judgement]
"""Judgements by target and metric."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A trace or session to be judged by some metrics."""

    target: str
    metrics: Mapping[str, float]
    """Metrics with their thresholds."""
    traces: tuple[TraceRecord, ...] = ()
    """The trace, or those of the session, as far as they are known. A session is judged once all are readable."""
    session: bool = False
    model: str | None = None
    cut: str | None = None
    """Cause that ended the run early."""

    @cached_property
    def content(self) -> str | None:
        """Hash of the behaviour, as the key of the cache. None: do not cache."""
        return " ".join(trace.content_hash for trace in self.traces) or None

    def judge(self, name: str) -> str:
        """Return the name of the judge in the cache, with the model that is asked for."""
        return f"{name} {self.model or ''}".strip()

    @property
    def unfinished(self) -> str | None:
        """Outcome of the traces, if one was cancelled, timed out or abandoned."""
        return self.cut or next((outcome for trace in self.traces if (outcome := trace.unfinished)), None)


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


class UnknownMetric(ValueError):
    """Unknown name of a metric of traces or sessions."""

    def __init__(self, metric: str, *, of_sessions: bool, known: Iterable[str]) -> None:
        what = "sessions" if of_sessions else "traces"
        super().__init__(f"{metric} is not a metric of {what}; the metrics are {', '.join(sorted(known))}")
        self.metric = metric
        self.of_sessions = of_sessions


def check_names(
    known: Mapping[bool, Collection[str]], *, of_traces: Iterable[str] = (), of_sessions: Iterable[str] = ()
) -> None:
    """Raise UnknownMetric for a name that is not among the metrics of traces or (under True) of sessions."""
    for whole, names in ((False, of_traces), (True, of_sessions)):
        if unknown := sorted(set(names) - set(known[whole])):
            raise UnknownMetric(unknown[0], of_sessions=whole, known=known[whole])


Connect = Callable[[], "AbstractContextManager[Client]"]


@dataclass(slots=True, kw_only=True)
class Judging:
    """The judge of an evaluation: a model that is called from here, or else the server; with its limit and cache."""

    judge: LocalJudge | None = None
    max_evaluations: int | None = None
    """Number of evaluations that may be started. None: no limit."""
    cache: JudgementCache = field(default_factory=JudgementCache)
    timeout_s: float = 600.0
    """Longest wait for traces to become readable, and for a run of evaluations."""
    started: int = 0
    """Number of evaluations that were started."""

    def check(self, connect: Connect, *, of_traces: Iterable[str] = (), of_sessions: Iterable[str] = ()) -> None:
        """Raise UnknownMetric for an unknown metric of traces or sessions, before a task or test has run.

        If the server does not answer, nothing is raised: the judging itself will report it.
        """
        try:
            known = self._metrics(connect)
        except PandaProbeError:
            return
        check_names(known, of_traces=of_traces, of_sessions=of_sessions)

    def _metrics(self, connect: Connect) -> dict[bool, set[str]]:
        if self.judge is not None:
            from pandaprobe_otel.evals.local_judge import local_metrics

            return local_metrics()
        with connect() as client:
            return {
                False: {metric.name for metric in client.evaluations.trace_metrics()},
                True: {metric.name for metric in client.evaluations.session_metrics()},
            }

    def judged(
        self,
        questions: Sequence[Question],
        connect: Connect,
        *,
        say: Callable[[str], None] = lambda line: None,
        show: Show = lambda tally: None,
        delivered: bool = True,
    ) -> Judgements:
        """Return the judgements of all questions.

        connect: opens a client of the server that has the traces.
        say: called with a line of text for each event, such as the bill. show: called with the progress.
        delivered: False if traces are missing on the server, so that waiting for them is in vain.
        """
        if self.judge is None:
            with connect() as client:
                within_s = self.timeout_s if delivered else min(self.timeout_s, _UNDELIVERED_WITHIN_S)
                source = ServerJudge(client=client, timeout_s=self.timeout_s, visible_within_s=within_s)
                return self.answered(questions, source, client.credentials.endpoint, say=say, show=show)
        from pandaprobe_otel.evals.local_judge import ModelJudge, send_scores

        with closing(self.judge.open()) as opened:
            found = self.answered(questions, ModelJudge(opened), self.judge.name, say=say, show=show)
        of_sessions = {question.target for question in questions if question.session}
        send_scores({key: one for key, one in found.items() if key[0] not in of_sessions})
        return found

    def answered(
        self,
        questions: Sequence[Question],
        source: Source,
        name: str = "",
        *,
        say: Callable[[str], None] = lambda line: None,
        show: Show = lambda tally: None,
    ) -> Judgements:
        """Return the answers of a source: from the cache if possible, otherwise by one run for each set of metrics.

        Failures of the source become ERROR judgements. Runs that would exceed the limit are not started, and their
        judgements are errors. name: the source, as the cache knows it.
        """
        found: Judgements = {}
        wanted: list[Question] = []
        for question in questions:
            judge = question.judge(name)
            for metric in question.metrics:
                if (known := self.cache.get(judge, question.content, metric)) is not None:
                    found[question.target, metric] = known
            left = {m: limit for m, limit in question.metrics.items() if (question.target, m) not in found}
            wanted.append(replace(question, metrics=left))
        groups = groups_of(wanted)
        total = sum(group.evaluations for group in groups)
        bill = f"{' + '.join(map(str, groups)) or 'nothing'} = {counted(total, 'evaluation')}"
        say(bill + (f", {len(found)} more from the cache" if found else ""))
        if self.max_evaluations is not None and self.started + total > self.max_evaluations:
            found |= errors(wanted, f"not judged: {bill}, but the limit is {self.max_evaluations} in total")
            groups = []
        missing = _missing(source, [question for group in groups for question in group.questions])
        for question in wanted:
            if question.target in missing:
                found |= errors([question], missing[question.target])
        for group in groups:
            there = [question for question in group.questions if question.target not in missing]
            for start in range(0, len(there), _PER_RUN):
                found |= self._run(replace(group, questions=tuple(there[start : start + _PER_RUN])), source, name, show)
        marks = {question.target: question.unfinished for question in questions if question.unfinished is not None}
        return {key: replace(one, unfinished=marks.get(key[0])) for key, one in found.items()} if marks else found

    def _run(self, group: Group, source: Source, name: str, show: Show) -> Judgements:
        self.started += group.evaluations
        try:
            answers = source.answers(group, show)
        except PandaProbeError as error:
            return errors(group.questions, f"{type(error).__name__}: {error}")
        for question in group.questions:
            for metric in group.metrics:
                self.cache.put(question.judge(name), question.content, metric, answers[question.target, metric])
        return answers


class Source(Protocol):
    """Answers to questions: of the server, or of a model."""

    def missing(self, questions: Sequence[Question]) -> Mapping[str, str]:
        """Return the reasons why targets cannot be judged, by target. Raises PandaProbeError."""
        ...

    def answers(self, group: Group, show: Show) -> Judgements:
        """Have a group judged, and show the progress. Raises PandaProbeError."""
        ...


def _missing(source: Source, questions: Sequence[Question]) -> Mapping[str, str]:
    try:
        return source.missing(questions)
    except PandaProbeError as error:
        return {question.target: f"{type(error).__name__}: {error}" for question in questions}


def errors(questions: Iterable[Question], reason: str) -> Judgements:
    """Return an ERROR judgement for each target and metric."""
    return {(question.target, metric): Judgement.error(reason) for question in questions for metric in question.metrics}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerJudge:
    """PandaProbe's judges, on the server that has the traces.

    timeout_s: the timeout of a run.
    visible_within_s: the seconds until sent traces must be readable.
    """

    client: Client
    timeout_s: float = 600.0
    visible_within_s: float = 600.0

    def answers(self, group: Group, show: Show) -> Judgements:
        """Start a run, and wait for its end."""
        from pandaprobe_otel.api.results import Pair

        targets = [question.target for question in group.questions]
        chosen: dict[str, Any] = {"session" if group.session else "traces": targets}
        run = self.client.evaluations.run(list(group.metrics), model=group.model, name="test suite", **chosen)
        result = run.wait(self.timeout_s, progress=lambda state: show(_tally(state)))
        given = {(score.target, score.name): score for score in result.scores}
        return {
            (target, metric): _judgement(given.get((target, metric)), result.vacuous.get(Pair(target, metric)))
            for target in targets
            for metric in group.metrics
        }

    def missing(self, questions: Sequence[Question]) -> Mapping[str, str]:
        """Wait until the traces are readable.

        The server counts a missing trace as evaluated and gives it no score.
        """
        wanted = {
            trace: question.target
            for question in questions
            for trace in ([each.trace_id for each in question.traces] if question.session else [question.target])
        }
        window: dict[str, Any] = {}
        if wanted and all(question.traces for question in questions):
            starts = (str(trace.body["started_at"]) for question in questions for trace in question.traces)
            window["started_after"] = min(map(datetime.fromisoformat, starts)) - _SPARE
        deadline = time.monotonic() + self.visible_within_s
        while wanted:
            for trace in self.client.traces.iter(**window):
                wanted.pop(str(trace.trace_id), None)
            if not wanted or time.monotonic() >= deadline:
                break
            time.sleep(_PAUSE_S)
        reason = f"PandaProbe does not have the trace {self.visible_within_s:g} s after it was sent"
        return dict.fromkeys(wanted.values(), reason)


def _judgement(score: Score | None, vacuous: str | None) -> Judgement:
    if score is None:
        return Judgement.error("the run gave no score: PandaProbe does not have the target")
    value, reason = score.parsed, score.reason or ""
    if score.status != "SUCCESS" or not isinstance(value, float):
        return Judgement.error(reason or f"the metric is {score.status}")
    if vacuous is not None:
        return Judgement(finding=Finding.VACUOUS, value=value, reason=vacuous)
    return Judgement.scored(value, reason)


def count_answers(tally: Tally, found: Iterable[Judgement]) -> None:
    """Count answers in the progress. They have failed if one of them has no score."""
    tally.add(failed=any(one.finding is Finding.ERROR for one in found))


def _tally(run: EvalRun) -> Tally:
    return Tally(
        what=f"judged ({', '.join(run.metric_names)})",
        total=run.total_targets,
        done=run.evaluated_count,
        failed=run.failed_count,
    )


def counted(count: int, noun: str) -> str:
    """Return `1 trace`, `2 traces`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
