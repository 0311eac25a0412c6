"""The statistics of verdicts, against SciPy."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from scipy import stats

from pandaprobe_otel.evals.statistics import chance_of_drop, chance_of_losses, rate


@pytest.mark.parametrize("total", [1, 2, 5, 10, 37, 400])
def test_the_interval_is_wilsons(total: int) -> None:
    """For every count of passes the interval is SciPy's Wilson interval."""
    for passed in range(total + 1):
        expected: Any = stats.binomtest(passed, total).proportion_ci(0.95, method="wilson")
        found = rate(passed, total)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("count", [2, 3, 7, 11])
def test_a_drop_is_tested_as_by_the_exact_permutation_test(count: int) -> None:
    """The p-value of paired differences is that of SciPy's exact sign-flip permutation test, ties included."""
    source = random.Random(count)
    for _ in range(4):
        differences = [source.choice([-0.6, -0.3, -0.1, 0.1, 0.3]) for _ in range(count)]
        expected: Any = stats.permutation_test(
            (differences,),
            lambda values, axis: values.mean(axis=axis),
            permutation_type="samples",
            alternative="less",
            n_resamples=5000,
            vectorized=True,
        )
        assert chance_of_drop(differences) == pytest.approx(expected.pvalue, abs=1e-9)


def test_many_differences_are_tested_by_the_normal_approximation() -> None:
    """Beyond the exact range the p-value is that of a normal distribution whose variance is the sum of squares."""
    source = random.Random(1)
    differences = [source.uniform(-0.5, 0.4) for _ in range(200)]
    spread = sum(value * value for value in differences) ** 0.5
    assert chance_of_drop(differences) == pytest.approx(float(stats.norm.cdf(sum(differences) / spread)), abs=1e-12)


def test_lost_cases_are_tested_as_by_the_binomial_test() -> None:
    """McNemar's exact test is the binomial test of the cases that changed."""
    for lost, won in itertools.product(range(9), range(9)):
        expected = stats.binomtest(won, lost + won, 0.5, alternative="less").pvalue if lost + won else 1.0
        assert chance_of_losses(lost, won) == pytest.approx(float(expected), abs=1e-12)
