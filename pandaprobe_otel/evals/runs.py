"""What is known about each run of a test when the suite has ended, and the verdicts that follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from pandaprobe_otel.evals.demand import Demand
from pandaprobe_otel.evals.judging import Finding, Judgement, Judgements
from pandaprobe_otel.evals.outcome import Outcome, enough_of

Location = tuple[str, int | None, str]
REPEAT: Final = "repeat"
"""The label of the verdict about repetitions, which the test itself reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceNote:
    """A trace of a run: how to find it, and the hash of its content for the cache."""

    trace_id: str
    started_at: str
    content: str
    unfinished: str | None = None
    """Its outcome, if it was cancelled, timed out or left early."""
    session_id: str | None = None
    body: Mapping[str, Any] | None = None
    """The whole trace, where a report is to show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRun:
    """One run of a test, in a form that travels from the workers of xdist. Reruns replace what they rerun."""

    __test__ = False

    nodeid: str
    number: int
    passed: bool
    ran: bool
    """False when it was skipped."""
    demand: Demand
    traces: tuple[TraceNote, ...] = ()
    tree: str = ""
    failure: str = ""
    error: str = ""
    """The failure in short."""
    order: int = 0
    """The place of its test in the collection."""
    location: Location = ("", None, "")
    scores: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        plain = asdict(self)
        plain["traces"], plain["location"] = list(plain["traces"]), list(self.location)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `to_dict` made."""
        fields: dict[str, Any] = dict(plain)
        fields["traces"] = tuple(TraceNote(**note) for note in plain["traces"])
        fields["demand"], fields["location"] = Demand.from_dict(plain["demand"]), tuple(plain["location"])
        return cls(**fields)

    @property
    def targets(self) -> tuple[str, ...]:
        """What is judged: the ids of the traces, or of their sessions."""
        if not self.demand.session:
            return tuple(trace.trace_id for trace in self.traces)
        return tuple(dict.fromkeys(trace.session_id for trace in self.traces if trace.session_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Verdict of a metric on a test, over all of its runs, or that of its repetitions together."""

    nodeid: str
    label: str
    """The metric, or `REPEAT`."""
    outcome: Outcome
    finding: Finding = Finding.SCORED
    text: str
    """What happened, for the reader of a failure."""
    summary: str
    """The same in one line."""
    location: Location
    value: float | None = None
    threshold: float | None = None

    @property
    def id(self) -> str:
        """The id under which it is reported."""
        return f"{self.nodeid}::pandaprobe[{self.label}]"


def by_test(runs: Iterable[TestRun]) -> dict[str, list[TestRun]]:
    """Return the runs of each test, in order."""
    groups: dict[str, list[TestRun]] = {}
    for run in runs:
        groups.setdefault(run.nodeid, []).append(run)
    return {nodeid: sorted(group, key=lambda run: run.number) for nodeid, group in groups.items()}


def repeat_verdicts(runs: Iterable[TestRun]) -> list[Verdict]:
    """Return the verdict about the repetitions of each test that has some."""
    verdicts: list[Verdict] = []
    for nodeid, group in by_test(runs).items():
        repetition, ran = group[0].demand.repetition, [run for run in group if run.ran]
        if repetition.repeat == 1 or not ran:
            continue
        passed = sum(run.passed for run in ran)
        summary = repetition.text(passed, len(ran))
        failures = [f"run {run.number}: {run.failure}" for run in ran if not run.passed]
        outcome = enough_of(map(_own_outcome, ran), repetition.needed)
        ok = outcome is Outcome.PASSED
        verdicts.append(
            Verdict(
                nodeid=nodeid,
                label=REPEAT,
                outcome=outcome,
                summary=summary,
                text=summary if ok else "\n\n".join([summary, *failures]),
                location=group[0].location,
                value=passed / len(ran),
                threshold=repetition.min_pass,
            )
        )
    return verdicts


def metric_verdicts(runs: Iterable[TestRun], found: Judgements) -> list[Verdict]:
    """Return the verdict of each metric about each test of which at least one run passed on its own."""
    verdicts: list[Verdict] = []
    for group in by_test(runs).values():
        judged = [run for run in group if run.ran]
        if any(run.passed for run in judged):
            verdicts += [_metric_verdict(judged, metric, found) for metric in group[0].demand.metrics]
    return verdicts


def _metric_verdict(runs: Sequence[TestRun], metric: str, found: Judgements) -> Verdict:
    repetition, threshold = runs[0].demand.repetition, runs[0].demand.metrics[metric]
    opinions = [_opinion(run, metric, threshold, found) for run in runs]
    said = [opinion.outcome for opinion in opinions]
    outcome = enough_of(said, repetition.needed)
    worst = next((o for o in opinions if o.outcome is outcome), opinions[0])
    rate_text = repetition.text(said.count(Outcome.PASSED), len(runs), said.count(Outcome.NO_EVIDENCE))
    rate_text = f"{rate_text}, " if repetition.repeat > 1 else ""
    told = [opinion.text for opinion in opinions if opinion.outcome is not Outcome.PASSED] or [opinions[0].text]
    return Verdict(
        nodeid=runs[0].nodeid,
        label=metric,
        outcome=outcome,
        finding=worst.finding,
        summary=rate_text + worst.summary,
        text="\n\n".join([rate_text.rstrip(", "), *told] if rate_text else told),
        location=runs[0].location,
        value=worst.value,
        threshold=threshold,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opinion:
    outcome: Outcome
    summary: str
    text: str
    finding: Finding = Finding.ERROR
    value: float | None = None


def _own_outcome(run: TestRun) -> Outcome:
    return Outcome.PASSED if run.passed else Outcome.FAILED


def _opinion(run: TestRun, metric: str, threshold: float, found: Judgements) -> _Opinion:
    """What a metric says about one run: the worst about any of its targets."""
    if not run.passed:
        said = f"run {run.number} failed"
        return _Opinion(outcome=Outcome.FAILED, summary=said, text=f"run {run.number}: {run.failure}")
    if not run.targets:
        what = "no trace of the test has a session" if run.traces else "the test made no trace, so nothing was judged"
        return _Opinion(outcome=Outcome.NO_EVIDENCE, summary=what, text=what)
    absent = Judgement(finding=Finding.ERROR, reason="it was not judged")
    judged = [(target, found.get((target, metric), absent)) for target in run.targets]
    vacuous = run.demand.allow_vacuous
    target, worst = min(
        judged,
        key=lambda pair: (pair[1].outcome(threshold, allow_vacuous=vacuous).rank, pair[1].value or 0.0),
    )
    line = describe(metric, worst, threshold)
    session = f"\nsession {target}" if run.demand.session else ""
    text = f"{line}{session}\n\n{run.tree}".rstrip()
    outcome = worst.outcome(threshold, allow_vacuous=vacuous)
    return _Opinion(outcome=outcome, summary=line, text=text, finding=worst.finding, value=worst.value)


def describe(metric: str, judgement: Judgement, threshold: float) -> str:
    """Return a judgement as one line."""
    reason = f": {judgement.reason}" if judgement.reason else ""
    if judgement.finding is Finding.ERROR:
        return f"{metric} could not be judged{reason}"
    if judgement.finding is Finding.VACUOUS:
        return f"{metric} is inconclusive, there was nothing to judge{reason}"
    if judgement.unfinished is not None:
        reason += f"; the trace is {judgement.unfinished.replace('_', ' ')}: only a part was judged"
    sign = ">=" if judgement.value is not None and judgement.value >= threshold else "<"
    cached = " (cached)" if judgement.cached else ""
    return f"{metric} {judgement.value:.2f} {sign} {threshold:.2f}{cached}{reason}"
