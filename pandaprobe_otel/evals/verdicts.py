"""Verdicts: the judgements that are their evidence, the runs that may be repeated, the demands, and the outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal, Self, cast

from pandaprobe_otel.evals.statistics import needed, rate
from pandaprobe_otel.traces.text import plain_text


class Outcome(StrEnum):
    """A kind of verdict."""

    FAILED = "failed"
    NO_EVIDENCE = "no evidence"
    """No evidence: nothing to judge, a judge that could not be called, or only part of a trace judged."""
    PASSED = "passed"

    @property
    def rank(self) -> int:
        """Order of verdicts, the worst first."""
        return list(Outcome).index(self)


def all_of(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the verdict if all must pass. Without any verdict, there is no evidence."""
    return min(outcomes, key=lambda outcome: outcome.rank, default=Outcome.NO_EVIDENCE)


def enough(outcomes: Iterable[Outcome], needed: int, *, missing: int = 0) -> Outcome:
    """Return the verdict if `needed` of the verdicts must pass.

    `missing` further verdicts have no evidence. If verdicts without evidence could change the result, there is none.
    """
    found = list(outcomes)
    passed, unknown = found.count(Outcome.PASSED), found.count(Outcome.NO_EVIDENCE)
    if unknown == len(found):
        return Outcome.NO_EVIDENCE
    if passed >= needed:
        return Outcome.PASSED
    return Outcome.NO_EVIDENCE if passed + unknown + missing >= needed else Outcome.FAILED


class Finding(StrEnum):
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
        if self.finding is Finding.ERROR:
            return Outcome.NO_EVIDENCE
        if self.finding is Finding.SCORED and not (self.value is not None and self.value >= threshold):
            return Outcome.FAILED
        whole = self.finding is Finding.SCORED and self.unfinished is None
        return Outcome.PASSED if whole or allow_vacuous else Outcome.NO_EVIDENCE

    def passes(self, threshold: float, *, allow_vacuous: bool = False) -> bool:
        """Return whether the verdict is a yes."""
        return self.outcome(threshold, allow_vacuous=allow_vacuous) is Outcome.PASSED

    def text(self, metric: str, threshold: float) -> str:
        """Return the judgement and its reason on one line."""
        reason = f": {plain_text(self.reason)}" if self.reason else ""
        if self.finding is Finding.ERROR:
            return f"{metric} could not be judged{reason}"
        if self.finding is Finding.VACUOUS:
            return f"{metric} is inconclusive: there was nothing to judge{reason}"
        if self.unfinished is not None:
            reason += f"; the trace is {self.unfinished.replace('_', ' ')}: only part of it was judged"
        sign = ">=" if self.value is not None and self.value >= threshold else "<"
        cached = " (cached)" if self.cached else ""
        return f"{metric} {self.value:.2f} {sign} {threshold:.2f}{cached}{reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """A number of runs, and the share of them that must pass (0 to 1). Raises ValueError for invalid numbers."""

    repeat: int = 1
    min_pass: float = 1.0

    def __post_init__(self) -> None:
        whole(repeat=self.repeat)
        share(min_pass=self.min_pass)

    @property
    def needed(self) -> int:
        """The number of runs that must pass."""
        return needed(self.min_pass, self.repeat)

    def settled(self, *, passed: int, failed: int) -> Literal["reached", "out of reach"] | None:
        """Return whether the remaining runs cannot change the result."""
        if passed >= self.needed:
            return "reached"
        return "out of reach" if failed > self.repeat - self.needed else None

    def text(self, outcomes: Sequence[Outcome]) -> str:
        """Return the rate of these runs on one line: `4/5 passed (80%, 95 % CI 38–96), 80% required`."""
        ran, unknown = len(outcomes), outcomes.count(Outcome.NO_EVIDENCE)
        early = f", stopped early: {self.needed} of {self.repeat} needed" if ran < self.repeat else ""
        passed = rate(outcomes.count(Outcome.PASSED), ran - unknown, unknown)
        return f"{passed}{early}, {self.min_pass:.0%} required"


def whole(**counts: object) -> None:
    """Raise ValueError for a count that is not a whole number of 1 or more."""
    for what, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{what}={count!r} is not a whole number of 1 or more")


def share(**shares: object) -> None:
    """Raise ValueError for a share that is not between 0 and 1."""
    for what, value in shares.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
            raise ValueError(f"{what}={value!r} is not between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricResult:
    """Verdict of a metric on a case: the judgements of its runs, and the threshold."""

    metric: str
    threshold: float
    runs: tuple[tuple[Judgement, ...] | None, ...] = field(repr=False)
    """For each run, one judgement per trace or session; None if the run failed."""
    repetition: Repetition = field(default_factory=Repetition, repr=False)
    allow_vacuous: bool = False

    @property
    def outcome(self) -> Outcome:
        """Passed, failed, or no evidence. Runs that were not made count as runs without evidence."""
        return enough(self.outcomes, self.repetition.needed, missing=self.repetition.repeat - len(self.runs))

    @property
    def outcomes(self) -> list[Outcome]:
        """Verdict of each run."""
        return [
            Outcome.FAILED if (one := self.worst(number)) is None else self._outcome_of(one)
            for number in range(len(self.runs))
        ]

    @property
    def passed(self) -> bool:
        """Return whether the verdict is passed, with evidence."""
        return self.outcome is Outcome.PASSED

    def worst(self, run: int) -> Judgement | None:
        """Return the worst judgement of a run, which decides; None if the run failed."""
        return min(self.runs[run] or (), key=lambda one: (self._outcome_of(one).rank, one.value or 0.0), default=None)

    def _outcome_of(self, judgement: Judgement) -> Outcome:
        return judgement.outcome(self.threshold, allow_vacuous=self.allow_vacuous)

    @property
    def _example(self) -> int:
        """Index of a run that explains the verdict, preferably one with scores."""
        outcome = self.outcome
        wanted = [number for number, each in enumerate(self.outcomes) if each is outcome]
        judged = [number for number, judgements in enumerate(self.runs) if judgements is not None]
        return next((n for n in wanted if n in judged), next(iter(judged or wanted), 0))

    @property
    def finding(self) -> str:
        """Kind of the judgement that explains the verdict: scored, vacuous or error."""
        shown = self.worst(self._example)
        return Finding.ERROR if shown is None else shown.finding

    @property
    def value(self) -> float | None:
        """Score, the mean of the runs with evidence if there are several runs; None without one."""
        found = [self.worst(number) for number in range(len(self.runs))]
        if self.repetition.repeat == 1:
            return None if found[0] is None else found[0].value
        scored = [one.value for one in found if one and one.finding is Finding.SCORED and one.value is not None]
        return sum(scored) / len(scored) if scored else None

    @property
    def text(self) -> str:
        """Verdict and its reason, on one line."""
        one = self.worst(number := self._example)
        reason = f"run {number + 1} failed" if one is None else one.text(self.metric, self.threshold)
        return reason if self.repetition.repeat == 1 else f"{self.repetition.text(self.outcomes)}, {reason}"

    def row(self) -> dict[str, Any]:
        """Return the verdict without its judgements, as flat values."""
        names = ("metric", "finding", "value", "threshold", "outcome", "text")
        return {name: getattr(self, name) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return self.row() | asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read the result of `to_dict`."""
        return cls(
            metric=plain["metric"],
            threshold=plain["threshold"],
            runs=tuple(None if run is None else tuple(map(_judgement, run)) for run in plain["runs"]),
            repetition=Repetition(**plain["repetition"]),
            allow_vacuous=plain["allow_vacuous"],
        )


def _judgement(plain: Mapping[str, Any]) -> Judgement:
    fields: dict[str, Any] = {**plain, "finding": Finding(plain["finding"])}
    return Judgement(**fields)


DEFAULT_THRESHOLD: Final = 0.5
"""Default threshold of every PandaProbe metric (measured on server 0.5.0). Runs have no thresholds of their own."""


def limits_of(names: Iterable[str], *given: object) -> dict[str, float]:
    """Return the threshold of each metric.

    given: thresholds, of which later ones count: numbers by metric, or one for all others (also under ""). Anything
    else, such as a list of metrics, has none.

    Raises ValueError for a threshold of no metric, and for one that is not between 0 and 1.
    """
    found: dict[str, float] = {"": DEFAULT_THRESHOLD}
    for each in given:
        if isinstance(each, Mapping):
            named = cast("Mapping[str, float | None]", each)
            found |= {name: value for name, value in named.items() if value is not None}
        elif isinstance(each, int | float):
            found[""] = each
    limits = {name: found.get(name, found[""]) for name in names}
    if unknown := [name for name in found if name and name not in limits]:
        raise ValueError(f"{', '.join(unknown)} has a threshold but is not a metric of this evaluation")
    for value in (found[""], *limits.values()):
        share(threshold=value)
    return limits


Metrics = str | Iterable[str] | Mapping[str, float] | Mapping[str, float | None]
"""Names, or names with a threshold each. None: the common threshold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Metrics with their thresholds, the number of runs, and how many of them must pass."""

    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    """Metrics of a judge."""
    scorers: Mapping[str, float] = field(default_factory=dict[str, float])
    """Metrics of the caller's own."""
    repetition: Repetition = field(default_factory=Repetition)
    session: bool = False
    allow_vacuous: bool = False
    model: str | None = None

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds of all metrics."""
        return {**self.metrics, **self.scorers}

    @classmethod
    def of_marker(
        cls,
        *,
        metrics: Metrics = (),
        threshold: float | None = None,
        repeat: int = 1,
        min_pass: float = 1.0,
        session: bool = False,
        allow_vacuous: bool = False,
        model: str | None = None,
    ) -> Self:
        """Read the arguments of `@pytest.mark.pandaprobe`.

        metrics: names, or names with a threshold each.
        threshold: the threshold of metrics without one (default 0.5).
        repeat, min_pass: the number of runs, and the share of them that must pass (default: all).
        session: the metrics are those of sessions, and the test's traces become one session.
        allow_vacuous: pass even if the judge had nothing to judge.
        model: the judge model. Default: the server's.

        Raises ValueError for invalid arguments.
        """
        names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
        return cls(
            metrics=limits_of(names, threshold, metrics),
            repetition=Repetition(repeat=repeat, min_pass=min_pass),
            session=session,
            allow_vacuous=allow_vacuous,
            model=model,
        )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read the result of `to_dict`."""
        values: dict[str, Any] = {**fields, "repetition": Repetition(**fields["repetition"])}
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def parse_metrics(text: str | None) -> Mapping[str, float | None]:
    """Parse `task_completion, tool_correctness=0.8`: names with their thresholds. None: the name has no threshold.

    Raises ValueError for a threshold that is not a number between 0 and 1.
    """
    named: dict[str, float | None] = {}
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        name, sign, number = (piece.strip() for piece in part.partition("="))
        try:
            named[name] = float(number) if sign else None
        except ValueError:
            raise ValueError(f"{part}: {number!r} is not a number") from None
        if named[name] is not None:
            share(**{name: named[name]})
    return named
