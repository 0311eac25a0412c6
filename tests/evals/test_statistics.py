"""The statistics of verdicts, against their definitions."""

from __future__ import annotations

import itertools
import random
from math import comb, sqrt
from statistics import NormalDist

import pytest

from pandaprobe_otel.evals.statistics import chance_of_drop, chance_of_losses, decided, needed, rate


@pytest.mark.parametrize("total", [1, 2, 5, 10, 37, 400])
def test_the_interval_is_wilsons(total: int) -> None:
    """Each end of the interval is 1.96 standard errors away from the observed rate, unless the end is 0 or 1."""
    z = NormalDist().inv_cdf(0.975)
    for passed in range(total + 1):
        found = rate(passed, total)
        assert 0 <= found.low <= found.share <= found.high <= 1
        for end in (found.low, found.high):
            distance = z * sqrt(end * (1 - end) / total)
            assert abs(found.share - end) == pytest.approx(distance, abs=1e-9)


def test_a_rate_reads_as_in_the_summary() -> None:
    """The text of a rate has count, share and interval."""
    assert str(rate(4, 5)) == "4/5 passed (80%, 95 % CI 38–96)"
    assert rate(0, 0).share == 0.0


def test_the_number_of_passes_that_is_needed() -> None:
    """The needed number of passes is the smallest whose share is at least `min_pass`, without rounding errors."""
    for total, hundredths in itertools.product(range(1, 30), range(101)):
        count = needed(hundredths / 100, total)
        assert count * 100 >= hundredths * total
        assert count == 0 or (count - 1) * 100 < hundredths * total


def test_stopping_early_never_changes_the_outcome() -> None:
    """For all sequences of six outcomes, an early decision equals that of the whole sequence."""
    for total, wanted in itertools.product(range(1, 7), range(7)):
        for outcomes in itertools.product([True, False], repeat=total):
            whole = sum(outcomes) >= wanted
            for seen in range(total + 1):
                passed = sum(outcomes[:seen])
                found = decided(passed=passed, failed=seen - passed, total=total, needed=wanted)
                assert found in (None, "reached" if whole else "out of reach")
            assert found is not None


@pytest.mark.parametrize("count", [2, 3, 7, 11])
def test_a_drop_is_tested_by_flipping_signs(count: int) -> None:
    """The p-value is the share of all sign flips whose sum is at most the observed sum, ties included."""
    source = random.Random(count)
    for _ in range(4):
        tenths = [source.choice([-6, -3, -1, 1, 3]) for _ in range(count)]
        sums = [sum(flipped) for flipped in itertools.product(*((each, -each) for each in tenths))]
        expected = sum(each <= sum(tenths) for each in sums) / len(sums)
        assert chance_of_drop([each / 10 for each in tenths]) == pytest.approx(expected, abs=1e-9)


def test_many_differences_are_tested_by_the_normal_approximation() -> None:
    """Beyond the exact range the p-value is that of a normal distribution whose variance is the sum of squares."""
    source = random.Random(1)
    differences = [source.uniform(-0.5, 0.4) for _ in range(200)]
    spread = sqrt(sum(value * value for value in differences))
    assert chance_of_drop(differences) == pytest.approx(NormalDist().cdf(sum(differences) / spread), abs=1e-12)


def test_lost_cases_are_tested_by_the_binomial_test() -> None:
    """McNemar's exact test: the chance of at most this number of wins if losses and wins are equally likely."""
    for lost, won in itertools.product(range(9), range(9)):
        expected = sum(comb(lost + won, wins) for wins in range(won + 1)) / 2 ** (lost + won)
        assert chance_of_losses(lost, won) == pytest.approx(expected, abs=1e-12)


def test_no_change_is_no_drop() -> None:
    """Without any difference the p-value is 1."""
    assert chance_of_drop([0.0, 0.0]) == 1.0
    assert chance_of_drop([]) == 1.0
