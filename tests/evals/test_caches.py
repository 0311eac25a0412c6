"""Judgements that are kept: the key, the file, the hits in reports; and judging by a slow server."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel import agent
from pandaprobe_otel.api import Client
from pandaprobe_otel.evals import Criterion, Groundedness, LocalJudge, Report, Scorer, evaluate
from pandaprobe_otel.evals.judging import JudgementCache, Judging, Question, ServerJudge
from pandaprobe_otel.evals.verdicts import Finding
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.traces.records import TraceRecord
from provider_server import ProviderServer
from span_recorder import recording
from suites import RunCommand, RunSuite


@agent
def answer(question: str) -> str:
    """Return a text about the question, as an agent."""
    return f"about {question}"


def quiet(line: str) -> None:
    """Discard a line of output."""


def test_a_report_has_the_hits_of_the_cache(endpoint: ProviderServer, tmp_path: Path) -> None:
    """Reports show the hits of the cache; without a cache they show nothing."""
    judge = LocalJudge("m", url=endpoint.url)
    options: Any = {"judge": judge, "cache": tmp_path / "cache.jsonl", "say": quiet}
    with recording():
        first = evaluate(["one", "two"], answer, ["task_completion"], **options)
        report = evaluate(["one", "two", "three"], answer, ["task_completion"], **options)
        again = evaluate(["one", "two"], answer, ["task_completion"], refresh=True, **options)
        without = evaluate(["one"], answer, ["task_completion"], judge=judge, say=quiet)
    assert [one.notes for one in (first, report, again, without)] == [
        *((f"cache of judgements: {known} known, of {endpoint.url} m",) for known in ("0 of 2 (0%)", "2 of 3 (67%)")),
        (f"cache of judgements: 0 of 2 (0%) known, of {endpoint.url} m",),
        (),
    ]
    assert f"note:  {report.notes[0]}" in str(report).splitlines()
    report.save(tmp_path / "r.json")
    assert Report.load(tmp_path / "r.json").notes == report.notes


def test_each_model_that_judges_has_its_own_rate(endpoint: ProviderServer, tmp_path: Path) -> None:
    """Hits are counted for each model, also if a judge is asked for another model or uses another embedding model."""
    options: Any = {"judge": LocalJudge("m", url=endpoint.url), "cache": tmp_path / "cache.jsonl", "say": quiet}
    with recording():
        evaluate(["one"], answer, "task_completion", model="big", **options)
        known = evaluate(["one"], answer, "task_completion", model="big", **options)
        other = evaluate(["one"], answer, "task_completion", **options)
        options["judge"] = LocalJudge("m", url=endpoint.url, embedding_model="e")
        vectors = evaluate(["one"], answer, "task_completion", **options)
    assert [*known.notes, *other.notes, *vectors.notes] == [
        f"cache of judgements: 1 of 1 (100%) known, of {endpoint.url} m big",
        f"cache of judgements: 0 of 1 (0%) known, of {endpoint.url} m",
        f"cache of judgements: 0 of 1 (0%) known, of {endpoint.url} m with e",
    ]


def test_opinions_of_a_local_judge_are_kept_too(endpoint: ProviderServer, tmp_path: Path) -> None:
    """Judgements of criteria and groundedness by a local judge are cached; those by a function are not."""
    judge = LocalJudge("m", url=endpoint.url)
    polite = Criterion("is_polite", "It is polite.", judge, trace=True)
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return '{"reason": "seen", "score": 1}'

    metrics: list[Scorer] = [polite, Groundedness(judge), Criterion("is_short", "It is short.", ask)]
    with recording():
        for _ in range(2):
            report = evaluate(["one"], answer, metrics, cache=tmp_path / "cache.jsonl")
        changed = evaluate(
            ["one"], answer, [Criterion("is_polite", "It is very polite.", judge)], cache=tmp_path / "cache.jsonl"
        )
        evaluate(["one"], answer, [polite], cache=tmp_path / "cache.jsonl", refresh=True)
    assert report.cases[0].results[0].text == "is_polite 0.90 >= 0.50 (cached): seen"
    assert report.notes == (f"cache of judgements: 1 of 1 (100%) known, of {endpoint.url} m",)
    assert changed.notes == (f"cache of judgements: 0 of 1 (0%) known, of {endpoint.url} m",)
    assert (len(endpoint.received), len(prompts)) == (3, 2)


SUITE = """
@pytest.mark.pandaprobe(metrics=["task_completion"])
@pytest.mark.parametrize("question", ["one", "two"])
def test_x(probe, question):
    assistant(question)
"""


def test_a_suite_shows_the_hits_and_can_refresh(endpoint: ProviderServer, run_suite: RunSuite, tmp_path: Path) -> None:
    """A suite shows the cache hits in the terminal and the report; `--pandaprobe-refresh` judges everything again."""
    judged = ("--pandaprobe=eval", "--pandaprobe-judge=m", f"--pandaprobe-judge-url={endpoint.url}")
    options = (*judged, "--pandaprobe-cache=cache.jsonl", "--pandaprobe-report=r.json")
    for known, more in ((0, ()), (2, ()), (0, ("--pandaprobe-refresh",))):
        outcome = run_suite(SUITE, *options, *more)
        (note,) = Report.load(tmp_path / "r.json").notes
        assert note.startswith(f"cache of judgements: {known} of 2 ")
        assert note in outcome.out
    assert len(endpoint.received) == 4


SHOP = """
from pandaprobe_otel import agent

@agent
def answer(question):
    return 1
"""


def test_the_command_shows_the_hits(endpoint: ProviderServer, run_command: RunCommand, tmp_path: Path) -> None:
    """The command shows the cache hits; `--refresh` judges everything again."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "cases.jsonl").write_text('{"input": "one"}\n')
    command = ("evals", "run", "cases.jsonl", "--task", "shop:answer", "-m", "task_completion", "--cache", "c.jsonl")
    options = ("--judge", "m", "--judge-url", endpoint.url)
    outs = [run_command(*command, *options, *more).stdout for more in ((), (), ("--refresh",))]
    for out, known in zip(outs, ("0 of 1 (0%)", "1 of 1 (100%)", "0 of 1 (0%)"), strict=True):
        assert f"note:  cache of judgements: {known} known, of {endpoint.url} m\n" in out


def trace(*, call: str, response: str, at: int = 0, tokens: int = 7, **changed: Any) -> TraceRecord:
    """Return a trace of a model call, a tool and a second model call, with ids wherever model providers put them."""
    parts = {"query": "kettle", "answer": "39.00", "tool": "look_up", "model": "gpt"} | changed
    posed = [
        {"role": "user", "content": parts["query"]},
        {
            "role": "assistant",
            "id": response,
            "content": None,
            "tool_calls": [{"id": call, "type": "function", "function": {"name": parts["tool"], "arguments": {}}}],
        },
    ]
    answered = [{"role": "tool", "tool_call_id": call, "content": parts["answer"]}]
    usage = {"prompt_tokens": tokens, "completion_tokens": tokens}

    def span(number: int, kind: str, **fields: Any) -> dict[str, Any]:
        times = {"started_at": f"2026-01-01T00:00:{at + number:02}Z", "ended_at": f"2026-01-01T00:00:{at + number:02}Z"}
        return {"span_id": f"{response}{number}", "name": kind, "kind": kind, "metadata": {}, **times, **fields}

    spans = [
        span(1, "LLM", model=parts["model"], output={"messages": posed[1:]}, token_usage=usage, cost={"total": tokens}),
        span(2, "TOOL", name=parts["tool"], output=parts["answer"], metadata={"tool_call_id": call}),
        span(
            3,
            "LLM",
            input={"messages": posed + answered},
            metadata={"response_id": response, "attributes": {"openai.response.system_fingerprint": response}},
            output=f"done (see {call})" if len(call) > 7 else "done",
        ),
    ]
    return TraceRecord({"trace_id": response, "name": "t", "started_at": "2026-01-01T00:00:00Z", "spans": spans})


@settings(max_examples=50)
@given(
    ids=st.lists(st.uuids().map(lambda one: f"call_{one.hex}"), min_size=4, max_size=4, unique=True),
    at=st.integers(0, 50),
)
def test_ids_times_and_counts_are_no_behaviour(ids: list[str], at: int) -> None:
    """The same answers with other ids, times and token counts have the same key."""
    one = trace(call=ids[0], response=ids[1])
    assert one.content_hash == trace(call=ids[2], response=ids[3], at=at, tokens=9).content_hash


@pytest.mark.parametrize("changed", [{"query": "lamp"}, {"answer": "call_1"}, {"tool": "find"}, {"model": "other"}])
def test_different_content_is_different_behaviour(changed: dict[str, Any]) -> None:
    """Different content has a different key, even if the content looks like an id."""
    assert trace(call="call_2", response="r").content_hash != trace(call="call_2", response="r", **changed).content_hash
    same = trace(call="call_2", response="r", answer="call_2").content_hash
    assert same != trace(call="call_1", response="r", answer="call_1").content_hash


def test_links_between_calls_and_results_are_behaviour() -> None:
    """The key contains which result belongs to which call, but not the spelling of the ids."""

    def two(first: str, second: str) -> str:
        calls = [
            {"id": name, "type": "function", "function": {"name": name[0], "arguments": {}}} for name in ("a1", "b1")
        ]
        results = [{"role": "tool", "tool_call_id": name, "content": "x"} for name in (first, second)]
        span = {
            "span_id": "1",
            "kind": "LLM",
            "input": {"messages": [{"role": "assistant", "tool_calls": calls}, *results]},
        }
        return TraceRecord({"trace_id": "t", "spans": [{**span, "started_at": "2026-01-01T00:00:00Z"}]}).content_hash

    assert two("a1", "b1") != two("b1", "a1")


NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)


def question(client: Client, metric: str, content: str = "a") -> Question:
    """Store a trace, and return a question about it."""
    accepted = client.traces.create(name="t", started_at=NOW, input=content, output="b")
    return Question(target=str(accepted.trace_id), metrics={metric: 0.5}, traces=(sent(accepted.trace_id, content),))


def sent(trace_id: object, content: str = "a") -> TraceRecord:
    """Return a trace as the program that sends it knows it."""
    at = NOW.isoformat()
    return TraceRecord(
        {
            "trace_id": str(trace_id),
            "started_at": at,
            "ended_at": at,
            "input": content,
            "spans": [],
            "session_id": "whole",
        }
    )


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
def test_a_busy_server_is_waited_for_up_to_the_timeout(
    project_client: Client, timeout_s: float, finding: Finding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace that becomes readable after 45 s is judged, unless the timeout is shorter."""
    posed = question(project_client, "task_completion")
    project_client.traces.wait_visible(posed.target)
    clock, readable = Waited(), project_client.traces.iter
    monkeypatch.setattr("pandaprobe_otel.evals.judging.time", clock)
    monkeypatch.setattr(
        project_client.traces, "iter", lambda **window: readable(**window) if clock.now > 45 else iter(())
    )
    judge = ServerJudge(client=project_client, visible_within_s=timeout_s)
    judgement = Judging().answered([posed], judge)[posed.target, "task_completion"]
    assert judgement.finding is finding, judgement.reason


def test_a_session_is_judged_when_all_of_it_is_there(project_client: Client) -> None:
    """A session with a missing trace is not judged, because the judgement would cover only a part."""
    here = project_client.traces.create(name="t", started_at=NOW, input="a", output="b", session_id="whole")
    traces = (sent(here.trace_id), sent(uuid.uuid4()))
    posed = Question(target="whole", metrics={"agent_reliability": 0.5}, session=True, traces=traces)
    server = ServerJudge(client=project_client, visible_within_s=0.5)
    part, whole = (Judging().answered([each], server) for each in (posed, replace(posed, traces=traces[:1])))
    assert "PandaProbe does not have" in part["whole", "agent_reliability"].reason
    assert whole["whole", "agent_reliability"].finding is not Finding.ERROR


def test_unchanged_content_is_judged_once(project_client: Client, server: LocalServer, tmp_path: Path) -> None:
    """The cache's key has content, metric and judge; an incomplete line in the file affects only itself."""
    file = tmp_path / "deep" / "cache.jsonl"
    server.judge.set("task_completion", [0.3, 0.9])
    first = question(project_client, "task_completion", "same")
    lines: list[str] = []

    def judged(posed: Question, judge: str = "here") -> tuple[float | None, bool]:
        judging = Judging(cache=JudgementCache(file))
        found = judging.answered([posed], ServerJudge(client=project_client), judge, say=lines.append)
        judgement = found[posed.target, "task_completion"]
        return judgement.value, judgement.cached

    assert judged(first) == (0.3, False)
    with open(file, "a", encoding="utf-8") as torn:
        torn.write('\n{"key": "x", "val')
    other = question(project_client, "task_completion", "same")
    assert judged(other) == (0.3, True)
    assert lines[-1] == "nothing = 0 evaluations, 1 more from the cache"
    assert judged(other, judge="elsewhere") == (0.9, False)
    assert judged(other, judge="elsewhere") == (0.9, True)
    assert judged(question(project_client, "task_completion", "new")) == (0.9, False)
