"""`pandaprobe-otel evals run`, for CI: a task over a dataset, and stored traces and sessions."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from pandaprobe_otel.api import Client
from pandaprobe_otel.evals import Report
from pandaprobe_otel.local import LocalServer
from suites import RunCommand, RunSuite

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)

TASK = """
from pandaprobe_otel import agent, tool

@tool
def look_up(number):
    return {"number": number}

@agent
def answer(question):
    look_up(number="A-17")
    return "it is on its way: " + question

def looks_up_once(run):
    run.spans.tool("look_up").called(times=1)
"""


def test_a_task_over_a_dataset(
    run_command: RunCommand, server: LocalServer, project: dict[str, str], tmp_path: Path
) -> None:
    """The command writes JSON, reports, GitHub's summary and annotations, and compares with a baseline."""
    (tmp_path / "shop.py").write_text(TASK)
    (tmp_path / "cases.jsonl").write_text("".join(f'{{"id": "c{n}", "input": "q{n}"}}\n' for n in range(6)))
    env = {**project, "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    command = ("evals", "run", "cases.jsonl", "--task", "shop:answer", "--scorer", "shop:looks_up_once")
    judged = (*command, "--metric", "task_completion=0.7")

    done = run_command(*judged, "--report", "r.json", "--report", "r.html", **env)
    assert done.returncode == 0, done.stderr
    assert "6/6 passed" in done.stdout
    assert "= 6 evaluations" in done.stderr
    assert "::error" not in done.stdout
    assert "<table>" in (tmp_path / "r.html").read_text()

    server.judge.set("task_completion", 0.3, "worse")
    done = run_command(*judged, "--baseline", "r.json", "--format", "json", **env)
    assert done.returncode == 1
    assert json.loads(done.stdout)["regressions"] == ["task_completion", "passed"]
    assert "::error title=answer%3A c0::task_completion 0.30 < 0.70: worse" in done.stderr
    assert "### ✘ `answer` failed" in (tmp_path / "summary.md").read_text()

    repeated = run_command(*command, "--repeat", "3", "--min-pass", "0.3", "--report", "free.json")
    assert repeated.returncode == 0, repeated.stderr
    assert {len(case.traces) for case in Report.load(tmp_path / "free.json").cases} == {1}


STOPPED = """
def answer(question):
    if question == "q2":
        raise KeyboardInterrupt
    return question

def is_right(run):
    return True
"""


def test_a_stopped_run_is_no_evidence(run_command: RunCommand, tmp_path: Path) -> None:
    """A stopped run replaces the earlier report, and its part of the cases does not pass."""
    (tmp_path / "shop.py").write_text(STOPPED)
    (tmp_path / "cases.jsonl").write_text("".join(f'{{"id": "c{n}", "input": "q{n}"}}\n' for n in range(6)))
    (tmp_path / "well.jsonl").write_text("".join(f'{{"id": "c{n}", "input": "q"}}\n' for n in range(6)))
    options = ("--task", "shop:answer", "--scorer", "shop:is_right", "--concurrency", "1", "--report", "run.json")
    assert run_command("evals", "run", "well.jsonl", *options).returncode == 0
    done = run_command("evals", "run", "cases.jsonl", *options, "--baseline", "run.json")
    assert done.returncode == 130, done.stderr
    assert "no evidence: " in done.stdout
    report = Report.load(tmp_path / "run.json")
    assert (report.complete, report.outcome) == (False, "no evidence")
    assert [case.id for case in report.cases[:2]] == ["c0", "c1"]
    assert "c2" not in {case.id for case in report.cases}
    assert run_command("evals", "gate", "run.json").returncode == 6


def test_stored_traces_and_sessions_are_cases(
    run_command: RunCommand,
    server: LocalServer,
    project: dict[str, str],
    project_client: Client,
    tmp_path: Path,
) -> None:
    """Each stored trace and session is a case; trace metrics judge the traces, session metrics the sessions."""
    for n, session in enumerate(("talk", "talk", None)):
        project_client.traces.create(name="t", started_at=NOW, input=f"q{n}", output="a", session_id=session)
    alone = next(iter(project_client.traces.iter(name="t"))).trace_id
    server.judge.set("task_completion", lambda trace: 0.2 if trace["input"] == "q1" else 0.9, "judged")
    for signal in ("confidence", "coherence", "loop_detection", "tool_correctness"):
        server.judge.set(signal, 0.9)

    one = run_command("evals", "run", "--trace", str(alone), "--metric", "task_completion=0.1", **project)
    assert (one.returncode, "1/1 passed" in one.stdout) == (0, True), one.stderr

    both = ("evals", "run", "--session", "talk", "--metric", "agent_reliability", "--metric", "task_completion=0.7")
    env = {**project, "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    done = run_command(*both, "--report", "r.json", **env)
    assert done.returncode == 1, done.stderr
    report = Report.load(tmp_path / "r.json")
    assert [(case.id == "talk", len(case.traces)) for case in report.cases] == [(True, 2), (False, 1), (False, 1)]
    assert [case.outcome for case in report.cases if case.id != "talk"] == ["passed", "failed"]
    assert [result.metric for result in report.cases[0].results] == ["agent_reliability"]
    assert "::error title=sessions%3A " in done.stdout
    (page, *_) = re.findall(rf"^  ({server.url}/ui/traces/[0-9a-f-]+)$", done.stdout, re.MULTILINE)
    assert httpx.get(page, follow_redirects=True).status_code == 200
    assert "### ✘ `sessions` failed" in (tmp_path / "summary.md").read_text()

    again = run_command(*both, "--max-evals", "2", **project)
    assert "= 3 evaluations, but the limit is 2 in total" in again.stdout
    assert again.returncode == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cases.jsonl", "--task", "nowhere:f"), "nowhere:f cannot be loaded"),
        (("cases.jsonl", "--task", "json:loads", "--metric", "x=high"), "'high' is not a number"),
        (("cases.jsonl", "--task", "json:loads", "--report", "r.pdf"), "must end in .json, .md or .html"),
        (("cases.jsonl", "--task", "json:loads", "--report", "cases.jsonl/r.md"), "r.md cannot be written"),
        (("cases.jsonl", "--task", "json:loads", "--judge-url", "http://x"), "--judge-url needs --judge"),
        (("cases.jsonl", "--task", "json:loads", "--refresh"), "--refresh needs --cache"),
        (("cases.jsonl",), "nothing to judge: pass DATASET with --task, --trace, or --session"),
        (("--session", "s", "--metric", "m", "--repeat", "2"), "--repeat needs DATASET"),
        (("--session", "s", "--metric", "nonsense"), "nonsense is not a metric of traces; the metrics are "),
        (("--trace", "0" * 32, "--metric", "agent_reliability"), "agent_reliability judges sessions, but no session"),
    ],
)
def test_invalid_options_end_with_exit_code_4(
    run_command: RunCommand, project: dict[str, str], tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    """Invalid options end with exit code 4 and one line."""
    (tmp_path / "cases.jsonl").write_text('{"input": 1}\n')
    done = run_command("evals", "run", *arguments, **project)
    assert (done.returncode, words in done.stderr) == (4, True), done.stderr


def test_a_suite_in_github_actions(judged: RunSuite, server: LocalServer, tmp_path: Path) -> None:
    """A pytest run writes the summary of the job, and an annotation at the failed test."""
    reason = "a,b: 100%\nnext"  # encoded as GitHub's runner decodes it
    server.judge.set("task_completion", lambda trace: 0.2 if "bad" in str(trace["input"]) else 0.9, reason)
    code = """
@pytest.mark.pandaprobe(metrics=["task_completion"])
@pytest.mark.parametrize("what", ["good", "bad"])
def test_x(probe, what):
    assistant(what)
"""
    github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    outcome = judged(code, **github)
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("::error")]
    assert line.startswith("::error file=test_suite.py,line=")
    assert line.endswith(
        "title=test suite%3A test_suite.py%3A%3Atest_x[bad]::task_completion 0.20 < 0.50: a,b: 100%25%0Anext"
    )
    assert "1/2 passed" in (tmp_path / "summary.md").read_text()
