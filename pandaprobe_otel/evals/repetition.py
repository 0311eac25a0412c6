"""Repeated runs: the required number of passes, the decision of the result, and its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pandaprobe_otel.evals.statistics import decided, needed, rate


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
        return decided(passed=passed, failed=failed, total=self.repeat, needed=self.needed)

    def text(self, passed: int, ran: int, unknown: int = 0) -> str:
        """Return the rate on one line: `4/5 passed (80%, 95 % CI 38–96), 80% required`."""
        early = f", stopped early: {self.needed} of {self.repeat} needed" if ran < self.repeat else ""
        return f"{rate(passed, ran - unknown, unknown)}{early}, {self.min_pass:.0%} required"


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
