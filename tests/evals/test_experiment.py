"""`evaluate()` and `pandaprobe-otel eval`, as programs call them."""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pandaprobe_otel
from pandaprobe_otel import tool
from pandaprobe_otel.evals import Report, Simulation, TaskRun, evaluate, goal_reached
from pandaprobe_otel.local import LocalServer
from span_recorder import recording
from subprocesses import environment, run_python

TASK = """
from pandaprobe_otel import agent, tool

@tool
def look_up(number):
    return {"number": number}

@agent
def answer(question):
    look_up(number="A-17")
    if "crash" in question:
        raise ValueError("cannot")
    return "it is on its way: " + question

async def aanswer(question):
    return answer(question)

def looks_up_once(run):
    run.spans.tool("look_up").called(times=1)
"""


@tool
def double(value: int) -> int:
    """Return twice the value, as a tool."""
    return 2 * value


async def work(value: int) -> int:
    """Call the tool, as an asynchronous task."""
    if value == 3:
        raise RuntimeError("three")
    return double(value)


def calls_double(run: TaskRun) -> None:
    """Check the spans, as a scorer."""
    run.spans.tool("double").called(times=1).with_args(value=run.case.input)


def is_small(run: TaskRun) -> float:
    """Return a number, as a scorer."""
    return 1.0 if run.output < 8 else 0.25


def cannot(run: TaskRun) -> float:
    """Fail, as a scorer."""
    raise KeyError(run.case.id)


def test_offline_with_scorers_of_ones_own() -> None:
    """Cases run concurrently with a trace each; assertions and numbers decide; a failure concerns only its case."""
    with recording():
        report = evaluate(range(1, 7), work, metrics=[calls_double, is_small], thresholds={"is_small": 0.5})
    assert [case.outcome for case in report.cases] == ["passed", "passed", "failed", "failed", "failed", "failed"]
    assert [case.output for case in report.cases] == [2, 4, None, 8, 10, 12]
    assert report.cases[2].error == "RuntimeError: three"
    assert report.means["calls_double"] == 1.0
    assert [len(case.traces) for case in report.cases] == [1] * 6
    names = [[span["name"] for span in case.traces[0]["spans"]] for case in report.cases]
    assert names == [["work", "double"]] * 2 + [["work"]] + [["work", "double"]] * 3
    with pytest.raises(AssertionError, match="2/6 passed"):
        report.assert_passed()


def test_a_scorer_that_fails_is_no_verdict() -> None:
    """An exception in a scorer and a number outside of 0 to 1 are errors, not verdicts."""
    with recording():
        report = evaluate([1], work, metrics=[cannot, lambda run: 7])
    assert [result.finding for result in report.cases[0].results] == ["error", "error"]
    assert "KeyError: '1'" in str(report)


async def looks_later(run: TaskRun) -> bool:
    """Wait before scoring, like a scorer that asks a model."""
    await asyncio.sleep(0)
    return bool(run.output == 2)


class OddError(Exception):
    """An exception without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class OddAssertionError(OddError, AssertionError):
    """An assertion without a text."""


def test_no_exception_ends_the_evaluation_or_fills_the_report() -> None:
    """Exceptions without or with a long text, in a task, scorer, agent or simulated user, do not break the report."""

    def raising(error: Exception) -> Callable[[Any], Any]:
        def raises(given: Any) -> Any:
            raise error

        return raises

    def says_nothing(run: TaskRun) -> None:
        """Give no score, as a scorer."""

    for error in (OddError(), OddAssertionError(), ValueError("x" * 1_000_000)):
        fails = raising(error)
        with recording():
            reports = [
                evaluate(["q"], fails, [says_nothing]),
                evaluate(["q"], str, [fails]),
                evaluate([["hello"]], Simulation(fails), [goal_reached]),
                evaluate([{"input": fails}], Simulation(str), [goal_reached]),
            ]
        assert [report.passed for report in reports] == [False] * 4
        assert max(len(str(report)) for report in reports) < 30_000


def test_a_scorer_may_wait() -> None:
    """A scorer may be a coroutine function."""
    with recording():
        report = evaluate([1, 2], work, metrics=[looks_later])
    assert [case.outcome for case in report.cases] == ["passed", "failed"]


@pytest.mark.parametrize(
    ("scorer", "said"),
    [
        (lambda: True, "takes no argument"),
        (lambda run, expected: True, "needs 'expected' as well"),
        (lambda *, run: True, "takes no argument"),
    ],
)
def test_a_scorer_that_cannot_be_called_is_refused(scorer: Any, said: str) -> None:
    """A scorer with a wrong signature is refused before anything runs, with the expected signature."""
    with pytest.raises(ValueError, match=f"{said}.*a scorer is called with one TaskRun"):
        evaluate([1], lambda value: pytest.fail("it ran"), metrics=[scorer])


@pytest.mark.parametrize("thresholds", [{"other": 0.5}, 1.5, {"is_small": -1}])
def test_thresholds_that_cannot_be_meant(thresholds: dict[str, float] | float) -> None:
    """An empty threshold or one out of range is refused before anything runs."""
    with pytest.raises(ValueError, match="threshold"):
        evaluate([1], work, metrics=[is_small], thresholds=thresholds)


class InUnittest(unittest.TestCase):
    """`assert_passed()` in a test case of unittest."""

    def test_it(self) -> None:
        """A report that passed raises nothing."""
        with recording():
            evaluate([1, 2], work, metrics=[is_small]).assert_passed()


def test_judged_by_pandaprobe(server: LocalServer, tmp_path: Path) -> None:
    """A script sends its traces and has them judged in one batch; a "no" is shown with the judge's reason."""
    server.judge.set("task_completion", lambda trace: 0.2 if "two" in str(trace["input"]) else 0.9, "judged")
    (tmp_path / "shop.py").write_text(TASK)
    code = f"""
    import sys; sys.path.insert(0, {str(tmp_path)!r})
    from shop import aanswer
    from pandaprobe_otel.evals import evaluate
    report = evaluate(["one", "two", "crash"], aanswer, {{"task_completion": 0.7}}, concurrency=2)
    report.save({str(tmp_path / "r.json")!r})
    """
    done = run_python(code, environment(server.url), set_up=False)
    assert done.returncode == 0, done.stderr
    assert "pandaprobe: 2 traces × 1 metric = 2 evaluations" in done.stderr
    report = Report.load(tmp_path / "r.json")
    assert [case.outcome for case in report.cases] == ["passed", "failed", "failed"]
    assert report.cases[1].results[0].text == "task_completion 0.20 < 0.70: judged"


def test_without_a_key_the_judge_cannot_be_asked(tmp_path: Path) -> None:
    """A missing key is an error before the task runs."""
    code = """
    from pandaprobe_otel.evals import evaluate
    from pandaprobe_otel.errors import ConfigError
    try:
        evaluate(["x"], lambda value: print("ran"), "task_completion")
    except ConfigError as error:
        print(error)
    """
    done = run_python(code, {**environment(), "HOME": str(tmp_path)}, set_up=False)
    assert done.stdout.startswith("the judge cannot be called: no API key: set PANDAPROBE_API_KEY"), done.stderr


def test_evaluate_is_at_the_top() -> None:
    """`pandaprobe_otel.evaluate` is `evals.evaluate`."""
    assert pandaprobe_otel.evaluate is evaluate
