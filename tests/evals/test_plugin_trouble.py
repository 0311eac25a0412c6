"""Errors while a suite is judged: nothing passes silently, and each error is reported."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from pandaprobe_otel.api import Client
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.local.routes import runs
from suites import RunSuite
from waiting import PATIENCE_S

ONE = """
@pytest.mark.pandaprobe(metrics={"task_completion": 0.7, "step_efficiency": 0.5})
def test_good(probe):
    assistant("x")
"""

TROUBLED = """
@pytest.mark.pandaprobe(metrics=["step_efficiency"])
@pytest.mark.parametrize("n", ["seen", "deleted"])
def test_score(probe, n):
    assistant(n)

@pytest.mark.pandaprobe(metrics=["plan_quality"])
def test_failed(probe):
    assistant("x")

@pytest.mark.pandaprobe(metrics=["plan_adherence"])
def test_crashed(probe):
    assistant("x")

@pytest.mark.pandaprobe(metrics=["confidence"])
def test_quota(probe):
    assistant("x")
"""


def test_each_trouble_is_the_error_of_its_own_verdict(
    judged: RunSuite, server: LocalServer, project_client: Client
) -> None:
    """A missing score, a failing metric, a FAILED run and a used-up quota are errors of their own verdicts.

    Functions of the scripted judge cause the errors while the runs are judged.
    """

    def delete_the_other(trace: Mapping[str, Any]) -> float:
        others = [other.trace_id for other in project_client.traces.iter(name="assistant")]
        found = [project_client.traces.get(other) for other in others]
        project_client.traces.delete_many([other.trace_id for other in found if "deleted" in str(other.input)])
        return 0.9

    def crash(trace: Mapping[str, Any]) -> float:
        server.faults.quota_used_up = True
        raise RuntimeError("the worker fell over")

    server.judge.set("step_efficiency", delete_the_other)
    server.judge.fail("plan_quality", "the provider is on strike")
    server.judge.set("plan_adherence", crash)
    outcome = judged(TROUBLED, "--pandaprobe-timeout=1")
    assert outcome.verdicts == {
        "test_score[seen]::pandaprobe[step_efficiency]": "passed",
        "test_score[deleted]::pandaprobe[step_efficiency]": "error",
        "test_failed::pandaprobe[plan_quality]": "error",
        "test_crashed::pandaprobe[plan_adherence]": "error",
        "test_quota::pandaprobe[confidence]": "error",
    }, outcome.out
    for reason in (
        "step_efficiency could not be judged: the run gave no score: PandaProbe does not have the target",
        "plan_quality could not be judged: Metric execution failed: the provider is on strike",
        "plan_adherence could not be judged: RunFailed: ",
        "confidence could not be judged: QuotaExceeded: ",
        "HOBBY plan",
    ):
        assert reason in outcome.out, outcome.out
    assert outcome.code == 1


TWO_RUNS = """
@pytest.mark.pandaprobe(metrics=["task_completion"])
def test_first(probe):
    assistant("x")

@pytest.mark.pandaprobe(metrics=["step_efficiency"])
def test_second(probe):
    assistant("y")
"""


def test_a_rate_limit_is_waited_for(run_suite: RunSuite) -> None:
    """If other requests have used up the rate limit, the next run waits until the window ends."""
    answers: list[int] = []

    def use_up(trace: object) -> float:
        body = {"trace_ids": [str(uuid.uuid4())], "metrics": ["coherence"]}
        with httpx.Client(
            headers={"X-API-Key": "sk_pp_1", "X-Project-Name": "p"}, trust_env=False, timeout=60
        ) as other:
            while 429 not in answers and len(answers) < 200:
                answers.append(other.post(f"{server.url}/evaluations/trace-runs/batch", json=body).status_code)
        return 0.9

    with LocalServer(window_s=2.0, scripted_judge=True) as server:
        server.judge.set("task_completion", use_up)
        env = {"PANDAPROBE_ENDPOINT": server.url, "PANDAPROBE_API_KEY": "sk_pp_1", "PANDAPROBE_PROJECT_NAME": "p"}
        outcome = run_suite(TWO_RUNS, "--pandaprobe=eval", **env)
    assert answers[-1] == 429
    assert set(outcome.verdicts.values()) == {"passed"}, outcome.out
    assert len(outcome.verdicts) == 2


def test_a_server_that_goes_down_in_the_middle(judged: RunSuite, server: LocalServer) -> None:
    """If the server fails after a run was started, its verdicts are errors."""

    def break_down(trace: object) -> float:
        server.faults.fail = 1.0
        return 0.9

    server.judge.set("task_completion", break_down)
    outcome = judged(ONE)
    assert set(outcome.verdicts.values()) == {"error"}, outcome.out
    assert "task_completion could not be judged: ServerError" in outcome.out
    assert outcome.code == 1


def test_a_server_that_is_not_there(run_suite: RunSuite) -> None:
    """If the server is unreachable, verdicts are errors with the reason "not delivered"."""
    env = {"PANDAPROBE_ENDPOINT": "http://127.0.0.1:9", "PANDAPROBE_SHUTDOWN_TIMEOUT": "0", "PANDAPROBE_API_KEY": "sk"}
    outcome = run_suite(ONE, "--pandaprobe=eval", "--pandaprobe-deliver-within=0.2", **env)
    assert set(outcome.verdicts.values()) == {"error"}, outcome.out
    assert "not delivered: some traces still wait to be sent after 0.2 s" in outcome.out
    assert outcome.code == 1


def test_without_a_key(run_suite: RunSuite) -> None:
    """In both modes that send, a missing key is a usage error with the remedy, before anything runs."""
    for mode in ("eval", "record"):
        outcome = run_suite(ONE, f"--pandaprobe={mode}")
        assert (outcome.code, outcome.cases) == (4, {})
        assert f"--pandaprobe={mode} cannot send: no API key: set PANDAPROBE_API_KEY" in outcome.out


STOPPED = """
def test_stop():
    raise KeyboardInterrupt
"""

FAILING = """
def test_stop():
    assert False
"""


def test_tests_that_are_stopped_are_not_judged(judged: RunSuite, project_client: Client) -> None:
    """After Ctrl-C and after `-x` no evaluation is started, and the output has the reason."""
    for code, option, exit_code in ((STOPPED, "-v", 2), (FAILING, "-x", 1)):
        outcome = judged(ONE + code, option)
        assert outcome.code == exit_code
        assert outcome.verdicts == {}
        assert "2 verdicts of the judge skipped: the test run was stopped" in outcome.out
    assert list(project_client.evaluations.trace_runs.iter()) == []


def test_the_judge_can_be_interrupted(
    judged: RunSuite, server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the judge works ends the run of pytest without any verdict."""
    run_ended, is_waited_for = threading.Event(), threading.Event()
    polls, read = itertools.count(1), runs._run

    def polled(*arguments: Any) -> Any:
        if next(polls) > 1:  # at the second poll, pydantic has built its model of the answer
            is_waited_for.set()
        return read(*arguments)

    def interrupt(trace: object) -> float:
        assert is_waited_for.wait(PATIENCE_S)
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGINT)
        assert run_ended.wait(PATIENCE_S)
        return 0.9

    monkeypatch.setattr(runs, "_run", polled)
    server.judge.set("task_completion", interrupt)
    code = "\nimport os, pathlib\npathlib.Path('pid').write_text(str(os.getpid()))\n"
    outcome = judged(code + ONE)
    run_ended.set()
    assert (outcome.code, outcome.verdicts) == (2, {}), outcome.out
    assert "2 verdicts of the judge skipped: the test run was stopped" in outcome.out
