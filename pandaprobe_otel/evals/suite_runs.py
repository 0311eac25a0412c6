"""Runs of tests at the end of the suite, and the verdicts on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from pandaprobe_otel.evals.evidence import Evidence, describe
from pandaprobe_otel.evals.judging import Finding, Judgement, Judgements
from pandaprobe_otel.evals.marker_options import Demand
from pandaprobe_otel.evals.outcome import Outcome, enough_of
from pandaprobe_otel.evals.report import MetricResult
from pandaprobe_otel.reporting.trace_links import page_of

Location = tuple[str, int | None, str]
REPEAT: Final = "repeat"
"""Label of the verdict on repetitions, which the test itself reports."""
_ABSENT: Final = Judgement(finding=Finding.ERROR, reason="it was not judged")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceNote:
    """A trace of a run: the ids to find it, and the hash of its content for the cache."""

    trace_id: str
    started_at: str
    content: str
    unfinished: str | None = None
    """Outcome of the trace, if it was cancelled, timed out or abandoned."""
    session_id: str | None = None
    cost: float | None = None
    """Cost in US dollars, as far as the spans state it."""
    body: Mapping[str, Any] | None = None
    """The whole trace, if a report shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRun:
    """One run of a test, in a form that xdist workers can send. A rerun replaces the run that it repeats."""

    __test__ = False

    nodeid: str
    number: int
    passed: bool
    ran: bool
    """False if it was skipped."""
    demand: Demand
    traces: tuple[TraceNote, ...] = ()
    tree: str = ""
    failure: str = ""
    error: str = ""
    """Short text of the failure."""
    order: int = 0
    """Index of its test in the collection."""
    recorded: int = 0
    """Number of tests in the collection that have the marker or the fixture `probe`."""
    location: Location = ("", None, "")
    scores: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        plain = asdict(self)
        plain["traces"], plain["location"] = list(plain["traces"]), list(self.location)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read the result of `to_dict`."""
        fields: dict[str, Any] = dict(plain)
        fields["traces"] = tuple(TraceNote(**note) for note in plain["traces"])
        fields["demand"], fields["location"] = Demand.from_dict(plain["demand"]), tuple(plain["location"])
        return cls(**fields)

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets of the judge: the ids of the traces, or of their sessions."""
        if not self.demand.session:
            return tuple(trace.trace_id for trace in self.traces)
        return tuple(dict.fromkeys(trace.session_id for trace in self.traces if trace.session_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Verdict of a metric on all runs of a test, or verdict on its repetitions."""

    nodeid: str
    label: str
    """The metric, or `REPEAT`."""
    outcome: Outcome
    finding: Finding = Finding.SCORED
    text: str
    """Explanation of the verdict, for the reader of a failure."""
    summary: str
    """The verdict and its reason on one line."""
    location: Location
    value: float | None = None
    threshold: float | None = None
    evidence: Evidence | None = None

    @property
    def id(self) -> str:
        """Id of the test report."""
        return f"{self.nodeid}::pandaprobe[{self.label}]"


def by_test(runs: Iterable[TestRun]) -> dict[str, list[TestRun]]:
    """Return the runs of each test, in order."""
    groups: dict[str, list[TestRun]] = {}
    for run in runs:
        groups.setdefault(run.nodeid, []).append(run)
    return {nodeid: sorted(group, key=lambda run: run.number) for nodeid, group in groups.items()}


def repeat_verdicts(runs: Iterable[TestRun]) -> list[Verdict]:
    """Return the verdict on the repetitions, for each repeated test."""
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


def metric_verdicts(runs: Iterable[TestRun], found: Judgements, trace_url: str | None = None) -> list[Verdict]:
    """Return the verdict of each metric on each test that has a passed run.

    trace_url: the address of trace pages; see `Report`.
    """
    verdicts: list[Verdict] = []
    for group in by_test(runs).values():
        judged = [run for run in group if run.ran]
        if any(run.passed for run in judged):
            verdicts += [_metric_verdict(judged, metric, found, trace_url) for metric in group[0].demand.metrics]
    return verdicts


def _metric_verdict(runs: Sequence[TestRun], metric: str, found: Judgements, trace_url: str | None) -> Verdict:
    demand, threshold = runs[0].demand, runs[0].demand.metrics[metric]
    evidence = Evidence(
        runs=tuple(_judgements(run, metric, found) if run.passed else None for run in runs),
        repetition=demand.repetition,
        allow_vacuous=demand.allow_vacuous,
    )
    result = MetricResult.of(metric, evidence, threshold)
    said = evidence.of_runs(threshold)
    shown = [number for number, outcome in enumerate(said) if outcome is not Outcome.PASSED] or [0]
    told: list[str] = []
    for number in shown:
        story = _described(runs[number], metric, evidence.worst(number, threshold), threshold, found)
        pages = filter(None, (page_of(trace.trace_id, trace_url) for trace in runs[number].traces))
        told.append("\n".join([story, *pages]))
    rate = demand.repetition.text(said.count(Outcome.PASSED), len(runs), said.count(Outcome.NO_EVIDENCE))
    return Verdict(
        nodeid=runs[0].nodeid,
        label=metric,
        outcome=result.outcome,
        finding=Finding(result.finding),
        summary=result.text,
        text="\n\n".join([rate, *told] if demand.repetition.repeat > 1 else told),
        location=runs[0].location,
        value=result.value,
        threshold=threshold,
        evidence=evidence,
    )


def _own_outcome(run: TestRun) -> Outcome:
    return Outcome.PASSED if run.passed else Outcome.FAILED


def _judgements(run: TestRun, metric: str, found: Judgements) -> tuple[Judgement, ...]:
    """Return the judgements of a metric about a run, one for each of its traces or sessions."""
    if not run.targets:
        what = "no trace of the test has a session" if run.traces else "the test made no trace, so nothing was judged"
        return (Judgement(finding=Finding.ERROR, reason=what),)
    return tuple(found.get((target, metric), _ABSENT) for target in run.targets)


def _described(run: TestRun, metric: str, worst: Judgement | None, threshold: float, found: Judgements) -> str:
    """Return the description of one run, for the reader of a failure."""
    if worst is None:
        return f"run {run.number}: {run.failure}"
    line = describe(metric, worst, threshold)
    if not run.targets:
        return line
    target = next(target for target in run.targets if found.get((target, metric), _ABSENT) is worst)
    session = f"\nsession {target}" if run.demand.session else ""
    return f"{line}{session}\n\n{run.tree}".rstrip()
