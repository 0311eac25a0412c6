"""The progress of an evaluation: a line every 10 s."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pandaprobe_otel.evals.progress import Tally, Ticker
from provider_server import ProviderServer
from suites import RunCommand, RunSuite


def test_a_line_each_ten_seconds() -> None:
    """Progress is logged at most every ten seconds, and not at all for a short evaluation."""
    lines, now = list[str](), [0.0]
    ticker = Ticker(lines.append, clock=lambda: now[0])
    tally = Tally(what="cases", total=100)
    for _ in range(100):
        now[0] += 0.3
        tally.add(failed=False, cost=0.01)
        ticker.tick(lambda: tally)
    assert lines == [
        "34 of 100 cases, $0.34 so far, about 20 s left",
        "68 of 100 cases, $0.68 so far, about 10 s left",
    ]


@pytest.mark.parametrize(
    ("done", "failed", "cost", "seconds", "shown"),
    [
        (0, 0, None, 30.0, "0 of 40 cases"),
        (10, 0, None, 30.0, "10 of 40 cases, about 90 s left"),
        (10, 2, 0.01234, 60.0, "10 of 40 cases, 2 failed, $0.01234 so far, about 3 min left"),
        (1, 0, None, 3600.0, "1 of 40 cases, about 39.0 h left"),
        (40, 1, 2.0, 60.0, "40 of 40 cases, 1 failed, $2 so far"),
    ],
)
def test_the_state_in_one_line(done: int, failed: int, cost: float | None, seconds: float, shown: str) -> None:
    """The line omits unknown values."""
    assert Tally(what="cases", total=40, done=done, failed=failed, cost=cost).text(seconds) == shown


@pytest.mark.parametrize(
    "workers", [pytest.param((), id="one process"), pytest.param(("-n", "2"), id="xdist", marks=pytest.mark.outer)]
)
def test_a_suite_shows_its_progress(judged: RunSuite, tmp_path: Path, workers: tuple[str, ...]) -> None:
    """Progress counts the tests of all xdist workers, and then the judge's evaluations."""
    (tmp_path / "conftest.py").write_text("from pandaprobe_otel.evals import progress\nprogress.EVERY_S = 0.0\n")
    code = """
@pytest.mark.pandaprobe(metrics=["task_completion"])
@pytest.mark.parametrize("number", range(3))
def test_x(probe, number):
    assistant(str(number))
    assert number != 1

def test_not_marked():
    pass
"""
    outcome = judged(code, *workers, plugins=("xdist",) if workers else ())
    lines = [line.partition(", about")[0] for line in outcome.out.splitlines() if "traced tests" in line]
    assert [line.partition(" of")[0] for line in lines] == [f"pandaprobe: {n}" for n in (1, 2, 3)]
    assert lines[-1] == "pandaprobe: 3 of 3 traced tests, 1 failed"
    assert "pandaprobe: 2 of 2 judged (task_completion)" in outcome.out


JUDGED = """
from pandaprobe_otel.evals import progress
progress.EVERY_S = 0.0

def is_right(run):
    return True

def answer(question):
    return question
"""


@pytest.mark.parametrize(
    "command",
    [
        ("evals", "run", "cases.jsonl", "--task", "shop:answer", "--metric", "task_completion"),
        ("evals", "agreement", "cases.jsonl", "--metric", "task_completion"),
    ],
    ids=" ".join,
)
def test_a_judge_of_ones_own_shows_its_progress(
    endpoint: ProviderServer, run_command: RunCommand, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """A local judge's progress counts evaluations, including those without an answer."""

    (tmp_path / "shop.py").write_text(JUDGED)
    cases = ({"input": what, "output": "a", "label": "yes"} for what in ("first", "is down", "third"))
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)))
    done = run_command(*command, "--scorer", "shop:is_right", "--judge", "m", "--judge-url", endpoint.url)
    assert "3 of 3 judged (task_completion), 1 failed" in done.stderr
    assert ("3 of 3 judged (is_right)" in done.stderr) == (command[1] == "agreement")
