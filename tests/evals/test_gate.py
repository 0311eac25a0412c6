"""Exit codes and the gate: what passes, what is no evidence, and decisions with other thresholds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pandaprobe_otel.evals import Report
from pandaprobe_otel.local import LocalServer
from suites import RunCommand, RunSuite

SHOP = """
from pandaprobe_otel import agent

@agent
def answer(question):
    with open("ran", "a") as file:
        file.write("x")
    return "it is on its way: " + question

def score(run):
    return float(run.case.expected)
"""


@pytest.fixture
def run(tmp_path: Path, run_command: RunCommand, server: LocalServer, project: dict[str, str]) -> Path:
    """Return the folder of a finished run of four cases, judged 0.6 and scored 0.2 to 0.8."""
    server.judge.set("task_completion", 0.6, "so so")
    (tmp_path / "shop.py").write_text(SHOP)
    lines = [json.dumps({"id": f"c{n}", "input": "q", "expected": f"0.{2 * n + 2}"}) for n in range(4)]
    (tmp_path / "cases.jsonl").write_text("\n".join(lines))
    command = ("evals", "run", "cases.jsonl", "--task", "shop:answer", "--scorer", "shop:score")
    done = run_command(*command, "--metric", "task_completion=0.5", "--report", "run.json", **project)
    assert done.returncode == 1, done.stdout
    (tmp_path / "ran").unlink()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 1, "failed: 2/4 passed"),
        (("--threshold", "score=0.2"), 0, "passed: 4/4 passed"),
        (("--metric", "task_completion=0.7"), 1, "task_completion 0.60 < 0.70: so so"),
        (("--metric", "task_completion", "--threshold", "0.7"), 1, "failed: 0/4 passed"),
        (("--pass-rate", "0.5"), 0, "passed: 2/4 passed"),
        (("--metric", "tone=0.5"), 4, "tone is not a metric of this run; its metrics are task_completion, score"),
        (("--report", "r.pdf"), 4, "must end in .json, .md or .html"),
    ],
)
def test_the_command(run: Path, run_command: RunCommand, arguments: tuple[str, ...], code: int, words: str) -> None:
    """Exit codes are those of `eval`; the command needs no server and does not run the task."""
    done = run_command("evals", "gate", "run.json", *arguments)
    assert (done.returncode, words in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
    assert not (run / "ran").exists()


def test_without_evidence_it_is_6(run: Path, run_command: RunCommand) -> None:
    """Without judgements the exit code is 6 for any threshold, unless missing evidence is allowed."""
    (run / "scorers.py").write_text("def unknown(run): raise LookupError('no provider')\n")
    command = ("evals", "run", "cases.jsonl", "--task", "shop:answer", "--scorer", "scorers:unknown")
    assert run_command(*command, "--report", "lost.json").returncode == 6
    for more in ((), ("--threshold", "0.1")):
        assert run_command("evals", "gate", "lost.json", *more).returncode == 6
        assert run_command("evals", "gate", "lost.json", "--allow-no-evidence", *more).returncode == 0


def test_a_suite_can_be_gated_if_its_report_has_evidence(
    judged: RunSuite, run_command: RunCommand, server: LocalServer
) -> None:
    """A report of pytest can be gated too."""
    server.judge.set("task_completion", 0.6, "so so")
    code = """
@pytest.mark.pandaprobe(metrics={"task_completion": 0.5}, repeat=2)
def test_x(probe):
    assistant("x")

@pytest.mark.pandaprobe
def test_own(probe):
    assert False
"""
    assert judged(code, "--pandaprobe-report=run.json").code == 1
    assert run_command("evals", "gate", "run.json", "--pass-rate", "0.5").returncode == 0
    done = run_command("evals", "gate", "run.json", "--metric", "task_completion=0.7", "--pass-rate", "0.5")
    assert (done.returncode, "0/2 passed" in done.stdout) == (1, True), done.stdout


TASK = """
from pandaprobe_otel import agent

@agent
def answer(question):
    return "it is on its way: " + question

def is_right(run):
    import os
    return os.environ.get("RIGHT", "1") == "1"

def most(run):
    return run.case.id != "c3"

def half(run):
    return 0.6
"""

COMMAND = ("evals", "run", "cases.jsonl", "--task", "shop:answer")
BY_JUDGE = ("--metric", "task_completion=0.7")
FREE = ("--scorer", "shop:is_right")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return a folder with a task and four cases."""
    (tmp_path / "shop.py").write_text(TASK)
    (tmp_path / "cases.jsonl").write_text("".join(f'{{"id": "c{n}", "input": "q{n}"}}\n' for n in range(4)))
    return tmp_path


OTHER = '{"id": "other", "input": "q"}\n'
AWAY = {"PANDAPROBE_ENDPOINT": "http://127.0.0.1:9", "PANDAPROBE_API_KEY": "sk", "PANDAPROBE_SHUTDOWN_TIMEOUT": "0"}
BASE = ("--baseline", "base.json")


@pytest.mark.parametrize(
    ("options", "cases", "variables", "code", "words"),
    [
        ((*FREE, *BASE), None, {"RIGHT": "0"}, 1, "too few cases to"),
        ((), None, {}, 6, "no metric was judged"),
        ((*FREE, *BASE), OTHER, {}, 6, "No common case has evidence"),
        ((*BY_JUDGE, *BASE, "--deliver-within", "0.2", "--wait-timeout", "1"), None, AWAY, 6, "without evidence"),
        (("--scorer", "shop:most"), None, {}, 1, "3/4 passed"),
        (("--scorer", "shop:most", "--pass-rate", "0.75"), None, {}, 0, "3/4 passed"),
    ],
)
def test_exit_codes(
    shop: Path,
    run_command: RunCommand,
    options: tuple[str, ...],
    cases: str | None,
    variables: dict[str, str],
    code: int,
    words: str,
) -> None:
    """A baseline does not replace thresholds; no metric, no common case and no server are no evidence."""
    assert run_command(*COMMAND, *FREE, "--report", "base.json").returncode == 0
    if cases:
        (shop / "cases.jsonl").write_text(cases)
    done = run_command(*COMMAND, *options, "--report", "r.json", **variables)
    assert (done.returncode, words in done.stdout) == (code, True), done.stdout
    if BASE[0] not in options:
        assert Report.load(shop / "r.json").outcome == {0: "passed", 1: "failed", 6: "no evidence"}[code]


def test_a_threshold_for_all_is_one_of_scorers_too(shop: Path, run_command: RunCommand) -> None:
    """`--threshold` applies to all metrics, including scorers, or to one metric by name."""
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
