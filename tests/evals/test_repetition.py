"""Cases and tests that run several times: the share of passed runs decides, unneeded runs are omitted."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from math import ceil, sqrt
from pathlib import Path
from statistics import NormalDist

import pytest

from pandaprobe_otel.evals import Report, TaskRun, evaluate
from pandaprobe_otel.evals.statistics import chance_of_drop, needed, rate
from span_recorder import recording
from suites import RunSuite


class Scripted:
    """A task whose runs follow the case's text: "y" is a yes, "n" a no, "e" an error."""

    def __init__(self) -> None:
        self.runs: dict[str, Iterator[str]] = {}
        self.made: dict[str, int] = {}

    def __call__(self, script: str) -> str:
        found = next(self.runs.setdefault(script, iter(script)))
        self.made[script] = self.made.get(script, 0) + 1
        if found == "e":
            raise RuntimeError("it cannot")
        return found


def is_yes(run: TaskRun) -> bool:
    """Return whether the output is "y", as a scorer."""
    return bool(run.output == "y")


def test_stopping_early_never_changes_the_outcome() -> None:
    """For all sequences of four runs, the outcome is that of all runs, and no run is made after it is decided."""
    scripts = ["".join(found) for found in itertools.product("yne", repeat=4)]
    for min_pass in (0.0, 0.5, 0.75, 1.0):
        task, wanted = Scripted(), ceil(min_pass * 4)
        with recording():
            report = evaluate(scripts, task, [is_yes], repeat=4, min_pass=min_pass)
        for script, case in zip(scripts, report.cases, strict=True):
            assert case.passed == (script.count("y") >= wanted), (script, str(case))
            made = task.made[script]
            decided = next(
                n for n in range(1, 5) if script[:n].count("y") >= wanted or n - script[:n].count("y") > 4 - wanted
            )
            assert made == decided, script
            assert len(case.traces) == made
            assert (case.error is not None) == (script[:made].count("e") > 4 - wanted)


FIXTURES = """
import unittest
made = []

@pytest.fixture(scope="module")
def shared():
    made.append("shared")
    yield
    made.append("shared is over")

@pytest.fixture
def own(request, tmp_path):
    made.append(f"own of {request.node.name}")
    yield tmp_path
    made.append("own is over")

@pytest.mark.pandaprobe(repeat=3)
def test_x(probe, shared, own, pandaprobe_repetition):
    assert not list(own.iterdir())
    (own / "mine").write_text("")
    assert made == ["shared", *["own of test_x", "own is over"] * (pandaprobe_repetition - 1), "own of test_x"]
    assistant("x")
    assert len(probe.traces) == 1

@pytest.mark.pandaprobe(repeat=2)
class TestOld(unittest.TestCase):
    def setUp(self):
        self.value = 1

    def test_method(self):
        self.value += 1
        assert self.value == 2

def test_last(shared):
    assert made[-1] == "own is over"
"""


def test_each_run_has_its_own_fixtures_and_shares_the_others(run_suite: RunSuite) -> None:
    """Function-scoped fixtures are created for each run; module-scoped fixtures are shared."""
    outcome = run_suite(FIXTURES)
    assert outcome.cases == {"test_x": "passed", "TestOld::test_method": "passed", "test_last": "passed"}, outcome.out


TROUBLE = """
@pytest.mark.pandaprobe(repeat=3)
def test_skipped(probe):
    pytest.skip("not here")

@pytest.mark.pandaprobe(repeat=3)
@pytest.mark.skip(reason="never")
def test_marked(probe):
    pass

@pytest.mark.pandaprobe(repeat=3)
@pytest.mark.xfail(reason="known")
def test_known(probe):
    assert False

@pytest.fixture
def broken():
    raise RuntimeError("no")

@pytest.mark.pandaprobe(repeat=3)
def test_setup(probe, broken):
    pass

@pytest.fixture
def leaves():
    yield
    raise RuntimeError("cannot clean up")

@pytest.mark.pandaprobe(repeat=3)
def test_teardown(probe, leaves):
    pass

@pytest.mark.pandaprobe(repeat=2, min_pass=0.5)
def test_after(probe, pandaprobe_repetition):
    assert pandaprobe_repetition == 2
"""


def test_skips_and_broken_fixtures_are_reported_once(run_suite: RunSuite, tmp_path: Path) -> None:
    """A skip or a fixture error is reported once, as in an unrepeated test, and the next test is not affected."""
    outcome = run_suite(TROUBLE, "--pandaprobe-report=r.json")
    assert outcome.cases == {
        "test_skipped": "skipped",
        "test_marked": "skipped",
        "test_known": "skipped",
        "test_setup": "error",
        "test_teardown": "error",
        "test_after": "passed",
    }, outcome.out
    assert "2 passed, 2 skipped, 1 xfailed, 2 errors" in outcome.out
    cases = {case.id.rpartition("::")[2]: (case.outcome, case.error) for case in Report.load(tmp_path / "r.json").cases}
    assert {name: found for name, (found, _) in cases.items()} == {
        "test_setup": "failed",
        "test_teardown": "failed",
        "test_after": "passed",
    }
    assert "RuntimeError: no" in str(cases["test_setup"][1])


@pytest.mark.parametrize("stop", ["raise KeyboardInterrupt", "pytest.exit('enough')"])
def test_a_stopped_run_is_no_evidence(run_suite: RunSuite, tmp_path: Path, stop: str) -> None:
    """A stopped run replaces the earlier report with an incomplete one, which is no evidence."""
    code = "@pytest.mark.pandaprobe(repeat=2)\ndef test_x(probe):\n    assistant('x')\n"
    assert run_suite(code, "--pandaprobe-report=r.json").code == 0
    assert Report.load(tmp_path / "r.json").outcome == "passed"
    assert run_suite(f"{code}\ndef test_y():\n    {stop}\n", "--pandaprobe-report=r.json").code == 2
    report = Report.load(tmp_path / "r.json")
    assert (report.outcome, report.complete, len(report.cases)) == ("no evidence", False, 1)


def test_reports_are_in_the_order_of_the_tests(run_suite: RunSuite, tmp_path: Path) -> None:
    """The report has the order of the tests, even if xdist workers finish in another order."""
    code = """
import time

@pytest.mark.pandaprobe
@pytest.mark.parametrize("n", range(12))
def test_x(probe, n):
    time.sleep(0.05 * (n % 3 == 0))
    assistant(str(n))
"""
    outcome = run_suite(code, "-n", "3", "--pandaprobe-report=r.json", plugins=("xdist",))
    assert outcome.code == 0, outcome.out
    assert [case.id.partition("[")[2] for case in Report.load(tmp_path / "r.json").cases] == [
        f"{n}]" for n in range(12)
    ]


# -- the statistics of verdicts, against their definitions -------------------------------------------------------------


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


def test_the_number_of_passes_that_is_needed() -> None:
    """The needed number of passes is the smallest whose share is at least `min_pass`, without rounding errors."""
    for total, hundredths in itertools.product(range(1, 30), range(101)):
        count = needed(hundredths / 100, total)
        assert count * 100 >= hundredths * total
        assert count == 0 or (count - 1) * 100 < hundredths * total


@pytest.mark.parametrize("count", [2, 3, 7, 11])
def test_a_drop_is_tested_by_flipping_signs(count: int) -> None:
    """The p-value is the share of all sign flips whose sum is at most the observed sum, ties included."""
    source = random.Random(count)
    for _ in range(4):
        tenths = [source.choice([-6, -3, -1, 0, 1, 3]) for _ in range(count)]
        sums = [sum(flipped) for flipped in itertools.product(*((each, -each) for each in tenths))]
        expected = sum(each <= sum(tenths) for each in sums) / len(sums)
        assert chance_of_drop([each / 10 for each in tenths]) == pytest.approx(expected, abs=1e-9)


def test_many_differences_are_tested_by_the_normal_approximation() -> None:
    """Beyond the exact range the p-value is that of a normal distribution whose variance is the sum of squares."""
    source = random.Random(1)
    differences = [source.uniform(-0.5, 0.4) for _ in range(200)]
    spread = sqrt(sum(value * value for value in differences))
    assert chance_of_drop(differences) == pytest.approx(NormalDist().cdf(sum(differences) / spread), abs=1e-12)
