"""Pairs of generated ids: those of a recording, and those of the run that is compared with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Pairing:
    """Partners among ids: as soon as one would have two, something else than the ids has changed."""

    there: dict[str, str] = field(default_factory=dict[str, str])
    back: dict[str, str] = field(default_factory=dict[str, str])

    def joins(self, recorded: str, asked: str) -> bool:
        """Make two ids partners; False if one of them has another."""
        return self.there.setdefault(recorded, asked) == asked and self.back.setdefault(asked, recorded) == recorded

    def fits(self, recorded: Sequence[str], asked: Sequence[str]) -> bool:
        """Make ids partners, if all of them may be."""
        if len(recorded) != len(asked):
            return False
        trial = Pairing(dict(self.there), dict(self.back))
        if not all(trial.joins(*pair) for pair in zip(recorded, asked, strict=True)):
            return False
        self.there, self.back = trial.there, trial.back
        return True

    def learn(self, recorded: Sequence[str], asked: Sequence[str]) -> None:
        """Remember these partners; a later one takes the place of an earlier one."""
        for one, other in zip(recorded, asked, strict=False):
            self.there[one] = other
            self.back[other] = one

    def strangeness(self, recorded: Sequence[str], asked: Sequence[str]) -> int:
        """Return how little two lists of ids seem to be the same: nothing for equal ones, and for partners."""
        found = 0
        for one, other in zip(recorded, asked, strict=False):
            if one != other and self.there.get(one) != other:
                found += 2 if one in self.there or other in self.back else 1
        return found
