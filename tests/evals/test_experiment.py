"""`evaluate()` and `pandaprobe-otel eval`, as programs run them."""

from __future__ import annotations

import json
import unittest
from pathlib import Path

import pytest

from command_line import clean_environment, run_command_line
from pandaprobe_otel import tool
from pandaprobe_otel.evals import Report, TaskRun, evaluate
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
    assert [case.outcome for case in report.cases] == ["passed", "passed", "error", "failed", "failed", "failed"]
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
    assert [case.outcome for case in report.cases] == ["passed", "failed", "error"]
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
    assert done.stdout.startswith("the judge cannot be asked: no API key: set PANDAPROBE_API_KEY"), done.stderr


def test_the_command_for_ci(server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code, JSON, reports, comparison with a baseline, the job's summary and annotations."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.py").write_text(TASK)
    (tmp_path / "cases.jsonl").write_text("".join(f'{{"id": "c{n}", "input": "q{n}"}}\n' for n in range(6)))
    settings = {"PANDAPROBE_ENDPOINT": server.url, "PANDAPROBE_API_KEY": "sk_pp_1"}
    github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    env = clean_environment(tmp_path, **settings, **github)
    command = ("eval", "cases.jsonl", "--task", "shop:answer", "--scorer", "shop:looks_up_once")
    judged = (*command, "--metric", "task_completion=0.7", "--report", "r.json", "--report", "r.html")

    done = run_command_line(*judged, environment=env)
    assert done.returncode == 0, done.stderr
    assert "6/6 passed" in done.stdout
    assert "= 6 evaluations" in done.stderr
    assert "<table>" in (tmp_path / "r.html").read_text()

    server.judge.set("task_completion", 0.3, "worse")
    done = run_command_line(*judged[:-4], "--baseline", "r.json", "--format", "json", environment=env)
    assert done.returncode == 1
    assert json.loads(done.stdout)["regressions"] == ["task_completion", "passed"]
    assert "::error title=answer%3A c0::task_completion 0.30 < 0.70: worse" in done.stderr
    assert "## answer: failed" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--task", "nowhere:f"), "nowhere:f cannot be loaded"),
        (("--task", "json:loads", "--metric", "x=high"), "'high' is not a number"),
        (("--task", "json:loads", "--baseline", "cases.jsonl"), "is not a report"),
    ],
)
def test_the_command_refuses_what_cannot_be_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    """Exit code 4 and one line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases.jsonl").write_text('{"input": 1}\n')
    done = run_command_line("eval", "cases.jsonl", *arguments, environment=clean_environment(tmp_path))
    assert (done.returncode, said in done.stderr) == (4, True), done.stderr
