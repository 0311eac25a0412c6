"""Judging many traces at once by the local PandaProbe server: the number of evaluations, and errors."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pandaprobe_otel.api import Client
from pandaprobe_otel.evals.cache import JudgementCache
from pandaprobe_otel.evals.confirmation import Doubt, confirm
from pandaprobe_otel.evals.evidence import describe
from pandaprobe_otel.evals.judging import Allowance, Finding, Judgement, Question, bill, groups_of
from pandaprobe_otel.evals.server_judge import ServerBench
from pandaprobe_otel.local import LocalServer

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.fixture
def client(server: LocalServer) -> Iterator[Client]:
    """Yield a client of a project of its own, without retries."""
    key = f"sk_pp_{uuid.uuid4().hex}"
    with Client(key, f"p-{uuid.uuid4()}", server.url, retries=0, timeout_s=60.0) as made:
        yield made


def question(client: Client, *metrics: str, content: str | None = None) -> Question:
    """Store a trace, and return a question about it."""
    accepted = client.traces.create(name="t", started_at=NOW, input="a", output="b")
    return Question(target=str(accepted.trace_id), metrics=metrics, content=content, started=NOW)


def test_one_run_for_each_set_of_metrics(client: Client) -> None:
    """Targets with the same metrics share a run; the number of evaluations is shown before."""
    told: list[str] = []
    asked = [question(client, "task_completion", "plan_quality") for _ in range(3)] + [question(client, "coherence")]
    found = ServerBench(client, say=told.append).judge(asked)
    assert told == ["3 traces × 2 metrics + 1 trace × 1 metric = 7 evaluations"]
    assert {judgement.finding for judgement in found.values()} == {Finding.SCORED}
    assert len(found) == 7
    assert sorted(run.total_targets for run in client.evaluations.trace_runs.iter()) == [1, 3]


def test_the_bill_of_sessions_and_of_nothing() -> None:
    """Sessions are counted separately; questions without metrics need no evaluation."""
    sessions = [Question(target=f"s-{n}", metrics=("agent_reliability",), session=True) for n in range(2)]
    assert bill(groups_of(sessions)) == "2 sessions × 1 metric = 2 evaluations"
    assert bill(groups_of([Question(target="t", metrics=())])) == "nothing = 0 evaluations"


def test_a_trace_that_is_not_there_is_an_error(client: Client) -> None:
    """A missing trace is an error, although the server would count it as evaluated; other traces are judged."""
    here = question(client, "task_completion")
    gone = Question(target=str(uuid.uuid4()), metrics=("task_completion",))
    client.traces.wait_visible(here.target)
    found = ServerBench(client, visible_within_s=0.5).judge([here, gone])
    assert found[here.target, "task_completion"].finding is Finding.SCORED
    missing = found[gone.target, "task_completion"]
    assert (missing.finding, missing.passes(0.0)) == (Finding.ERROR, False)
    assert "PandaProbe does not have" in missing.reason


class Waited:
    """A clock that only `sleep` advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Return the seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Advance the clock."""
        self.now += seconds


@pytest.mark.parametrize(("timeout_s", "finding"), [(600.0, Finding.SCORED), (5.0, Finding.ERROR)])
def test_a_busy_server_is_waited_for_as_long_as_was_said(
    client: Client, timeout_s: float, finding: Finding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace that becomes readable after 45 s is judged, unless the timeout is shorter."""
    asked = question(client, "task_completion")
    client.traces.wait_visible(asked.target)
    clock, readable = Waited(), client.traces.iter
    monkeypatch.setattr("pandaprobe_otel.evals.server_judge.time", clock)
    monkeypatch.setattr(client.traces, "iter", lambda **window: readable(**window) if clock.now > 45 else iter(()))
    judgement = ServerBench(client, timeout_s=timeout_s).judge([asked])[asked.target, "task_completion"]
    assert judgement.finding is finding, judgement.reason


def test_a_part_of_an_answer_does_not_pass(client: Client) -> None:
    """A cancelled trace is judged, but does not pass unless partial traces are allowed."""
    asked = replace(question(client, "task_completion"), unfinished="cancelled")
    judgement = ServerBench(client).judge([asked])[asked.target, "task_completion"]
    assert judgement.finding is Finding.SCORED
    assert (judgement.passes(0.0), judgement.passes(0.0, allow_vacuous=True)) == (False, True)
    assert (judgement.is_no(0.0), judgement.is_no(1.1)) == (False, True)
    assert "the trace is cancelled: only part of it was judged" in describe("task_completion", judgement, 0.0)


def test_a_session_is_judged_when_all_of_it_is_there(client: Client) -> None:
    """A session with a missing trace is not judged, because the judgement would cover only a part."""
    here = client.traces.create(name="t", started_at=NOW, input="a", output="b", session_id="whole")
    traces = (str(here.trace_id), str(uuid.uuid4()))
    asked = Question(target="whole", metrics=("agent_reliability",), session=True, traces=traces, started=NOW)
    bench = ServerBench(client, visible_within_s=0.5)
    assert "PandaProbe does not have" in bench.judge([asked])["whole", "agent_reliability"].reason
    whole = replace(asked, traces=traces[:1])
    assert bench.judge([whole])["whole", "agent_reliability"].finding is not Finding.ERROR


def test_a_session_that_is_not_there_is_no_pass(client: Client) -> None:
    """A missing session is an error: it gets no score, although the run completes."""
    asked = Question(target="nowhere", metrics=("agent_reliability",), session=True)
    judgement = ServerBench(client).judge([asked])["nowhere", "agent_reliability"]
    assert (judgement.finding, judgement.passes(0.0, allow_vacuous=True)) == (Finding.ERROR, False)
    assert judgement.reason == "the run gave no score: PandaProbe does not have the target"


def test_a_quota_that_is_used_up_is_an_error(client: Client, server: LocalServer) -> None:
    """A used-up quota is an error with the server's message."""
    asked = question(client, "task_completion")
    client.traces.wait_visible(asked.target)
    server.faults.quota_used_up = True
    judgement = ServerBench(client).judge([asked])[asked.target, "task_completion"]
    assert judgement.finding is Finding.ERROR
    assert judgement.reason.startswith("QuotaExceeded: ")
    assert "HOBBY plan" in judgement.reason


def test_a_run_that_crashes_is_an_error(client: Client, server: LocalServer) -> None:
    """A FAILED run is an error with the server's message."""

    def crash(trace: object) -> float:
        raise RuntimeError("the worker fell over")

    server.judge.set("task_completion", crash)
    asked = question(client, "task_completion")
    judgement = ServerBench(client, timeout_s=3.0).judge([asked])[asked.target, "task_completion"]
    assert judgement.finding is Finding.ERROR
    assert judgement.reason.startswith("RunFailed: ")


def test_the_limit_holds_before_anything_is_started(client: Client) -> None:
    """Over the limit nothing is judged; at the limit everything is."""
    asked = [question(client, "task_completion", "coherence")]
    over = ServerBench(client, allowance=Allowance(1)).judge(asked)
    assert {judgement.finding for judgement in over.values()} == {Finding.ERROR}
    assert list(client.evaluations.trace_runs.iter()) == []
    assert {j.finding for j in ServerBench(client, allowance=Allowance(2)).judge(asked).values()} == {Finding.SCORED}


def test_an_allowance_is_shared(client: Client) -> None:
    """Judges that share an allowance may together start only as many evaluations as it permits."""
    allowance = Allowance(3)
    asked = [question(client, "task_completion", "coherence")]
    first, second = (ServerBench(client, allowance=allowance).judge(asked) for _ in range(2))
    assert {judgement.finding for judgement in first.values()} == {Finding.SCORED}
    assert {judgement.reason for judgement in second.values()} == {
        "not judged: 1 trace × 2 metrics = 2 evaluations, but the limit is 3 in total"
    }


def test_unchanged_content_is_judged_once(client: Client, server: LocalServer, tmp_path: Path) -> None:
    """The cache's key has content, metric and judge; an incomplete line in the file affects only itself."""
    file = tmp_path / "deep" / "cache.jsonl"
    server.judge.set("task_completion", [0.3, 0.9])
    first = question(client, "task_completion", content="same")
    told: list[str] = []

    def judged(asked: Question, judge: str = "here") -> tuple[float | None, bool]:
        bench = ServerBench(client, cache=JudgementCache(file, judge=judge), say=told.append)
        judgement = bench.judge([asked])[asked.target, "task_completion"]
        return judgement.value, judgement.cached

    assert judged(first) == (0.3, False)
    with open(file, "a", encoding="utf-8") as torn:
        torn.write('\n{"key": "x", "val')
    other = question(client, "task_completion", content="same")
    assert judged(other) == (0.3, True)
    assert told[-1] == "nothing = 0 evaluations, 1 more from the cache"
    assert judged(other, judge="elsewhere") == (0.9, False)
    assert judged(other, judge="elsewhere") == (0.9, True)
    assert judged(question(client, "task_completion", content="new")) == (0.9, False)


@pytest.mark.parametrize(
    ("answers", "later", "value", "asked"),
    [
        (3, [0.9, 0.8], 0.8, 2),
        (3, [0.2], 0.1, 1),
        (3, [0.9, 0.2], 0.1, 2),
        (5, [0.2, 0.9, 0.2], 0.1, 3),
        (1, [], 0.1, 0),
    ],
)
def test_a_no_is_confirmed_by_the_majority(
    client: Client, server: LocalServer, answers: int, later: list[float], value: float, asked: int
) -> None:
    """The judge is asked again until the majority is decided, and not more often."""
    server.judge.set("task_completion", [*later, 0.99] if later else 0.99)
    doubt = Doubt(
        question=question(client, "task_completion"),
        metric="task_completion",
        threshold=0.5,
        answers=answers,
        first=Judgement(finding=Finding.SCORED, value=0.1, reason="no"),
    )
    found = confirm(ServerBench(client), [doubt])
    assert found[doubt.question.target, "task_completion"].value == value
    assert len(list(client.evaluations.trace_runs.iter())) == asked
