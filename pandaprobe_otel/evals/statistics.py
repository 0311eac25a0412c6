"""Statistics behind verdicts: confidence of a rate, early decisions, and significance of a change."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_Z_95: Final = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""
_EXACT_UP_TO: Final = 30
"""Largest number of differences for which all 2^n signs are counted (as two halves of 2^15 sums)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Number of `total` that passed, with the 95 % Wilson score interval of the share (0 to 1).

    `unknown` is the number without evidence, which is not part of `total`.
    """

    passed: int
    total: int
    low: float
    high: float
    unknown: int = 0

    @property
    def share(self) -> float:
        """Share that passed; 0 without any."""
        return self.passed / self.total if self.total else 0.0

    def __str__(self) -> str:
        without = f"{self.unknown} without evidence"
        if not self.total:
            return f"nothing was judged: {without}" if self.unknown else "nothing was judged"
        interval = f"{self.share:.0%}, 95 % CI {100 * self.low:.0f}–{100 * self.high:.0f}"
        return f"{self.passed}/{self.total} passed ({interval})" + (f", {without}" if self.unknown else "")


def rate(passed: int, total: int, unknown: int = 0) -> Rate:
    """Return the rate and its Wilson score interval (Wilson 1927, without continuity correction)."""
    if total <= 0:
        return Rate(passed=0, total=0, low=0.0, high=1.0, unknown=unknown)
    share, z2 = passed / total, _Z_95 * _Z_95
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z_95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    # Rounding must not make the interval of 0 of n, or of n of n, exclude its end.
    low = 0.0 if passed == 0 else max(centre - half, 0.0)
    high = 1.0 if passed == total else min(centre + half, 1.0)
    return Rate(passed=passed, total=total, low=low, high=high, unknown=unknown)


def needed(min_pass: float, total: int) -> int:
    """Return how many of `total` must pass for a share of at least `min_pass`."""
    return min(math.ceil(min_pass * total - 1e-9), total)


def chance_of_drop(differences: Sequence[float]) -> float:
    """Return the one-sided p-value of paired differences (new - old): the probability of a mean this low by chance.

    This is the sign-flip permutation test of the mean: without a real change, each difference could as well have the
    other sign. The value is exact for up to 30 nonzero differences. For more, it is the normal approximation with the
    variance of the test, which is the sum of squares.
    """
    moved = [value for value in differences if value != 0.0]
    if not moved:
        return 1.0
    observed = math.fsum(moved)
    if len(moved) > _EXACT_UP_TO:
        return 0.5 * math.erfc(-observed / math.sqrt(2 * math.fsum(value * value for value in moved)))
    half = len(moved) // 2
    first, second = _signed_sums(moved[:half]), sorted(_signed_sums(moved[half:]))
    # Sums that are mathematically equal may differ in the last bits.
    bound = observed + 1e-9 * max(1.0, math.fsum(abs(value) for value in moved))
    below = sum(bisect_right(second, bound - value) for value in first)
    return below / (1 << len(moved))


def _signed_sums(values: Sequence[float]) -> list[float]:
    sums = [0.0]
    for value in values:
        sums = [total + signed for total in sums for signed in (value, -value)]
    return sums
