"""Cache hits: counted, and shown in every form of the report."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from pandaprobe_otel import agent, start_trace
from pandaprobe_otel.evals import Criterion, Groundedness, LocalJudge, Report, Scorer, evaluate
from pandaprobe_otel.evals.cache_use import prompt_caches
from pandaprobe_otel.evals.report_html import html_page
from provider_server import ProviderServer, Received, Reply, json_reply
from span_recorder import recording
from suites import RunCommand, RunSuite


@agent
def answer(question: str) -> str:
    """Return a text about the question, as an agent."""
    return f"about {question}"


@pytest.fixture
def endpoint() -> Generator[ProviderServer]:
    """Yield a judge that scores everything 0.9."""

    def says(request: Received) -> Reply:
        found = {"reason": "seen", "score": 0.9, "task": "t", "outcome": "o"}
        return json_reply({"choices": [{"message": {"role": "assistant", "content": json.dumps(found)}}]})

    with ProviderServer() as server:
        server.script = says
        yield server


def quiet(line: str) -> None:
    """Discard a line of output."""


def test_a_report_tells_what_the_cache_knew(endpoint: ProviderServer, tmp_path: Path) -> None:
    """Text, Markdown, HTML and JSON reports show the hits of the cache; without a cache they show nothing."""
    judge = LocalJudge("m", url=endpoint.url)
    options: Any = {"judge": judge, "cache": tmp_path / "cache.jsonl", "say": quiet}
    with recording():
        first = evaluate(["one", "two"], answer, ["task_completion"], **options)
        report = evaluate(["one", "two", "three"], answer, ["task_completion"], **options)
        again = evaluate(["one", "two"], answer, ["task_completion"], refresh=True, **options)
        without = evaluate(["one"], answer, ["task_completion"], judge=judge, say=quiet)
    told = [(use.known, use.wanted) for one in (first, report, again, without) for use in one.cache]
    assert told == [(0, 2), (2, 3), (0, 2)]
    line = f"cache of judgements: 2 of 3 (67%) known, of {endpoint.url} m"
    assert line in str(report).splitlines()
    assert "cache of judgements: 2 of 3 (67%) known, of " in report.to_markdown()
    assert line in html_page(report)
    report.save(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["caches"] == [
        {"judge": f"{endpoint.url} m", "known": 2, "wanted": 3, "rate": 2 / 3}
    ]
    assert Report.load(tmp_path / "r.json").cache == report.cache
    assert "cache" not in str(without)


def test_each_model_that_judges_has_its_own_rate(endpoint: ProviderServer, tmp_path: Path) -> None:
    """Hits are counted for each model, also if a judge is asked for another model or uses another embedding model."""
    options: Any = {"judge": LocalJudge("m", url=endpoint.url), "cache": tmp_path / "cache.jsonl", "say": quiet}
    with recording():
        evaluate(["one"], answer, "task_completion", model="big", **options)
        known = evaluate(["one"], answer, "task_completion", model="big", **options)
        other = evaluate(["one"], answer, "task_completion", **options)
        options["judge"] = LocalJudge("m", url=endpoint.url, embedding_model="e")
        vectors = evaluate(["one"], answer, "task_completion", **options)
    assert [(use.judge, use.known) for use in (*known.cache, *other.cache, *vectors.cache)] == [
        (f"{endpoint.url} m big", 1),
        (f"{endpoint.url} m", 0),
        (f"{endpoint.url} m with e", 0),
    ]


def test_opinions_of_a_local_judge_are_kept_too(endpoint: ProviderServer, tmp_path: Path) -> None:
    """Judgements of criteria and groundedness by a local judge are cached; those by a function are not."""
    judge = LocalJudge("m", url=endpoint.url)
    polite = Criterion("is_polite", "It is polite.", judge, trace=True)
    asked_by_function: list[str] = []

    def ask(prompt: str) -> str:
        asked_by_function.append(prompt)
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
    assert [(use.judge, use.known, use.wanted) for use in report.cache] == [(f"{endpoint.url} m", 1, 1)]
    assert changed.cache[0].known == 0
    assert (len(endpoint.received), len(asked_by_function)) == (3, 2)


def test_prompt_caches_of_providers_are_told_by_model() -> None:
    """Prompt cache hits are shown for each model that reports them; cached tokens are part of the input tokens."""

    def task(read: int | None) -> str:
        with start_trace("t") as trace, trace.span("call", kind="LLM") as span:
            span.set_model("gpt-4o" if read is not None else "silent")
            counts = {"prompt_tokens": 1000, "completion_tokens": 5} | ({"cache_read_tokens": read} if read else {})
            span.set_token_usage(**counts)
        return "x"

    with recording():
        report = evaluate([800, 400, None], task, [lambda run: True])
    (found,) = prompt_caches(trace for case in report.cases for trace in case.traces)
    assert (found.model, found.read, found.tokens) == ("gpt-4o", 1200, 2000)
    assert "cache of prompts: 1,200 of 2,000 (60%) tokens read, of gpt-4o" in str(report)
    assert report.to_dict()["caches"] == [{"model": "gpt-4o", "read": 1200, "tokens": 2000, "rate": 0.6}]
    assert Report.from_dict(report.to_dict()).cache == ()


SUITE = """
@pytest.mark.pandaprobe(metrics=["task_completion"])
@pytest.mark.parametrize("question", ["one", "two"])
def test_x(probe, question):
    assistant(question)
"""


def test_a_suite_tells_it_and_can_refresh(endpoint: ProviderServer, run_suite: RunSuite, tmp_path: Path) -> None:
    """A suite shows the cache hits in the terminal and the report; `--pandaprobe-refresh` judges everything again."""
    judged = ("--pandaprobe=eval", "--pandaprobe-judge=m", f"--pandaprobe-judge-url={endpoint.url}")
    options = (*judged, "--pandaprobe-cache=cache.jsonl", "--pandaprobe-report=r.json")
    told: list[tuple[int, int]] = []
    for more in ((), (), ("--pandaprobe-refresh",)):
        outcome = run_suite(SUITE, *options, *more)
        (use,) = Report.load(tmp_path / "r.json").cache
        assert f"cache of judgements: {use.known} of 2 " in outcome.out
        told.append((use.known, use.wanted))
    assert (told, len(endpoint.received)) == ([(0, 2), (2, 2), (0, 2)], 4)


SHOP = """
from pandaprobe_otel import agent

@agent
def answer(question):
    return 1
"""


def test_the_command_tells_it(endpoint: ProviderServer, run_command: RunCommand, tmp_path: Path) -> None:
    """The command shows the cache hits; `--refresh` judges everything again."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "cases.jsonl").write_text('{"input": "one"}\n')
    command = ("eval", "cases.jsonl", "--task", "shop:answer", "-m", "task_completion", "--cache", "c.jsonl")
    options = ("--judge", "m", "--judge-url", endpoint.url)
    outs = [run_command(*command, *options, *more).stdout for more in ((), (), ("--refresh",))]
    told = [line for out in outs for line in out.splitlines() if line.startswith("cache")]
    known = ("0 of 1 (0%)", "1 of 1 (100%)", "0 of 1 (0%)")
    assert told == [f"cache of judgements: {each} known, of {endpoint.url} m" for each in known]
