"""`evaluate()` and `pandaprobe-otel eval`, as programs run them."""

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
    """A tool."""
    return 2 * value


async def work(value: int) -> int:
    """A task, asynchronous."""
    if value == 3:
        raise RuntimeError("three")
    return double(value)


def calls_double(run: TaskRun) -> None:
    """A scorer that asserts about spans."""
    run.spans.tool("double").called(times=1).with_args(value=run.case.input)


def is_small(run: TaskRun) -> float:
    """A scorer that gives a number."""
    return 1.0 if run.output < 8 else 0.25


def cannot(run: TaskRun) -> float:
    """A scorer that fails."""
    raise KeyError(run.case.id)


def test_offline_with_scorers_of_ones_own() -> None:
    """Cases run at once, each with its own trace; assertions and numbers decide; failures stay with their cases."""
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
    """Neither is a number beyond 0 to 1."""
    with recording():
        report = evaluate([1], work, metrics=[cannot, lambda run: 7])
    assert [result.finding for result in report.cases[0].results] == ["error", "error"]
    assert "KeyError: '1'" in str(report)


async def looks_later(run: TaskRun) -> bool:
    """A scorer that waits, as one that asks a model does."""
    await asyncio.sleep(0)
    return bool(run.output == 2)


class OddError(Exception):
    """One that has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class OddAssertionError(OddError, AssertionError):
    """The same of a scorer."""


def test_no_exception_ends_the_evaluation_or_fills_the_report() -> None:
    """Of the task, of a scorer, of an agent and of a simulated user: one without a text, and a very long one."""

    def raising(error: Exception) -> Callable[[Any], Any]:
        def raises(given: Any) -> Any:
            raise error

        return raises

    def says_nothing(run: TaskRun) -> None:
        """A scorer."""

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
    """A coroutine function is one as well."""
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
    """Before anything runs, with the signature that it should have."""
    with pytest.raises(ValueError, match=f"{said}.*a scorer is called with one TaskRun"):
        evaluate([1], lambda value: pytest.fail("it ran"), metrics=[scorer])


@pytest.mark.parametrize("thresholds", [{"other": 0.5}, 1.5, {"is_small": -1}])
def test_thresholds_that_cannot_be_meant(thresholds: dict[str, float] | float) -> None:
    """A threshold of nothing, or out of range, is refused before anything runs."""
    with pytest.raises(ValueError, match="threshold"):
        evaluate([1], work, metrics=[is_small], thresholds=thresholds)


class InUnittest(unittest.TestCase):
    """The same in a test case of unittest."""

    def test_it(self) -> None:
        """A green report asserts nothing."""
        with recording():
            evaluate([1, 2], work, metrics=[is_small]).assert_passed()


def test_judged_by_pandaprobe(server: LocalServer, tmp_path: Path) -> None:
    """A script of its own: traces are sent, judged in one batch, and a "no" is shown with the judge's reason."""
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
    """It is said before the task runs."""
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
    """`pandaprobe_otel.evaluate` is the same function."""
    assert pandaprobe_otel.evaluate is evaluate
