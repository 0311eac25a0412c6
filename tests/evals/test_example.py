"""The example of a tested agent works as described."""

from __future__ import annotations

import shutil
from pathlib import Path

from pandaprobe_otel.local import LocalServer
from suites import RunSuite

EXAMPLE = Path(__file__).parents[2] / "examples" / "test_support_agent.py"


def test_two_of_its_eight_tests_are_expected_to_fail(run_suite: RunSuite, tmp_path: Path) -> None:
    """The suite passes; its last lines name the two expected failures and the option that shows their traces."""
    shutil.copy(EXAMPLE, tmp_path)
    outcome = run_suite("", "-rx", EXAMPLE.name)
    assert outcome.code == 0, outcome.out
    expected = [line for line in outcome.out.splitlines() if line.startswith("XFAIL ")]
    assert [("--runxfail shows the trace" in line) for line in expected] == [True, True], outcome.out


def test_the_two_say_why_they_fail(run_suite: RunSuite, tmp_path: Path) -> None:
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
