"""Pairs of generated ids: one from a recording, and one from the run that is compared with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Pairing:
    """Pairs of ids. If an id needs two partners, the requests differ in more than their ids."""

    there: dict[str, str] = field(default_factory=dict[str, str])
    back: dict[str, str] = field(default_factory=dict[str, str])

    def joins(self, recorded: str, asked: str) -> bool:
        """Pair two ids; return False if one of them has another partner."""
        return self.there.setdefault(recorded, asked) == asked and self.back.setdefault(asked, recorded) == recorded

    def fits(self, recorded: Sequence[str], asked: Sequence[str]) -> bool:
        """Pair ids, if all of them can be paired."""
        if len(recorded) != len(asked):
            return False
        trial = Pairing(dict(self.there), dict(self.back))
        if not all(trial.joins(*pair) for pair in zip(recorded, asked, strict=True)):
            return False
        self.there, self.back = trial.there, trial.back
        return True

    def learn(self, recorded: Sequence[str], asked: Sequence[str]) -> None:
        """Store these pairs. A later one replaces an earlier one."""
        for one, other in zip(recorded, asked, strict=False):
            self.there[one] = other
            self.back[other] = one

    def strangeness(self, recorded: Sequence[str], asked: Sequence[str]) -> int:
        """Return how different two lists of ids are: 0 for equal ids and for partners."""
        found = 0
        for one, other in zip(recorded, asked, strict=False):
            if one != other and self.there.get(one) != other:
                found += 2 if one in self.there or other in self.back else 1
        return found
