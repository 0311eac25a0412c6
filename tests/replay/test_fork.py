"""Forks of a recorded run, which go on live from a span: the sent requests, the replayed ones, and the report."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import forked_shop
import pandaprobe_otel
import pandaprobe_otel.mapping.assemble  # not later: two threads that compile it confuse CPython 3.11
from command_line import clean_environment, run_here
from pandaprobe_otel import bootstrap
from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.evals.task_runs import TaskRun
from pandaprobe_otel.registry import instrumented, uninstrument
from pandaprobe_otel.replay.answers.messages import INVENTED_SIGNATURE
from pandaprobe_otel.replay.capture.ordered_trace import traces_in
from pandaprobe_otel.replay.cassette import load
from pandaprobe_otel.replay.fork.fork_report import fork_text
from pandaprobe_otel.replay.fork.forked_run import ForkedRecording, ForkOptions
from pandaprobe_otel.replay.fork.recording_cut import cut_from
from pandaprobe_otel.replay.fork.rerun import Forks, RerunOptions, rerun
from pandaprobe_otel.replay.interactions import Cassette, Interaction, RecordedAnswer, RecordedRequest
from provider_server import ProviderServer

QUESTION = {"question": "Where are A-1 and A-2?"}


@pytest.fixture
def shop(server: ProviderServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ProviderServer]:
    """Yield the shop's model provider, which stores its requests; the program is traced."""
    before = dict(os.environ)
    if (disabled := bootstrap.current()) is not None:  # left by an earlier test
        bootstrap.forget(disabled)
    others = {result.name for result in instrumented()}
    pandaprobe_otel.init(local=tmp_path / "traces.jsonl", instrument=["openai"])
    monkeypatch.setenv(forked_shop.URL, server.url)
    server.script = forked_shop.answer
    server.received.clear()
    forked_shop.ran.clear()
    yield server
    pandaprobe_otel.shutdown()
    for result in instrumented():
        if result.name not in others:
            uninstrument(result.name)
    for name in set(os.environ) - set(before) - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]


@pytest.fixture
def recorded(shop: ProviderServer, tmp_path: Path) -> Path:
    """Return the recording of one run."""
    path = tmp_path / "shop.yaml"
    with pandaprobe_otel.recording(path, tools=True):
        forked_shop.shop(**QUESTION)
    assert len(shop.received) == 5
    assert len(forked_shop.ran) == 3
    shop.received.clear()
    forked_shop.ran.clear()
    return path


def fork(path: Path, metrics: Any = (), **options: Any) -> Forks:
    """Fork the recorded run."""
    wanted = RerunOptions(arguments=QUESTION, **options)
    return rerun(path, load(path), forked_shop.shop, wanted, metrics=metrics, say=lambda _: None)


def asked(shop: ProviderServer) -> list[tuple[str, str]]:
    """Return the requested models with their prompts, in order."""
    return [(one.json["model"], one.json["messages"][0]["content"]) for one in shop.received]


def failed(forks: Forks) -> str:
    """Return why the fork failed."""
    return forks.after.cases[0].error or ""


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ("thank", ["You thank."]),
        ("sum up", ["You sum up.", "You thank."]),
        ("check A-1", ["You check orders.", "You sum up.", "You thank."]),
        ("shop > plan", ["You plan.", "You check orders.", "You check orders.", "You sum up.", "You thank."]),
        (None, ["You plan.", "You check orders.", "You check orders.", "You sum up.", "You thank."]),
    ],
)
def test_exactly_what_comes_after_the_cut_is_sent(
    shop: ProviderServer, recorded: Path, span: str | None, expected: list[str]
) -> None:
    """Only calls after the cut are sent; a parallel branch is replayed, and no tool runs if its calls are unchanged."""
    forks = fork(recorded, span=span)

    assert [prompt for _, prompt in asked(shop)] == expected
    assert forks.after.cases[0].error is None
    assert forked_shop.ran == []
    assert len(forks.cut.gone) == len(expected)
    assert [sum(not one.played for one in calls) for calls in forks.calls] == [len(expected)]


def test_another_model_is_asked_from_the_cut_on(shop: ProviderServer, recorded: Path) -> None:
    """From the cut on, the override replaces the model at the cut, but not other models of the program."""
    forks = fork(recorded, span="check A-1", model="tiny", live_tools=["refund"])

    assert asked(shop) == [("tiny", "You check orders."), ("big", "You sum up."), ("big", "You thank.")]
    assert forks.after.cases[0].error is None
    text = fork_text(forks)
    assert "first difference: LLM" in text, text


def test_another_prompt_is_asked_from_the_cut_on(shop: ProviderServer, recorded: Path) -> None:
    """From the cut on, the override replaces the prompt at the cut; the program's other prompts stay."""
    fork(recorded, span="sum up", prompt="You are brief.", live_tools=["refund"])

    assert asked(shop) == [("big", "You are brief."), ("big", "You thank.")]
    assert [what.partition("/")[0] for what in forked_shop.ran] == ["refund big"]


def test_a_tool_that_was_not_recorded_so_does_not_run(shop: ProviderServer, recorded: Path) -> None:
    """An unrecorded tool call does not run, nothing more is sent, and the error names the option to allow the tool."""
    forks = fork(recorded, span="sum up", model="tiny")

    assert "--live-tools=refund lets it run" in failed(forks)
    assert forked_shop.ran == []
    assert len(shop.received) == 1
    assert forks.kept_in == []


def test_a_fork_is_a_cassette_of_its_own(shop: ProviderServer, recorded: Path) -> None:
    """A fork is saved as a cassette with a new name, which can be replayed without a network."""
    before = recorded.read_bytes()
    forks = fork(recorded, span="thank", repeat=2)

    assert [path.name for path in forks.kept_in] == ["shop.fork-1.yaml", "shop.fork-2.yaml"]
    assert recorded.read_bytes() == before
    shop.received.clear()
    with pandaprobe_otel.recording(forks.kept_in[1], mode="none", tools=True):
        assert forked_shop.shop(**QUESTION) == forks.after.cases[1].output
    assert shop.received == []


def test_a_program_that_does_something_else_by_now_is_not_forked(shop: ProviderServer, recorded: Path) -> None:
    """If the program behaves differently before the cut, the error has the difference, and nothing is sent."""
    options = RerunOptions(arguments={"question": "Where is B-9?"}, span="thank")

    with pytest.raises(RecordingError, match=r"(?s)no longer behaves as in the recording.*messages\[1\]"):
        rerun(recorded, load(recorded), forked_shop.shop, options)

    assert shop.received == []


def test_an_override_that_changes_nothing_is_told(shop: ProviderServer, recorded: Path) -> None:
    """An override with a model of another protocol is refused, and nothing is sent."""
    assert "needs the protocol anthropic" in failed(fork(recorded, span="thank", model="claude-5"))
    assert shop.received == []


def test_the_trace_of_a_fork_names_its_origin(recorded: Path) -> None:
    """The trace of a fork names the recorded trace in an attribute and a link."""
    forks = fork(recorded, span="thank")

    origin = forks.before.cases[0].records[0].trace_id
    root = next(span for span in forks.after.cases[0].records[0].spans if span.body.get("parent_span_id") is None)
    assert root.body["metadata"]["attributes"]["pandaprobe.forked_from"] == origin
    assert [link["trace_id"] for link in root.body["metadata"]["links"]] == [origin.replace("-", "")]


def test_forks_are_judged_as_the_recorded_run_is(recorded: Path) -> None:
    """Forks are scored like the recorded run; several have a pass rate, which is compared with the recorded run."""

    def brief(run: TaskRun) -> bool:
        return len(run.output) < 16

    forks = fork(recorded, span="thank", prompt="You thank them very politely.", repeat=6, metrics=[brief])
    text = fork_text(forks)

    assert "forks: 0/6 passed (0%, 95 % CI 0–39)" in text
    assert "brief: 1.00 → 0.00 over 6 cases, regression" in text
    assert "a single sample" in text


def test_the_text_of_a_fork(recorded: Path) -> None:
    """The report has the cut, the sent requests, the differing spans, the sums, the verdicts and the file."""
    text = fork_text(fork(recorded, span="thank", model="tiny"))

    assert text.startswith(
        "fork of shop from thank, model tiny\n  recorded from there on: call 5\n  4 calls played, 1 sent\n"
    )
    assert "first difference: LLM chat big\n  input\n" not in text
    assert "-   " in text
    assert "tokens: " in text
    assert "\nrecorded: ran to the end\nfork: ran to the end\nkept in " in text


def interaction(call: int, at: str, *after: int) -> Interaction:
    """Return a recorded call without content."""
    return Interaction(call, RecordedRequest("POST", "https://x.example"), RecordedAnswer(200), at, after)


NAMED = Cassette(
    interactions=(
        interaction(1, "a > search"),
        interaction(2, "a > search (2nd)", 1),
        interaction(3, "a > search (2nd) > chat", 2),
        interaction(4, "b > sum", 3),
    )
)


@pytest.mark.parametrize(
    ("span", "gone", "before"),
    [
        ("search (1st)", (1, 2, 3, 4), set[int]()),
        ("a > search (2nd)", (2, 3, 4), {1}),
        ("chat", (3, 4), {1, 2}),
        ("2", (2, 3, 4), {1}),
        ("sum", (4,), {1, 2, 3}),
        ("a", (1, 2, 3, 4), set[int]()),
    ],
)
def test_a_span_is_named_by_its_name_its_place_or_a_call(span: str, gone: tuple[int, ...], before: set[int]) -> None:
    """The cut is named by a span, its place or a call's number; all calls of the span are sent again."""
    cut = cut_from(NAMED, span)

    assert cut.gone == gone
    assert cut.before == before


@pytest.mark.parametrize(
    ("span", "said"),
    [
        ("search", r"several spans: a > search \(1st\); a > search \(2nd\)"),
        ("9", "no call 9"),
        ("x", "Spans with calls: a > s"),
    ],
)
def test_a_span_that_cannot_be_meant_is_refused(span: str, said: str) -> None:
    """An unknown or ambiguous span is refused, with the possible choices."""
    with pytest.raises(RecordingError, match=said):
        cut_from(NAMED, span)


def test_the_command(shop: ProviderServer, recorded: Path, tmp_path: Path) -> None:
    """The command prints text or JSON and writes a page; its exit code is 0 only if the fork ran to the end."""
    environment = clean_environment(tmp_path, **{forked_shop.URL: shop.url})
    page, prompt = tmp_path / "fork.html", tmp_path / "prompt.txt"
    prompt.write_text("You thank a lot.", encoding="utf-8")
    common = ("rerun", str(recorded), "--entry", "forked_shop:shop", "--arguments", json.dumps(QUESTION))

    told = run_here(*common, "--from", "thank", "--prompt", str(prompt), "--html", str(page), environment=environment)
    refused = run_here(*common, "--from", "sum up", "--model", "tiny", "--format", "json", environment=environment)
    wrong = run_here(*common, "--from", "nowhere", environment=environment)
    other = run_here(*common[:-1], '{"question": "?"}', environment=environment)

    assert told.returncode == 0, told.stderr
    assert (told.returncode, refused.returncode, wrong.returncode, other.returncode) == (0, 1, 1, 1)
    assert "4 calls played, 1 sent" in told.stdout
    assert "del" in page.read_text(encoding="utf-8")
    found = json.loads(refused.stdout)
    assert (found["sent"], found["not_played"], found["kept_in"]) == ([1], [4, 5], [])
    assert "Spans with calls:" in wrong.stderr
    assert "Divergence at call 1" in other.stderr


def test_a_trace_is_a_recorded_run(shop: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace, which names its arguments, can be forked like a recording; the fork's trace names this trace."""
    forked_shop.shop(**QUESTION)
    assert pandaprobe_otel.flush()
    assert len(shop.received) == 5
    shop.received.clear()
    forked_shop.ran.clear()
    monkeypatch.chdir(tmp_path)
    (trace,) = traces_in(tmp_path / "traces.jsonl")
    (tmp_path / "trace.jsonl").write_bytes((tmp_path / "traces.jsonl").read_bytes())
    environment = clean_environment(tmp_path, **{forked_shop.URL: shop.url})

    told = run_here(
        "rerun",
        "trace.jsonl",
        "--entry",
        "forked_shop:shop",
        "--from",
        "thank > chat big",
        "--model",
        "tiny",
        environment=environment,
    )

    assert told.returncode == 0, told.stderr
    assert asked(shop) == [("tiny", "You thank.")]
    assert forked_shop.ran == []
    assert "4 calls played, 1 sent" in told.stdout
    (kept,) = tmp_path.glob("shop_*.fork-1.yaml")
    assert load(kept).made_from == trace.trace_id


def test_an_invented_signature_is_not_sent(shop: ProviderServer, tmp_path: Path) -> None:
    """A request with an invented signature is refused before it is sent, with a clearer error than the service's."""
    body = {"model": "m", "messages": [{"role": "user", "content": INVENTED_SIGNATURE}]}
    cut = cut_from(NAMED, None)

    with pytest.raises(RecordingError, match="replayable=True"), ForkedRecording(tmp_path / "f", ForkOptions(cut=cut)):
        httpx.post(f"{shop.url}/v1/messages", json=body)

    assert shop.received == []
