"""Acceptance of a change from pairs of runs: pure arithmetic over cases, which are the units of evidence.

Repeats of a case are not independent, so each case counts once, with the difference of its passes. The old side always
runs again: a comparison with the recorded failures would accept changes without effect (17 to 94 % of them in a
simulation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pandaprobe_otel.evals.statistics import chance_of_drop

MIN_UNSEEN: Final = 6
"""Minimum number of unseen failures for a decision. If all six improve, the probability by chance is 2^-6, which is
below 0.05 / 3. Five would not be enough.
"""
MIN_PROTECTED: Final = 1
MIN_GAIN: Final = 0.2
"""Minimum mean gain in the share of passing runs, over the unseen failures."""
_EARLY: Final = 0.001
"""Highest probability by chance at which a look before the last one accepts."""
_HOPELESS: Final = 0.5
_LOSSES_ALONE: Final = 3
"""Net losses of one protected case in its fresh pairs, from which the change is rejected."""
_CHANCE_TOGETHER: Final = 0.05


class Verdict(StrEnum):
    """Result of a test of a candidate."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class CasePairs:
    """Pairs of runs of one case: whether the old and the new program passed, in order."""

    case: str
    old: tuple[bool, ...]
    new: tuple[bool, ...]

    @property
    def gain(self) -> float:
        """Difference in the share of passes, new minus old; negative for a loss."""
        return (sum(self.new) - sum(self.old)) / len(self.new) if self.new else 0.0

    @property
    def net_losses(self) -> int:
        """Number of runs that only the old side passes, minus those that only the new side passes."""
        return sum(self.old) - sum(self.new)

    def __str__(self) -> str:
        return f"{sum(self.old)}/{len(self.old)} → {sum(self.new)}/{len(self.new)}"


@dataclass(frozen=True, slots=True)
class Mend:
    """State of the unseen failures after a look."""

    chance: float
    """One-sided probability of such gains by chance: exact sign-flip test over cases."""
    gain: float
    decision: bool | None
    """True: fixed. False: given up. None: another repeat is needed."""


def mend(pairs: Sequence[CasePairs], *, look: int, looks: int, alpha: float, candidates: int) -> Mend:
    """Judge the unseen failures after look number `look` of `looks`.

    The last look accepts at `alpha` / `candidates`, since each candidate is another chance to be lucky. Earlier looks
    accept only at a much smaller chance. From the second look on, they give up if there is no sign of a gain.
    """
    gains = [each.gain for each in pairs]
    chance = chance_of_drop([-gain for gain in gains])
    gain = math.fsum(gains) / len(gains) if gains else 0.0
    bound = alpha / candidates if look >= looks else min(_EARLY, alpha / candidates)
    if len(gains) >= MIN_UNSEEN and chance <= bound and gain >= MIN_GAIN:
        return Mend(chance, gain, decision=True)
    is_over = look >= looks or (look >= 2 and chance > _HOPELESS)
    return Mend(chance, gain, decision=False if is_over else None)


def suspects(protected: Sequence[CasePairs]) -> tuple[str, ...]:
    """Return the protected cases with a net loss, which get fresh pairs before they count."""
    return tuple(each.case for each in protected if each.net_losses > 0)


def broken(confirmations: Sequence[CasePairs]) -> tuple[CasePairs, ...]:
    """Return the cases whose fresh pairs confirm the loss."""
    return tuple(each for each in confirmations if each.net_losses >= min(_LOSSES_ALONE, len(each.new)))


def chance_of_fall(protected: Sequence[CasePairs]) -> float:
    """Return the probability that chance alone causes these losses of the protected cases."""
    return chance_of_drop([each.gain for each in protected])


def falls_together(protected: Sequence[CasePairs]) -> bool:
    """Return whether the protected cases lose as a whole, even if no single case does."""
    return chance_of_fall(protected) <= _CHANCE_TOGETHER


def most_runs(*, unseen: int, repeats: int, protected: int, shown: int, confirmations: int = 5) -> int:
    """Return the largest number of runs that a test can take, which is reserved before the first one.

    It counts two sides of each repeat of each unseen case, two repeats of each protected case, one look at the shown
    cases, and fresh pairs of each protected case.
    """
    return 2 * unseen * repeats + 4 * protected + 2 * shown + 2 * confirmations * protected
