"""Verdicts: passed, failed or no evidence, and combinations of several."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Outcome(StrEnum):
    """A kind of verdict."""

    FAILED = "failed"
    NO_EVIDENCE = "no evidence"
    """No evidence: nothing to judge, a judge that could not be called, or only part of a trace judged."""
    PASSED = "passed"

    @property
    def slug(self) -> str:
        """The verdict without spaces, as a name in HTML."""
        return self.value.replace(" ", "-")

    @property
    def rank(self) -> int:
        """Order of verdicts, the worst first."""
        return list(Outcome).index(self)


def all_of(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the verdict if all must pass. Without any verdict, there is no evidence."""
    return min(outcomes, key=lambda outcome: outcome.rank, default=Outcome.NO_EVIDENCE)


def enough(*, passed: int, failed: int, unknown: int, needed: int) -> Outcome:
    """Return the verdict if `needed` of the counted verdicts must pass.

    `unknown` is the number of verdicts without evidence. If these could change the result, there is no evidence.
    """
    if passed + failed == 0:
        return Outcome.NO_EVIDENCE
    if passed >= needed:
        return Outcome.PASSED
    return Outcome.NO_EVIDENCE if passed + unknown >= needed else Outcome.FAILED


def enough_of(outcomes: Iterable[Outcome], needed: int) -> Outcome:
    """Return the verdict if `needed` of a list of verdicts must pass."""
    found = list(outcomes)
    return enough(
        passed=found.count(Outcome.PASSED),
        failed=found.count(Outcome.FAILED),
        unknown=found.count(Outcome.NO_EVIDENCE),
        needed=needed,
    )
