"""Comparison of two reports: changes and whether chance explains them, totals, and cases side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final, Literal

from pandaprobe_otel.evals.report import CaseResult, Report
from pandaprobe_otel.evals.statistics import chance_of_drop
from pandaprobe_otel.evals.verdicts import Outcome
from pandaprobe_otel.traces.comparison import SpanPair, paired_spans

Change = Literal["regression", "improvement", "no significant change", "too few cases to tell"]

_WEIGHT: Final[tuple[Change, ...]] = ("regression", "improvement", "too few cases to tell", "no significant change")
_LEAST: Final = 5
"""Smallest number of cases that can be significant at 5 %: with four, chance alone gives 1 in 2⁴."""
_Z: Final = 1.645
"""95 % quantile of the standard normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricChange:
    """Change of a metric over the cases that both reports have scored.

    `p` is the probability of at least this change of the mean by chance (one-sided sign-flip permutation test). For
    `passed`, this is McNemar's exact test.
    """

    metric: str
    cases: int
    before: float
    after: float
    lost: tuple[str, ...]
    won: tuple[str, ...]
    p: float
    change: Change
    cases_to_tell: int | None = None
    """Number of cases with which this change would be significant. None: there is no change, or it is significant
    already.
    """

    @property
    def verdict(self) -> str:
        """The change in words, with the number of cases that would be enough to decide."""
        enough = "" if self.cases_to_tell is None else f": {self.cases_to_tell} or more would be enough"
        return f"{self.change}{enough}"

    def __str__(self) -> str:
        moved = f"{self.before:.2f} → {self.after:.2f}"
        said = [f"{self.metric}: {moved} over {self.cases} cases, {self.verdict} (p = {self.p:.3f})"]
        said += [f"lost: {', '.join(self.lost)}"] if self.lost else []
        said += [f"won: {', '.join(self.won)}"] if self.won else []
        return "; ".join(said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Changes of all metrics that two reports share, and of `passed` (1 for a passed case, 0 for any other)."""

    changes: tuple[MetricChange, ...]
    remarks: tuple[str, ...] = ()
    """Sentences about metrics and cases that only one of the reports has."""

    @property
    def outcome(self) -> Outcome:
        """Failed with a regression; no evidence if nothing can be compared. The report's thresholds apply too."""
        if not self.changes:
            return Outcome.NO_EVIDENCE
        return Outcome.FAILED if self.regressions else Outcome.PASSED

    @property
    def regressions(self) -> tuple[MetricChange, ...]:
        """Significant changes for the worse."""
        return tuple(change for change in self.changes if change.change == "regression")

    @property
    def by_weight(self) -> tuple[MetricChange, ...]:
        """The changes: first significant regressions, then significant improvements, then the others."""
        return tuple(sorted(self.changes, key=lambda change: _WEIGHT.index(change.change)))

    def __str__(self) -> str:
        changes = [*map(str, self.changes)] or ["no case in common has evidence in both"]
        return "\n".join([*changes, *self.remarks])

    def _repr_html_(self) -> str:
        from pandaprobe_otel.evals.report_blocks import comparison_html

        return comparison_html(self)


def compare(after: Report, before: Report, *, alpha: float = 0.05) -> Comparison:
    """Compare two reports; see `Report.compare`."""
    old, new = _by_id(before), _by_id(after)
    common = [name for name in new if name in old]
    metrics = [metric for metric in after.metrics if metric in before.metrics]
    changes = [
        _change(metric, {name: (_value(old[name], metric), _value(new[name], metric)) for name in common}, alpha)
        for metric in (*metrics, None)
    ]
    only = {
        "metrics of the earlier report only": [metric for metric in before.metrics if metric not in metrics],
        "new metrics": [metric for metric in after.metrics if metric not in metrics],
        "cases of the earlier report only": [name for name in old if name not in new],
        "new cases": [name for name in new if name not in old],
    }
    return Comparison(
        changes=tuple(change for change in changes if change is not None),
        remarks=tuple(f"{words}: {', '.join(names)}" for words, names in only.items() if names),
    )


def _change(metric: str | None, pairs: Mapping[str, tuple[Any, Any]], alpha: float) -> MetricChange | None:
    scored = {name: (old, new) for name, (old, new) in pairs.items() if old is not None and new is not None}
    if not scored:
        return None
    differences = [new[0] - old[0] for old, new in scored.values()]
    lost = tuple(name for name, (old, new) in scored.items() if old[1] and not new[1])
    won = tuple(name for name, (old, new) in scored.items() if new[1] and not old[1])
    falls = sum(differences) < 0
    p = chance_of_drop(differences if falls else [-value for value in differences])
    change: Change = "no significant change"
    cases_to_tell = None
    if p < alpha:
        change = "regression" if falls else "improvement"
    elif sum(differences) != 0 and (wanted := _cases_for_significance(differences)) > len(scored):
        change, cases_to_tell = "too few cases to tell", wanted
    return MetricChange(
        metric=metric or "passed",
        cases=len(scored),
        before=sum(old[0] for old, _ in scored.values()) / len(scored),
        after=sum(new[0] for _, new in scored.values()) / len(scored),
        lost=lost,
        won=won,
        p=p,
        change=change,
        cases_to_tell=cases_to_tell,
    )


def _cases_for_significance(differences: Sequence[float]) -> int:
    """Return the number of cases with which such changes would be significant in about half of all runs."""
    squares, total = math.fsum(value * value for value in differences), math.fsum(differences)
    return max(_LEAST, math.ceil(_Z * _Z * squares * len(differences) / (total * total)))


def _value(case: CaseResult, metric: str | None) -> tuple[float, bool] | None:
    """Return the score of a case, and whether it passed. None: there is no score with evidence."""
    if metric is None:
        return None if case.outcome is Outcome.NO_EVIDENCE else (float(case.passed), case.passed)
    result = case.result(metric)
    if result is None or result.finding != "scored" or result.value is None:
        return None
    return result.value, result.passed


def _by_id(report: Report) -> dict[str, CaseResult]:
    return {case.id: case for case in report.cases}


_SUMS: Final[tuple[tuple[str, Callable[[CaseResult], float | None], str], ...]] = (
    ("tokens", lambda case: case.tokens, "{:,.0f}"),
    ("cost", lambda case: case.cost, "${:,.4f}"),
    ("seconds", lambda case: case.seconds, "{:,.1f}"),
)


def sums(before: Report, after: Report) -> list[list[str]]:
    """Return the totals of both runs over their common cases, so that they are comparable: name, before, now, change.

    The change is empty if one run does not know the total.
    """
    shared = {case.id for case in before.cases} & {case.id for case in after.cases}
    old, new = ([case for case in report.cases if case.id in shared] for report in (before, after))
    rows = [[name, *_compared(_total(map(value, old)), _total(map(value, new)), form)] for name, value, form in _SUMS]
    return [row for row in rows if row[1] or row[2]]


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _compared(before: float | None, after: float | None, form: str) -> list[str]:
    change = ""
    if before is not None and after is not None:
        change = "none" if before == after else "new" if before == 0 else f"{(after - before) / before:+.0%}"
    return [*("" if total is None else form.format(total) for total in (before, after)), change]


Kind = Literal["lost", "won", "different", "same", "new", "gone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePair:
    """A case of both runs, or of only one."""

    id: str
    before: CaseResult | None
    after: CaseResult | None
    traces: tuple[tuple[SpanPair, ...], ...]
    """The spans of each trace of the case. One of the runs may lack a trace."""

    @property
    def differing(self) -> int:
        """Number of spans that differ."""
        return sum(pair.change != "same" for spans in self.traces for pair in spans)

    @property
    def kind(self) -> Kind:
        """`lost`: it passed only before. `won`: it passes only now. `different`: something else has changed."""
        if self.before is None or self.after is None:
            return "new" if self.before is None else "gone"
        if self.before.passed != self.after.passed:
            return "lost" if self.before.passed else "won"
        verdicts = [[(one.metric, one.outcome) for one in case.results] for case in (self.before, self.after)]
        differs = verdicts[0] != verdicts[1] or self.before.output != self.after.output
        return "different" if differs or self.differing else "same"


def paired(before: Report, after: Report) -> list[CasePair]:
    """Return all cases of both reports, starting with those of the later one, in its order."""
    old, new = _by_id(before), _by_id(after)
    pairs: list[CasePair] = []
    for name in [*new, *(name for name in old if name not in new)]:
        both = old.get(name), new.get(name)
        traces = zip_longest(*(() if case is None else case.records for case in both))
        spans = tuple(paired_spans(*records) for records in traces)
        pairs.append(CasePair(id=name, before=both[0], after=both[1], traces=spans))
    return pairs
