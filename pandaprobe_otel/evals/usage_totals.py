"""Totals of two runs in comparison: tokens, cost, time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from pandaprobe_otel.evals.report import CaseResult, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class SumLine:
    """A total of both runs, as text. `change` is empty if one run does not know it."""

    name: str
    before: str
    after: str
    change: str


_SUMS: Final[tuple[tuple[str, Callable[[CaseResult], float | None], str], ...]] = (
    ("tokens", lambda case: case.tokens, "{:,.0f}"),
    ("cost", lambda case: case.cost, "${:,.4f}"),
    ("seconds", lambda case: case.seconds, "{:,.1f}"),
)


def sums(before: Report, after: Report) -> list[SumLine]:
    """Return the totals of both runs over their common cases, so that they are comparable."""
    shared = {case.id for case in before.cases} & {case.id for case in after.cases}
    old, new = ([case for case in report.cases if case.id in shared] for report in (before, after))
    lines = [_line(name, _total(map(value, old)), _total(map(value, new)), form) for name, value, form in _SUMS]
    return [line for line in lines if line.before or line.after]


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _line(name: str, before: float | None, after: float | None, form: str) -> SumLine:
    change = ""
    if before is not None and after is not None:
        change = "none" if before == after else "new" if before == 0 else f"{(after - before) / before:+.0%}"
    return SumLine(
        name=name,
        before="" if before is None else form.format(before),
        after="" if after is None else form.format(after),
        change=change,
    )
