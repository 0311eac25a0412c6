"""The gate: decides again about a finished run with other thresholds, without running or judging anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.evals import CaseResult, Report, TaskRun
from pandaprobe_otel.evals.case_results import Rules, case_result
from pandaprobe_otel.evals.dataset import Case
from pandaprobe_otel.evals.evidence import Evidence
from pandaprobe_otel.evals.gate import gated
from pandaprobe_otel.evals.judging import Finding, Judgement, Judgements
from pandaprobe_otel.evals.marker_options import Demand
from pandaprobe_otel.evals.outcome import Outcome
from pandaprobe_otel.evals.repetition import Repetition
from pandaprobe_otel.evals.suite_output import report_of
from pandaprobe_otel.evals.suite_runs import TestRun, TraceNote, metric_verdicts, repeat_verdicts
from pandaprobe_otel.local import LocalServer
from suites import RunCommand, RunSuite

JUDGED = st.sampled_from(
    [
        *(Judgement(finding=Finding.SCORED, value=value, reason="seen") for value in (0.1, 0.5, 0.9)),
        Judgement(finding=Finding.VACUOUS, value=1.0),
        Judgement(finding=Finding.SCORED, value=0.9, unfinished="cancelled"),
        Judgement(finding=Finding.ERROR, reason="no provider"),
    ]
)
RUNS = st.lists(st.tuples(st.booleans(), JUDGED, JUDGED), min_size=1, max_size=4)
THRESHOLDS = st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0])
MIN_PASS = st.sampled_from([0.0, 0.5, 1.0])


def kept(report: Report) -> Report:
    """Return the report after a round trip through JSON."""
    return Report.from_dict(json.loads(json.dumps(report.to_dict())))


@settings(max_examples=150)
@given(RUNS, MIN_PASS, st.booleans(), THRESHOLDS, THRESHOLDS)
def test_a_task_is_decided_as_it_would_have_been(
    made: list[tuple[bool, Judgement, Judgement]], min_pass: float, vacuous: bool, first: float, second: float
) -> None:
    """Outcome, value and text of each metric are those of a run with the new threshold."""
    repetition = Repetition(repeat=len(made), min_pass=min_pass)
    runs = [
        TaskRun(
            case=Case(id="c", input="q"),
            output=number,
            error=None if well else "it broke",
            seconds=1.0,
            trace_id=str(number),
            traces=(),
            number=number,
            judgements={"own": own},
        )
        for number, (well, own, _) in enumerate(made, 1)
    ]
    found = {(str(number), "m"): judged for number, (_, _, judged) in enumerate(made, 1)}

    def decided(threshold: float) -> Report:
        rules = Rules(
            judged=("m",),
            thresholds={"m": threshold, "own": 0.5},
            allow_vacuous=vacuous,
            repetition=repetition,
        )
        return Report(name="shop", created_at="now", cases=(case_result(runs, found, rules),))

    again = gated(kept(decided(first)), thresholds={"m": second})
    wanted = decided(second)
    assert [case.results for case in again.cases] == [case.results for case in wanted.cases]
    assert again.outcome == wanted.outcome


@settings(max_examples=100)
@given(RUNS, MIN_PASS, THRESHOLDS, THRESHOLDS)
def test_a_suite_is_decided_as_it_would_have_been(
    made: list[tuple[bool, Judgement, Judgement]], min_pass: float, first: float, second: float
) -> None:
    """A suite's tests keep their own outcomes and repetitions; verdicts are those of a run with the new threshold."""
    found: Judgements = {}
    for number, (_, *judged) in enumerate(made, 1):
        found |= {(f"{number}/{n}", "m"): one for n, one in enumerate(judged)}

    def decided(threshold: float) -> Report:
        demand = Demand(metrics={"m": threshold}, repetition=Repetition(repeat=len(made), min_pass=min_pass))
        runs = [
            TestRun(
                nodeid="c",
                number=number,
                passed=well,
                ran=True,
                demand=demand,
                traces=tuple(TraceNote(trace_id=f"{number}/{n}", started_at="", content="") for n in range(2)),
                error="it broke",
            )
            for number, (well, *_) in enumerate(made, 1)
        ]
        return report_of(runs, repeat_verdicts(runs) + metric_verdicts(runs, found), (), complete=True)

    assert gated(kept(decided(first)), thresholds={"": second}).cases == kept(decided(second)).cases


def test_runs_that_were_not_made_are_no_evidence() -> None:
    """If a run stopped early because it could not pass, a lower threshold has no evidence from the omitted runs."""
    no = Judgement(finding=Finding.SCORED, value=0.4)
    known = Evidence(runs=((no,), (no,)), repetition=Repetition(repeat=4, min_pass=0.75))
    assert (known.outcome(0.5), known.outcome(0.3)) == (Outcome.FAILED, Outcome.NO_EVIDENCE)


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
    command = ("eval", "cases.jsonl", "--task", "shop:answer", "--scorer", "shop:score")
    done = run_command(*command, "--metric", "task_completion=0.5", "--report", "run.json", **project)
    assert done.returncode == 1, done.stdout
    (tmp_path / "ran").unlink()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 1, "failed: 2/4 passed"),
        (("--threshold", "score=0.2"), 0, "passed: 4/4 passed"),
        (("--metric", "task_completion"), 0, "passed: 4/4 passed"),
        (("--metric", "task_completion=0.7"), 1, "task_completion 0.60 < 0.70: so so"),
        (("--metric", "task_completion", "--threshold", "0.7"), 1, "failed: 0/4 passed"),
        (("--pass-rate", "0.5"), 0, "passed: 2/4 passed"),
        (("--metric", "tone=0.5"), 4, "tone is not a metric of this run; its metrics are task_completion, score"),
        (("--threshold", "tone=0.5"), 4, "tone is not a metric of this run"),
        (("--report", "r.pdf"), 4, "must end in .json, .md or .html"),
    ],
)
def test_the_command(run: Path, run_command: RunCommand, arguments: tuple[str, ...], code: int, said: str) -> None:
    """Exit codes are those of `eval`; the command needs no server and does not run the task."""
    done = run_command("report", "gate", "run.json", *arguments)
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
    assert not (run / "ran").exists()


def test_the_command_compares_saves_and_tells(run: Path, run_command: RunCommand) -> None:
    """The command compares, prints, saves and writes GitHub's summary like `eval`; saved reports can be gated again."""
    env = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(run / "summary.md")}
    done = run_command(
        *("report", "gate", "run.json", "--metric", "score=0.7", "--baseline", "run.json"),
        *("--report", "strict.json", "--format", "json"),
        **env,
    )
    assert done.returncode == 1, done.stderr
    assert [case["outcome"] for case in json.loads(done.stdout)["cases"]] == ["failed", "failed", "failed", "passed"]
    assert "::error title=answer%3A c0::score 0.20 < 0.70" in done.stderr
    assert "## answer: failed" in (run / "summary.md").read_text()
    assert run_command("report", "gate", "strict.json", "--threshold", "0.2").returncode == 0


def test_without_evidence_it_is_6(run: Path, run_command: RunCommand) -> None:
    """Without judgements the exit code is 6 for any threshold, unless missing evidence is allowed."""
    report = Report.load(run / "run.json")
    unknown = Evidence.of_one(Judgement(finding=Finding.ERROR, reason="no provider"))
    (result, *_) = report.cases[0].results
    lost = replace(result, evidence=unknown, outcome=Outcome.NO_EVIDENCE, finding="error", value=None)
    replace(report, cases=(replace(report.cases[0], results=(lost,)),)).save(run / "lost.json")
    for more in ((), ("--threshold", "0.1")):
        assert run_command("report", "gate", "lost.json", *more).returncode == 6
        assert run_command("report", "gate", "lost.json", "--allow-no-evidence", *more).returncode == 0


def test_a_report_of_an_earlier_version_can_be_gated_as_it_is(run: Path, run_command: RunCommand) -> None:
    """A report of an earlier version has outcomes but no evidence, so its thresholds cannot be changed."""
    plain = json.loads((run / "run.json").read_text())
    for case in plain["cases"]:
        for result in case["results"]:
            del result["evidence"]
    (run / "old.json").write_text(json.dumps(plain))
    assert run_command("report", "gate", "old.json").returncode == 1
    assert run_command("report", "gate", "old.json", "--pass-rate", "0.5").returncode == 0
    done = run_command("report", "gate", "old.json", "--threshold", "0.1")
    assert (done.returncode, "an earlier version wrote it" in done.stderr) == (4, True)


def test_a_suite_can_be_gated(judged: RunSuite, run_command: RunCommand, server: LocalServer) -> None:
    """A report of pytest can be gated too; a test that failed by itself stays failed."""
    server.judge.set("task_completion", 0.6, "so so")
    code = """
@pytest.mark.pandaprobe(metrics={"task_completion": 0.5}, repeat=2)
def test_x(probe):
    assistant("x")
"""
    assert judged(code, "--pandaprobe-report=run.json").code == 0
    assert run_command("report", "gate", "run.json").returncode == 0
    done = run_command("report", "gate", "run.json", "--metric", "task_completion=0.7")
    assert (done.returncode, "0/2 passed" in done.stdout) == (1, True), done.stdout
    broken = CaseResult(id="c", error="it broke", checked=True)
    assert gated(Report(name="s", created_at="", cases=(broken,)), pass_rate=1.0).outcome is Outcome.FAILED
