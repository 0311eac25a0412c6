"""A gate needs evidence to pass: the exit code distinguishes passed, failed and no evidence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pandaprobe_otel.evals import Report
from pandaprobe_otel.local import LocalServer
from suites import RunCommand, RunSuite

TASK = """
from pandaprobe_otel import agent

@agent
def answer(question):
    return "it is on its way: " + question

def is_right(run):
    import os
    return os.environ.get("RIGHT", "1") == "1"
"""

COMMAND = ("eval", "cases.jsonl", "--task", "shop:answer")
JUDGED = ("--metric", "task_completion=0.7")
FREE = ("--scorer", "shop:is_right")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return a folder with a task and four cases."""
    (tmp_path / "shop.py").write_text(TASK)
    (tmp_path / "cases.jsonl").write_text("".join(f'{{"id": "c{n}", "input": "q{n}"}}\n' for n in range(4)))
    return tmp_path


def test_a_baseline_does_not_replace_the_thresholds(shop: Path, run_command: RunCommand) -> None:
    """Every case fails its threshold, although four cases are too few for a significant drop."""
    assert run_command(*COMMAND, *FREE, "--report", "base.json").returncode == 0
    done = run_command(*COMMAND, *FREE, "--baseline", "base.json", RIGHT="0")
    assert done.returncode == 1, done.stdout
    assert "too few cases to tell: 5 or more would be enough" in done.stdout


def test_a_case_without_judgements_is_no_evidence(
    shop: Path, run_command: RunCommand, project: dict[str, str], server: LocalServer
) -> None:
    """Without judgements, exit code, terminal and report say "no evidence", with and without a baseline."""
    assert run_command(*COMMAND, *JUDGED, "--report", "base.json", **project).returncode == 0
    server.judge.fail("task_completion", "the provider is on strike")
    for baseline in ((), ("--baseline", "base.json")):
        done = run_command(*COMMAND, *JUDGED, *baseline, "--report", "r.json", "--report", "r.html", **project)
        assert done.returncode == 6, done.stdout
        assert "nothing was judged: 4 without evidence" in done.stdout
        assert "%" not in done.stdout
        assert json.loads((shop / "r.json").read_text())["outcome"] == "no evidence"
        assert "no evidence</span></h1>" in (shop / "r.html").read_text()
        allowed = run_command(*COMMAND, *JUDGED, *baseline, "--allow-no-evidence", **project)
        assert allowed.returncode == 0, allowed.stdout


def test_a_server_that_is_away_is_no_evidence(shop: Path, run_command: RunCommand) -> None:
    """If the server is unreachable, nothing is judged, and the outcome is no evidence."""
    assert run_command(*COMMAND, *FREE, "--report", "base.json").returncode == 0
    away = {"PANDAPROBE_ENDPOINT": "http://127.0.0.1:9", "PANDAPROBE_API_KEY": "sk", "PANDAPROBE_SHUTDOWN_TIMEOUT": "0"}
    done = run_command(
        *COMMAND, *JUDGED, "--deliver-within", "0.2", "--wait-timeout", "1", "--baseline", "base.json", **away
    )
    assert done.returncode == 6, done.stdout


def test_without_any_metric_nothing_is_known(shop: Path, run_command: RunCommand) -> None:
    """Without metrics the outcome is no evidence, although the task completed."""
    done = run_command(*COMMAND, "--report", "r.json")
    assert done.returncode == 6, done.stdout
    assert "no metric was judged" in done.stdout
    assert Report.load(shop / "r.json").outcome == "no evidence"


def test_a_baseline_of_other_cases_is_no_evidence(shop: Path, run_command: RunCommand) -> None:
    """A baseline without common cases is no evidence."""
    assert run_command(*COMMAND, *FREE, "--report", "base.json").returncode == 0
    (shop / "cases.jsonl").write_text('{"id": "other", "input": "q"}\n')
    done = run_command(*COMMAND, *FREE, "--baseline", "base.json")
    assert done.returncode == 6, done.stdout
    assert "no case in common" in done.stdout


def test_a_share_of_the_cases_may_be_asked_for(shop: Path, run_command: RunCommand) -> None:
    """`--pass-rate` accepts a dataset with known failures, and the report has the same outcome."""
    (shop / "shop.py").write_text(TASK + "\ndef most(run):\n    return run.case.id != 'c3'\n")
    command = (*COMMAND, "--scorer", "shop:most", "--report", "r.json")
    assert run_command(*command).returncode == 1
    assert run_command(*command, "--pass-rate", "0.75").returncode == 0
    assert Report.load(shop / "r.json").outcome == "passed"


def test_a_threshold_for_all_is_one_of_scorers_too(shop: Path, run_command: RunCommand) -> None:
    """`--threshold` applies to all metrics, including scorers, or to one metric by name."""
    (shop / "shop.py").write_text(TASK + "\ndef half(run):\n    return 0.6\n")
    command = (*COMMAND, "--scorer", "shop:half")
    assert run_command(*command).returncode == 0
    assert run_command(*command, "--threshold", "0.7").returncode == 1
    assert run_command(*command, "--threshold", "0.7", "--threshold", "half=0.6").returncode == 0
    refused = run_command(*command, "--threshold", "other=0.6")
    assert (refused.returncode, "other has a threshold" in refused.stderr) == (4, True)


def test_a_suite_may_allow_what_has_no_evidence(run_suite: RunSuite, project: dict[str, str], tmp_path: Path) -> None:
    """If a suite allows missing evidence, the verdict is skipped, not passed."""
    code = """
@pytest.mark.pandaprobe(metrics=["task_completion"])
def test_no_trace(probe):
    assert probe.traces == ()
"""
    env = {**project, "PANDAPROBE_PYTEST": "eval"}
    outcome = run_suite(code, "--pandaprobe-report=r.json", **env)
    assert (outcome.code, list(outcome.verdicts.values())) == (1, ["error"]), outcome.out
    assert Report.load(tmp_path / "r.json").outcome == "no evidence"
    outcome = run_suite(code, "--pandaprobe-allow-no-evidence", **env)
    assert (outcome.code, list(outcome.verdicts.values())) == (0, ["skipped"]), outcome.out
