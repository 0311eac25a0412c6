"""The example of a tested agent, and the suite of docs/evaluation.md, run in three ways."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from pandaprobe_otel.local import LocalServer
from provider_server import ProviderServer, Received, Reply, json_reply
from suites import RunSuite

EXAMPLE = Path(__file__).parents[2] / "examples" / "test_support_agent.py"


def test_two_of_its_eight_tests_are_expected_to_fail(run_suite: RunSuite, tmp_path: Path) -> None:
    """The suite passes; its last lines name the two expected failures and the option that shows their traces."""
    shutil.copy(EXAMPLE, tmp_path)
    outcome = run_suite("", "-rx", EXAMPLE.name)
    assert outcome.code == 0, outcome.out
    expected = [line for line in outcome.out.splitlines() if line.startswith("XFAIL ")]
    assert [("--runxfail shows the trace" in line) for line in expected] == [True, True], outcome.out


def test_the_two_failures_have_reasons(run_suite: RunSuite, tmp_path: Path) -> None:
    """The output has the failed expectation and the tree of spans that shows the fault."""
    shutil.copy(EXAMPLE, tmp_path)
    outcome = run_suite("", "--runxfail", EXAMPLE.name)
    tests = {name.partition("[")[0] for name in outcome.cases if "::pandaprobe" not in name}
    failed = {name for name, value in outcome.cases.items() if value == "failure"}
    assert len(tests) == 8, outcome.out
    assert failed == {"test_customers_at_the_same_time_do_not_mix", "test_looks_before_it_pays_when_it_is_urgent"}
    assert "expected tool 'look_up_order' at least once, found none" in outcome.out
    assert "TOOL  issue_refund(number='A-17', amount=100.0)  -> '100.00 paid back for A-17'" in outcome.out
    assert "KeyError: 'price'" in outcome.out
    assert 'TOOL  look_up_order(number=\'B-2\')  -> {"item": "lamp", "state": "sent"}' in outcome.out


def test_the_judges_decide_about_it_too(judged: RunSuite, server: LocalServer, tmp_path: Path) -> None:
    """With `--pandaprobe=eval`, the marked tests have verdicts; a session's verdict covers both turns."""
    for signal in ("confidence", "coherence", "loop_detection", "tool_correctness"):
        server.judge.set(signal, 0.9)
    shutil.copy(EXAMPLE, tmp_path)
    outcome = judged("", EXAMPLE.name)
    verdicts = {name: value for name, value in outcome.cases.items() if "::pandaprobe" in name}
    assert verdicts == {
        "test_tells_the_state_of_an_order::pandaprobe[task_completion]": "passed",
        "test_looks_before_it_pays::pandaprobe[task_completion]": "passed",
        "test_looks_before_it_pays::pandaprobe[tool_correctness]": "passed",
        "test_a_conversation_of_two_turns::pandaprobe[agent_reliability]": "passed",
    }, outcome.out


SUITE = """
from pandaprobe_otel import llm

@llm(name="write", model="rules-1")
def write(messages):
    for word in ("It", " is", " on", " its", " way."):
        yield word

@tool
def find_carrier(number):
    return "DHL"

@agent
def carrier_agent(number):
    return find_carrier(number)

@agent
def shop_agent(question):
    look_up("A-17")
    carrier = carrier_agent("A-17")
    return "".join(write([{"role": "user", "content": question}])) + f" With {carrier}."

@pytest.mark.pandaprobe(metrics={"task_completion": 0.8}, repeat=5, min_pass=0.8)
def test_tells_where_it_is(probe):
    assert shop_agent("Where is A-17?") == "It is on its way. With DHL."
    probe.spans.tool("look_up").called(times=1).before("find_carrier")
    probe.budget(seconds=20, llm_calls=1)

@pytest.mark.pandaprobe(metrics=["task_completion"])
def test_refunds(probe):
    assistant("refund")
    probe.spans.tool("refund").called(times=1)
"""


@pytest.fixture
def judge() -> Generator[ProviderServer]:
    """Yield a model that gives good scores to shipped orders."""

    def answer_as_judge(request: Received) -> Reply:
        score = 0.9 if "DHL" in str(request.json["messages"]) else 0.1
        found = {"reason": "seen", "score": score, "task": "t", "outcome": "o"}
        return json_reply({"choices": [{"message": {"role": "assistant", "content": json.dumps(found)}}]})

    with ProviderServer() as server:
        server.script = answer_as_judge
        yield server


OWN = {"test_tells_where_it_is": "passed", "test_refunds": "passed"}
VERDICTS = {
    "test_tells_where_it_is::pandaprobe[task_completion]": "passed",
    "test_refunds::pandaprobe[task_completion]": "failure",
}


def test_offline(run_suite: RunSuite) -> None:
    """Without a judge the run is free, and repetition stops once the outcome is decided."""
    outcome = run_suite(SUITE)
    assert (outcome.code, outcome.cases) == (0, OWN), outcome.out
    assert "4/4 passed (100%, 95 % CI 51–100), stopped early: 4 of 5 needed, 80% required" in outcome.out


def test_with_a_judge_of_ones_own(run_suite: RunSuite, judge: ProviderServer) -> None:
    """The tests pass, and the local judge rejects one of them."""
    options = ("--pandaprobe=eval", "--pandaprobe-judge=qwen3", f"--pandaprobe-judge-url={judge.url}")
    outcome = run_suite(SUITE, *options)
    assert (outcome.code, outcome.cases) == (1, OWN | VERDICTS), outcome.out
    assert "6 traces × 1 metric = 6 evaluations" in outcome.out
    assert "5/5 passed (100%, 95 % CI 57–100), 80% required, task_completion 0.90 >= 0.80: seen" in outcome.out


def test_against_a_server(judged: RunSuite, server: LocalServer) -> None:
    """A server's judge gives the same verdicts."""
    server.judge.set("task_completion", lambda trace: 0.9 if "DHL" in str(trace["output"]) else 0.1, "seen")
    outcome = judged(SUITE)
    assert (outcome.code, outcome.cases) == (1, OWN | VERDICTS), outcome.out
