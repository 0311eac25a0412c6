"""Local judges: the same metrics and verdicts, without a PandaProbe server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pandaprobe_otel import agent, tool
from pandaprobe_otel.api import Client
from pandaprobe_otel.evals import EvaluationStopped, LocalJudge, Simulation, evaluate
from pandaprobe_otel.evals.report_blocks import report_page
from pandaprobe_otel.judge.http_judge import HttpJudge
from provider_server import ProviderServer, Reply
from span_recorder import recording
from suites import RunSuite


@tool
def look_up(number: str) -> float:
    """Return a price, as a tool."""
    return 39.0


@agent
def answer(question: str) -> str:
    """Call the tool, as an agent."""
    return f"{question}: {look_up('17')}"


def quiet(line: str) -> None:
    """Discard a line of output."""


def test_cases_are_judged_without_a_server(endpoint: ProviderServer, tmp_path: Path) -> None:
    """A yes, a no, nothing to judge and an error are distinguished; judgements are cached."""
    judge = LocalJudge("m", url=endpoint.url, key="k")
    lines: list[str] = []
    cases = ["good one", "bad one", "is down"]
    cache = tmp_path / "cache.jsonl"
    with recording():
        report = evaluate(cases, answer, ["task_completion"], judge=judge, cache=cache, say=lines.append)
        count = len(endpoint.received)
        evaluate(cases[:2], answer, ["task_completion"], judge=judge, cache=cache, say=lines.append)
        evaluate(cases[:1], answer, ["task_completion"], judge=judge, cache=cache, refresh=True, say=lines.append)
        empty = evaluate(["good one"], answer, ["plan_quality"], judge=judge, say=lines.append)
    assert [case.outcome for case in report.cases] == ["passed", "failed", "no evidence"]
    assert report.cases[1].results[0].text == "task_completion 0.20 < 0.50: seen"
    assert "HTTP 401: no key" in report.cases[2].results[0].text
    assert lines[0] == "3 traces × 1 metric = 3 evaluations"
    assert lines[1] == "nothing = 0 evaluations, 2 more from the cache"
    assert lines[2] == "1 trace × 1 metric = 1 evaluation"
    assert len(endpoint.received) == count + 2
    assert endpoint.received[0].headers["authorization"] == "Bearer k"
    assert empty.outcome == "no evidence"


def test_the_secrets_of_a_judge_get_into_no_report(endpoint: ProviderServer, tmp_path: Path) -> None:
    """No report contains the judge's key, even if the endpoint repeats it, or secrets of the URL."""
    key, password, token = "sk-judge-0123456789", "pa55word", "t0k3n-in-query"
    endpoint.script = lambda request: Reply(status=401, chunks=(f"no such key: {key}".encode(),))
    url = f"{endpoint.url.replace('://', f'://me:{password}@')}?api-key={token}"
    judge = LocalJudge("m", url=url, key=key)
    with recording():
        report = evaluate(["q"], answer, ["task_completion"], judge=judge, cache=tmp_path / "c.jsonl", say=quiet)
    assert "HTTP 401: no such key: [redacted]" in report.cases[0].results[0].text
    text = "".join((str(report), report.to_markdown(), json.dumps(report.to_dict()), report_page(report), repr(judge)))
    assert [secret for secret in (key, password, token) if secret in text] == []


def test_cases_stopped_before_their_judgement_are_no_evidence() -> None:
    """Cases that ran before an interrupt, but were not judged, are in the report as no evidence."""

    class Stopping(LocalJudge):
        def open(self) -> HttpJudge:
            raise KeyboardInterrupt

    with recording(), pytest.raises(EvaluationStopped) as stopped:
        evaluate(["q", "r"], str, ["task_completion"], judge=Stopping("m", url="http://127.0.0.1:9"), say=quiet)
    report = stopped.value.report
    assert [case.outcome for case in report.cases] == ["no evidence"] * 2
    assert report.notes == ("stopped: 2 of 2 cases were run",)


def test_both_metrics_of_a_session_need_its_signals_once(endpoint: ProviderServer) -> None:
    """Two metrics of a session ask the judge only once for each signal of each trace."""
    counts: list[int] = []
    simulation = Simulation(answer)
    judge = LocalJudge("m", url=endpoint.url)
    for metrics in (["agent_reliability"], ["agent_reliability", "agent_consistency"]):
        before = len(endpoint.received)
        with recording():
            report = evaluate([["hello", "again"]], simulation, metrics, judge=judge, say=quiet)
        counts.append(len(endpoint.received) - before)
        assert [result.metric for result in report.cases[0].results] == metrics
        assert {result.finding for result in report.cases[0].results} == {"scored"}
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize(
    ("model", "words"),
    [("gpt-4o", "is none of openai/…, anthropic/…, google_genai/…"), ("anthropic/claude", "set ANTHROPIC_API_KEY or")],
)
def test_a_judge_that_cannot_be_called_is_refused(model: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that cannot be called and an unknown metric are refused before anything runs, with the remedy."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(ValueError, match=words):
        evaluate([1], lambda value: pytest.fail("it ran"), ["task_completion"], judge=model)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    with pytest.raises(
        ValueError, match="task_complete is not a metric of traces; the metrics are argument_correctness, "
    ):
        evaluate([1], lambda value: pytest.fail("it ran"), ["task_complete"], judge="anthropic/claude")


SUITE = """
@pytest.mark.pandaprobe(metrics=["task_completion"], repeat=2)
@pytest.mark.parametrize("question", ["good one", "bad one"])
def test_x(probe, question):
    assistant(question)

@pytest.mark.pandaprobe(metrics={"agent_reliability": 0.0}, session=True)
def test_session(probe):
    assistant("good one")
    assistant("good two")
"""


def test_the_judgements_of_a_suite_are_sent_too(
    endpoint: ProviderServer, run_suite: RunSuite, project: dict[str, str], project_client: Client
) -> None:
    """A suite with a local judge needs no key; scores of traces are sent where traces are, a session's stay local."""
    options = ("--pandaprobe=eval", "--pandaprobe-judge=m", f"--pandaprobe-judge-url={endpoint.url}")
    alone = run_suite(SUITE, *options, "-n", "2", plugins=("xdist",))
    outcome = run_suite(SUITE, *options, **project)
    for each in (alone, outcome):
        assert each.cases == {
            "test_x[good one]": "passed",
            "test_x[bad one]": "passed",
            "test_session": "passed",
            "test_x[good one]::pandaprobe[task_completion]": "passed",
            "test_x[bad one]::pandaprobe[task_completion]": "failure",
            "test_session::pandaprobe[agent_reliability]": "passed",
        }, each.out
        assert "4 traces × 1 metric + 1 session × 1 metric = 5 evaluations" in each.out
    sent = [(score.name, score.parsed, score.reason) for score in project_client.scores.iter()]
    good, bad = ("task_completion", 0.9, "seen"), ("task_completion", 0.2, "seen")
    assert sorted(sent) == [bad, bad, good, good]
