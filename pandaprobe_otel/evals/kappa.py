"""Agreement of two verdicts beyond chance: Cohen's kappa, with an interval that is valid for few cases too."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

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
    """Agreement of a person and a judge about the same cases: Cohen's kappa with its 95 % interval.

    A case with a yes in two of three answers counts two thirds as a yes.
    """

    both_yes: float
    false_no: float
    """The person says yes and the judge says no."""
    false_yes: float
    both_no: float
    low: float
    high: float

    @property
    def cases(self) -> int:
        """The number of cases."""
        return round(math.fsum(self._cells))

    @property
    def yes(self) -> int:
        """The number of cases that the person labelled yes."""
        return round(self.both_yes + self.false_no)

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
    def _cells(self) -> tuple[float, float, float, float]:
        return self.both_yes, self.false_no, self.false_yes, self.both_no


def agreement(verdicts: Iterable[tuple[bool, float]], *, seed: int = 0) -> Agreement:
    """Return the agreement of a person and a judge. A pair is one case: the person's label, the judge's share of yes.

    The interval is the middle 95 % of 10,000 kappas, each of four cells drawn from their Dirichlet distribution with
    Jeffreys' prior.
    """
    cells = [0.0, 0.0, 0.0, 0.0]
    for label, share in verdicts:
        cells[0 if label else 2] += share
        cells[1 if label else 3] += 1 - share
    draw = random.Random(seed).gammavariate
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
