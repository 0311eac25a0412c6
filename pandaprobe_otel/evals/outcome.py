"""Verdicts: passed, failed, or without evidence, and the verdict about several."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Outcome(StrEnum):
    """A kind of verdict."""

    FAILED = "failed"
    NO_EVIDENCE = "no evidence"
    """No evidence: nothing to judge, a judge that could not be asked, or only a part judged."""
    PASSED = "passed"

    @property
    def slug(self) -> str:
        """The same without a space, as a name in HTML."""
        return self.value.replace(" ", "-")

    @property
    def rank(self) -> int:
        """The worst comes first."""
        return list(Outcome).index(self)


def all_of(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the verdict if all must pass. No verdict at all is no evidence."""
    return min(outcomes, key=lambda outcome: outcome.rank, default=Outcome.NO_EVIDENCE)


def enough(*, passed: int, failed: int, unknown: int, needed: int) -> Outcome:
    """Return the verdict if `needed` of these must pass.

    `unknown` ones have no evidence: where they could make the difference, the whole has none either.
    """
    if passed + failed == 0:
        return Outcome.NO_EVIDENCE
    if passed >= needed:
        return Outcome.PASSED
    return Outcome.NO_EVIDENCE if passed + unknown >= needed else Outcome.FAILED


def enough_of(outcomes: Iterable[Outcome], needed: int) -> Outcome:
    """Return the same, counted from the verdicts."""
    found = list(outcomes)
    return enough(
        passed=found.count(Outcome.PASSED),
        failed=found.count(Outcome.FAILED),
        unknown=found.count(Outcome.NO_EVIDENCE),
        needed=needed,
    )
