"""Acceptance of changes, in random runs with and without a real effect."""

from __future__ import annotations

import random

import pytest

from pandaprobe_otel.improve.acceptance import CasePairs, broken, falls_together, mend, most_runs, suspects
from pandaprobe_otel.improve.cases import copied_inputs, split


def drawn(chance: random.Random, cases: int, repeats: int, old: float, new: float) -> list[CasePairs]:
    """Draw pairs of runs that pass with these probabilities."""
    return [
        CasePairs(
            str(case),
            tuple(chance.random() < old for _ in range(repeats)),
            tuple(chance.random() < new for _ in range(repeats)),
        )
        for case in range(cases)
    ]


def is_accepted(pairs: list[CasePairs], looks: int = 3) -> bool:
    """Return the decision of the first look that decides."""
    for look in range(1, looks + 1):
        seen = [CasePairs(each.case, each.old[:look], each.new[:look]) for each in pairs]
        state = mend(seen, look=look, looks=looks, alpha=0.05, candidates=3)
        if state.decision is not None:
            return state.decision
    raise AssertionError("the last look decides")


@pytest.mark.parametrize("flaky", [0.0, 0.15, 0.4])
def test_changes_without_effect_are_hardly_ever_accepted(flaky: float) -> None:
    """Fewer than 25 of 1,000 changes without effect are accepted, with three looks and three candidates."""
    chance = random.Random(1)
    accepted = sum(is_accepted(drawn(chance, 10, 3, flaky, flaky)) for _ in range(1000))
    assert accepted < 25


def test_true_mends_are_accepted() -> None:
    """A change that raises ten failures from 15 % to 90 % passing runs is accepted in over 90 % of tests."""
    chance = random.Random(2)
    assert sum(is_accepted(drawn(chance, 10, 3, 0.15, 0.9)) for _ in range(200)) > 180


def test_a_clear_mend_needs_one_look_and_no_effect_at_most_two() -> None:
    """A clear gain in twelve cases is decided at the first look, and no gain at the second."""
    sure = drawn(random.Random(3), 12, 1, 0.0, 1.0)
    assert mend(sure, look=1, looks=3, alpha=0.05, candidates=3).decision is True
    none = drawn(random.Random(3), 12, 2, 0.0, 0.0)
    assert mend(none, look=1, looks=3, alpha=0.05, candidates=3).decision is None
    assert mend(none, look=2, looks=3, alpha=0.05, candidates=3).decision is False


def test_few_cases_or_a_small_gain_decide_nothing() -> None:
    """Five cases are too few for acceptance, and so is a gain of a tenth in a hundred cases."""
    few = drawn(random.Random(4), 5, 3, 0.0, 1.0)
    assert mend(few, look=3, looks=3, alpha=0.05, candidates=3).decision is False
    small = [CasePairs(str(case), (False,) * 10, (True,) + (False,) * 9) for case in range(100)]
    assert mend(small, look=3, looks=3, alpha=0.05, candidates=3).decision is False


def test_one_lost_run_is_doubted_and_a_confirmed_loss_rejects() -> None:
    """A case with one lost run gets fresh pairs; three net losses of five reject the change, two do not."""
    lost = CasePairs("gift", (True, True), (True, False))
    assert suspects([lost, CasePairs("pen", (True, False), (True, True))]) == ("gift",)
    assert broken([CasePairs("gift", (True,) * 5, (True, True, True, False, False))]) == ()
    [case] = broken([CasePairs("gift", (True,) * 5, (True, True, False, False, False))])
    assert str(case) == "5/5 → 2/5"


def test_small_losses_everywhere_reject_as_well() -> None:
    """Six cases that each lose one of two runs reject the change together."""
    assert falls_together([CasePairs(str(case), (True, True), (True, False)) for case in range(6)])
    assert not falls_together([CasePairs(str(case), (True, True), (True, True)) for case in range(6)])


def test_the_split_keeps_families_together_and_hides_most() -> None:
    """Inputs that differ only in numbers, or are of one session, are all shown or all unseen; at most ten are shown."""
    inputs = {f"{word}-{number}": f"refund {word} {number}" for word in "abcdefgh" for number in range(3)}
    sessions = {"a-0": "s", "b-0": "s"}
    parts = split(inputs, sessions)
    for word in "cdefgh":
        assert len({parts[f"{word}-{number}"] for number in range(3)}) == 1
    assert len({parts[f"{word}-{number}"] for word in "ab" for number in range(3)}) == 1
    assert 0 < sum(part == "shown" for part in parts.values()) <= 10
    assert parts == split(dict(reversed(inputs.items())), sessions)


def test_a_shown_input_in_a_rule_is_found() -> None:
    """A rule with an identifier from a shown input is detected, unless the old file has that identifier too."""
    shown = [{"question": "please pay back the order A-1742 of my old aunt in Graz"}]
    assert copied_inputs("For A-1742 say 129.00", shown) == ("A-1742",)
    assert copied_inputs("When asked: please pay back the order of my old aunt", shown) == ()
    assert copied_inputs("A-1742", shown, before="as in A-1742") == ()


def test_the_worst_case_is_known_before_the_first_run() -> None:
    """The largest number of runs of two sides, repeats and fresh pairs is known before the first run."""
    assert most_runs(unseen=10, repeats=3, protected=20, shown=3) == 60 + 80 + 6 + 200
