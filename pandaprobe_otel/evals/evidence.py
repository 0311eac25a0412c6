"""Judgements of a metric about the runs of a case. They suffice to decide again with another threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from pandaprobe_otel.evals.judging import Finding, Judgement
from pandaprobe_otel.evals.outcome import Outcome, enough
from pandaprobe_otel.evals.repetition import Repetition
from pandaprobe_otel.traces.text import plain_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Judgements of one metric about one case."""

    runs: tuple[tuple[Judgement, ...] | None, ...]
    """For each run, one judgement per trace or session; None if the run failed."""
    repetition: Repetition
    allow_vacuous: bool = False

    @classmethod
    def of_one(cls, judgement: Judgement, *, allow_vacuous: bool = False) -> Self:
        """Return the evidence of one run with one judgement."""
        return cls(runs=((judgement,),), repetition=Repetition(), allow_vacuous=allow_vacuous)

    def outcome(self, threshold: float) -> Outcome:
        """Return the verdict. Runs that were not made count as runs without evidence."""
        said = self.of_runs(threshold)
        return enough(
            passed=said.count(Outcome.PASSED),
            failed=said.count(Outcome.FAILED),
            unknown=said.count(Outcome.NO_EVIDENCE) + self.repetition.repeat - len(said),
            needed=self.repetition.needed,
        )

    def of_runs(self, threshold: float) -> list[Outcome]:
        """Return the verdict of each run."""
        return [
            Outcome.FAILED if (one := self.worst(number, threshold)) is None else self._of(one, threshold)
            for number in range(len(self.runs))
        ]

    def worst(self, run: int, threshold: float) -> Judgement | None:
        """Return the worst judgement of a run, which decides; None if the run failed."""
        judgements = self.runs[run]
        if judgements is None:
            return None
        return min(judgements, key=lambda one: (self._of(one, threshold).rank, one.value or 0.0))

    def _of(self, judgement: Judgement, threshold: float) -> Outcome:
        return judgement.outcome(threshold, allow_vacuous=self.allow_vacuous)

    def example(self, threshold: float) -> int:
        """Return the index of a run that explains the verdict, preferably one with scores."""
        outcome, said = self.outcome(threshold), self.of_runs(threshold)
        wanted = [number for number, each in enumerate(said) if each is outcome]
        judged = [number for number, judgements in enumerate(self.runs) if judgements is not None]
        return next((n for n in wanted if n in judged), next(iter(judged or wanted), 0))

    def value(self, threshold: float) -> float | None:
        """Return the score: the mean of the runs with evidence."""
        found = [self.worst(number, threshold) for number in range(len(self.runs))]
        if self.repetition.repeat == 1:
            return None if found[0] is None else found[0].value
        scored = [one.value for one in found if one and one.finding is Finding.SCORED and one.value is not None]
        return sum(scored) / len(scored) if scored else None

    def text(self, metric: str, threshold: float) -> str:
        """Return the verdict and its reason on one line."""
        number = self.example(threshold)
        one = self.worst(number, threshold)
        said = f"run {number + 1} failed" if one is None else describe(metric, one, threshold)
        if self.repetition.repeat == 1:
            return said
        outcomes = self.of_runs(threshold)
        yes, unknown = outcomes.count(Outcome.PASSED), outcomes.count(Outcome.NO_EVIDENCE)
        return f"{self.repetition.text(yes, len(outcomes), unknown)}, {said}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "runs": [None if run is None else list(map(_plain, run)) for run in self.runs],
            "repetition": asdict(self.repetition),
            "allow_vacuous": self.allow_vacuous,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read the result of `to_dict`."""
        return cls(
            runs=tuple(None if run is None else _judgements(run) for run in plain["runs"]),
            repetition=Repetition(**plain["repetition"]),
            allow_vacuous=plain["allow_vacuous"],
        )


def describe(metric: str, judgement: Judgement, threshold: float) -> str:
    """Describe a judgement on one line."""
    reason = f": {plain_text(judgement.reason)}" if judgement.reason else ""
    if judgement.finding is Finding.ERROR:
        return f"{metric} could not be judged{reason}"
    if judgement.finding is Finding.VACUOUS:
        return f"{metric} is inconclusive: there was nothing to judge{reason}"
    if judgement.unfinished is not None:
        reason += f"; the trace is {judgement.unfinished.replace('_', ' ')}: only part of it was judged"
    sign = ">=" if judgement.value is not None and judgement.value >= threshold else "<"
    cached = " (cached)" if judgement.cached else ""
    return f"{metric} {judgement.value:.2f} {sign} {threshold:.2f}{cached}{reason}"


def _plain(judgement: Judgement) -> dict[str, Any]:
    return {**asdict(judgement), "finding": judgement.finding.value}


def _judgements(run: Sequence[Mapping[str, Any]]) -> tuple[Judgement, ...]:
    read: list[Judgement] = []
    for plain in run:
        fields: dict[str, Any] = {**plain, "finding": Finding(plain["finding"])}
        read.append(Judgement(**fields))
    return tuple(read)
