"""Forks of a recorded run, which go on live from a span: the sent requests, the replayed ones, and the report."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import forked_shop
import pandaprobe_otel
import pandaprobe_otel.mapping.assemble  # not later: two threads that compile it confuse CPython 3.11
from command_line import clean_environment, run_here
from conformance.libraries import bedrock as bedrock_wire
from pandaprobe_otel import bootstrap
from pandaprobe_otel.api import Client
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.protocols.anthropic import INVENTED_SIGNATURE
from pandaprobe_otel.registry import instrumented, uninstrument
from planted_traces import trace_of
from provider_server import ProviderServer, Reply, json_reply
from recorded_conversations import BY_NAME, shop_talk
from sent_traces import send_traces

QUESTION = {"question": "Where are A-1 and A-2?"}
ALL = ["You plan.", "You check orders.", "You check orders.", "You sum up.", "You thank."]
Fork = Callable[..., subprocess.CompletedProcess[str]]


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


@pytest.fixture
def fork(shop: ProviderServer, tmp_path: Path) -> Fork:
    """Return a function that runs `pandaprobe-otel replay rerun` with a recording, by default of the shop."""

    def run(
        path: Path, *options: str, entry: str = "forked_shop:shop", arguments: Any = QUESTION
    ) -> subprocess.CompletedProcess[str]:
        given = ("--entry", entry, "--arguments", json.dumps(arguments))
        environment = clean_environment(tmp_path, **{forked_shop.URL: shop.url})
        return run_here("replay", "rerun", str(path), *given, *options, environment=environment)

    return run


def sent(shop: ProviderServer) -> list[tuple[str, str]]:
    """Return the requested models with their prompts, in order."""
    return [(one.json["model"], one.json["messages"][0]["content"]) for one in shop.received]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ("thank", ["You thank."]),
        ("5", ["You thank."]),
        ("sum up", ["You sum up.", "You thank."]),
        ("check A-1", ["You check orders.", "You sum up.", "You thank."]),
        ("shop > plan", ALL),
        ("shop", ALL),
        (None, ALL),
    ],
)
def test_only_calls_after_the_cut_are_sent(
    shop: ProviderServer, recorded: Path, fork: Fork, span: str | None, expected: list[str]
) -> None:
    """Only calls after the cut are sent; a parallel branch is replayed, and no tool runs if its calls are unchanged."""
    done = fork(recorded, *([] if span is None else ["--from", span]), "--format", "json")

    assert done.returncode == 0, done.stderr
    assert [prompt for _, prompt in sent(shop)] == expected
    assert forked_shop.ran == []
    found = json.loads(done.stdout)
    assert (len(found["not_played"]), found["sent"]) == (len(expected), [len(expected)])


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ("chat big", "several spans: shop > plan > chat big (1st); "),
        ("9", "no call 9"),
        ("nowhere", "Spans with calls: "),
    ],
)
def test_an_unclear_span_is_refused(shop: ProviderServer, recorded: Path, fork: Fork, span: str, message: str) -> None:
    """An unknown or ambiguous span is refused, with the possible choices."""
    done = fork(recorded, "--from", span)

    assert done.returncode == 1
    assert message in done.stderr
    assert shop.received == []


def test_model_and_prompt_are_replaced_from_the_cut_on(
    shop: ProviderServer, recorded: Path, fork: Fork, tmp_path: Path
) -> None:
    """From the cut on, the model or prompt of the call at the cut is replaced, but no other of the program."""
    assert fork(recorded, "--from", "check A-1", "--model", "tiny", "--live-tools", "refund").returncode == 0
    assert sent(shop) == [("tiny", "You check orders."), ("big", "You sum up."), ("big", "You thank.")]

    shop.received.clear()
    forked_shop.ran.clear()
    prompt, page = tmp_path / "prompt.txt", tmp_path / "fork.html"
    prompt.write_text("You are brief.", encoding="utf-8")
    options = ("--prompt", str(prompt), "--live-tools", "refund", "--html", str(page))
    assert fork(recorded, "--from", "sum up", *options).returncode == 0
    assert sent(shop) == [("big", "You are brief."), ("big", "You thank.")]
    assert [name.partition("/")[0] for name in forked_shop.ran] == ["refund big"]
    assert "<span class=good>" in page.read_text(encoding="utf-8")


def test_a_tool_with_other_arguments_does_not_run(shop: ProviderServer, recorded: Path, fork: Fork) -> None:
    """An unrecorded tool call does not run, nothing more is sent, and the error names the option to allow the tool."""
    done = fork(recorded, "--from", "sum up", "--model", "tiny", "--format", "json")

    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert "--live-tools=refund lets it run" in found["forks"][0]["error"]
    assert (found["sent"], found["not_played"], found["kept_in"]) == ([1], [4, 5], [])
    assert forked_shop.ran == []
    assert len(shop.received) == 1


def test_a_fork_is_a_cassette_of_its_own(shop: ProviderServer, recorded: Path, fork: Fork) -> None:
    """A fork is saved as a cassette with a new name, which can be replayed without a network."""
    before = recorded.read_bytes()
    found = json.loads(fork(recorded, "--from", "thank", "--repeat", "2", "--format", "json").stdout)

    kept = [recorded.with_name(f"shop.fork-{number}.yaml") for number in (1, 2)]
    assert found["kept_in"] == list(map(str, kept))
    assert recorded.read_bytes() == before
    shop.received.clear()
    with pandaprobe_otel.recording(kept[1], mode="none", tools=True):
        assert forked_shop.shop(**QUESTION) == found["forks"][1]["output"]
    assert shop.received == []


def test_a_changed_program_is_not_forked(shop: ProviderServer, recorded: Path, fork: Fork) -> None:
    """If the program behaves differently before the cut, the error has the difference, and nothing is sent."""
    done = fork(recorded, "--from", "thank", arguments={"question": "Where is B-9?"})

    assert done.returncode == 1
    assert "no longer behaves as in the recording. Divergence at call 1" in done.stderr
    assert "messages[1]" in done.stderr
    assert shop.received == []


def test_a_model_of_another_protocol_is_refused(shop: ProviderServer, recorded: Path, fork: Fork) -> None:
    """A model of another protocol is refused, because the program could not read its answers; nothing is sent."""
    done = fork(recorded, "--from", "thank", "--model", "claude-5")

    assert done.returncode == 1
    assert "needs the protocol anthropic" in done.stdout
    assert shop.received == []


def test_forks_are_judged_as_the_recorded_run_is(recorded: Path, fork: Fork, tmp_path: Path) -> None:
    """Forks are scored like the recorded run; several have a pass rate, which is compared with the recorded run."""
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("You thank them very politely.", encoding="utf-8")
    options = ("--prompt", str(prompt), "--repeat", "6", "--scorer", "forked_shop:is_brief")
    text = fork(recorded, "--from", "thank", *options).stdout

    assert "forks: 0/6 passed (0%, 95 % CI 0–39)" in text
    assert "is_brief: 1.00 → 0.00 over 6 cases, regression" in text
    assert "a single sample" in text


def test_the_text_and_the_trace_of_a_fork(recorded: Path, fork: Fork, tmp_path: Path) -> None:
    """The report has the cut, the sent requests, the difference, the sums and the file; the trace names its origin."""
    text = fork(recorded, "--from", "thank", "--model", "tiny").stdout

    assert text.startswith(
        "fork of shop from thank, model tiny\n  recorded from there on: call 5\n  4 calls played, 1 sent\n"
    )
    assert "first difference: LLM chat big" in text
    assert "-   " in text
    assert "tokens: " in text
    assert "\nrecorded: ran to the end\nfork: ran to the end\nkept in " in text
    assert pandaprobe_otel.flush()
    assert "pandaprobe.forked_from" in (tmp_path / "traces.jsonl").read_text(encoding="utf-8")


def test_a_trace_is_a_recorded_run(shop: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace, which names its arguments, can be forked like a recording; the fork names this trace."""
    forked_shop.shop(**QUESTION)
    assert pandaprobe_otel.flush()
    assert len(shop.received) == 5
    shop.received.clear()
    forked_shop.ran.clear()
    monkeypatch.chdir(tmp_path)
    lines = Path("traces.jsonl").read_text(encoding="utf-8")
    Path("trace.jsonl").write_text(lines, encoding="utf-8")
    environment = clean_environment(tmp_path, **{forked_shop.URL: shop.url})
    options = ("--entry", "forked_shop:shop", "--from", "thank > chat big", "--model", "tiny")
    done = run_here("replay", "rerun", "trace.jsonl", *options, environment=environment)

    assert done.returncode == 0, done.stderr
    assert sent(shop) == [("tiny", "You thank.")]
    assert forked_shop.ran == []
    assert "4 calls played, 1 sent" in done.stdout
    (kept,) = tmp_path.glob("shop_*.fork-1.yaml")
    assert json.loads(lines)["trace_id"] in kept.read_text(encoding="utf-8")


def test_several_traces_are_compared_in_pairs(
    shop: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traces of files and of a server are run again in pairs; one that no longer matches is named and not counted."""
    for number in range(7):
        forked_shop.shop(question=f"Where is A-{number}?")
    assert pandaprobe_otel.flush()
    shop.received.clear()
    monkeypatch.chdir(tmp_path)
    traces = [json.loads(line) for line in Path("traces.jsonl").read_text(encoding="utf-8").splitlines()]
    traces.sort(key=lambda trace: str(trace["started_at"]))
    root = next(span for span in traces[6]["spans"] if span.get("parent_span_id") is None)
    root["input"] = {"question": "Where is B-9?"}
    Path("old.jsonl").write_text("\n".join(map(json.dumps, traces)), encoding="utf-8")
    Path("prompt.txt").write_text("You thank them very politely.", encoding="utf-8")
    options = ("--entry", "forked_shop:shop", "--from", "thank", "--prompt", "prompt.txt", "--scorer")
    environment = clean_environment(tmp_path, **{forked_shop.URL: shop.url})
    done = run_here("replay", "rerun", "old.jsonl", *options, "forked_shop:is_brief", environment=environment)

    assert done.returncode == 1, done.stderr
    assert sent(shop) == [("big", "You thank them very politely.")] * 6
    assert "6 recorded runs, 24 calls played, 6 sent" in done.stdout
    assert "is_brief: 1.00 → 0.00 over 6 cases, regression (p = 0.016)" in done.stdout
    assert "no_failure: 1.00 → 1.00 over 6 cases, no significant change" in done.stdout
    assert f"{traces[6]['trace_id']}: not run again: The program no longer behaves as in the recording" in done.stdout

    with LocalServer() as server, Client("any", "shop", server.url) as client:
        send_traces(client, traces[:3])
        environment |= server.environment("shop")
        more = ("is_not_brief", "--name", "shop", "--limit", "2", "--repeat", "2", "--format", "json")
        done = run_here("replay", "rerun", *options, f"forked_shop:{more[0]}", *more[1:], environment=environment)
    found = json.loads(done.stdout)
    assert (done.returncode, found["sent"], len(found["kept_in"]), found["not_run"]) == (0, [1] * 4, 4, {})
    changes = {one["metric"]: (one["before"], one["after"], one["change"]) for one in found["comparison"]["changes"]}
    assert changes["is_not_brief"] == changes["passed"] == (0.0, 1.0, "too few cases to tell")
    assert [case["id"] for case in found["forks"]] == [one["trace_id"] for one in (traces[2], traces[1])]


@pytest.mark.parametrize(
    "arguments",
    [(), ("a.yaml", "--name", "shop"), ("a.yaml", "b.yaml"), ("two.jsonl", "--arguments", "[]"), ("none.jsonl",)],
)
def test_unclear_recordings_are_refused(
    arguments: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recordings beside filters, several cassettes, arguments for several traces and an empty file are refused."""
    monkeypatch.chdir(tmp_path)
    bodies = [{**trace_of(2), "trace_id": str(uuid4())} for _ in range(2)]
    Path("two.jsonl").write_text("\n".join(map(json.dumps, bodies)), encoding="utf-8")
    Path("none.jsonl").touch()

    assert run_here("replay", "rerun", *arguments, environment=clean_environment(tmp_path)).returncode == 4


TALK = shop_talk(1)
BRIEF = replace(TALK, system="Be brief.", model="model-9")


def talk_of(name: str, library: str, path: str | None = None) -> Any:
    """Return a case: a library, the path and body of a recorded request, and of the request that the fork sends."""
    protocol = BY_NAME[name]
    recorded, fork = (
        (path.format(one.model) if path else protocol.path(one.model), protocol.body(one, 1)) for one in (TALK, BRIEF)
    )
    return pytest.param(library, recorded, fork, id=f"{name} {library}{' ' if path else ''}{path or ''}")


def prompt_of(path: str, body: dict[str, Any], with_prompt: dict[str, Any]) -> Any:
    """Return a case of a request without a prompt."""
    sent = {**body, **with_prompt, "model": "model-9"} if "model" in body else {**body, **with_prompt}
    return pytest.param("httpx", (path, body), (path.replace("model-1", "model-9"), sent), id=f"no prompt {path}")


@pytest.mark.parametrize(
    ("library", "recorded_request", "forked_request"),
    [
        talk_of("chat", "httpx"),
        talk_of("responses", "httpx async"),
        talk_of("anthropic", "httpx2"),
        talk_of("gemini", "requests"),
        talk_of("ollama", "aiohttp"),
        talk_of("cohere", "aiohttp with text"),
        talk_of("converse", "boto3", "/model/{}%3A0/converse"),
        talk_of("converse", "boto3", "/model/{}%3A0/converse-stream"),
        talk_of("chat", "httpx", "/openai/deployments/{}/chat/completions?v=1"),
        prompt_of(
            "/v1/chat/completions",
            {"model": "model-1", "messages": [{"role": "user", "content": "Hi"}]},
            {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]},
        ),
        prompt_of("/v1/responses", {"model": "model-1", "input": "Hi"}, {"instructions": "Be brief."}),
        prompt_of("/v1/messages", {"model": "model-1", "messages": []}, {"system": "Be brief."}),
        prompt_of(
            "/v1beta/models/model-1:generateContent",
            {"contents": []},
            {"systemInstruction": {"parts": [{"text": "Be brief."}]}},
        ),
    ],
)
def test_each_library_sends_the_request_of_the_fork(
    library: str,
    recorded_request: tuple[str, Any],
    forked_request: tuple[str, Any],
    shop: ProviderServer,
    fork: Fork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of each protocol, by each library, model and prompt are replaced at their places, and everything else stays."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "key")  # signs nothing
    path, body = recorded_request
    wire = bedrock_wire.ADAPTERS[0].answer
    streamed = path.endswith("-stream")
    shop.replies(
        Reply(chunks=wire.chunks, content_type=wire.stream_type)
        if streamed
        else Reply(chunks=(wire.whole,), content_type="application/json")
        if library == "boto3"
        else json_reply({"answer": 1})
    )
    arguments = [library, path, body]
    cassette, prompt = tmp_path / "one.yaml", tmp_path / "prompt.txt"
    with pandaprobe_otel.recording(cassette, tools=True):
        live = forked_shop.post(library, path, body)
    prompt.write_text("Be brief.", encoding="utf-8")
    model = "model-9:0" if library == "boto3" else "model-9"
    options = ("--model", model, "--prompt", str(prompt), "--format", "json")
    done = fork(cassette, *options, entry="forked_shop:post", arguments=arguments)

    assert done.returncode == 0, done.stdout + done.stderr
    first, last = shop.received
    assert (first.path, first.json) == (path, body)
    assert (last.path, last.json) == forked_request
    assert last.headers["content-type"] == first.headers["content-type"]
    assert last.headers.get("authorization") == first.headers.get("authorization")
    assert json.loads(done.stdout)["forks"][0]["output"] == live


@pytest.mark.parametrize(
    ("library", "request_of", "message"),
    [
        ("boto3", ("/model/model-1%3A0/converse", BY_NAME["converse"].body(TALK, 0)), "signed"),
        (
            "httpx",
            ("/v1/messages", {"model": "m", "messages": [{"role": "user", "content": INVENTED_SIGNATURE}]}),
            "replayable=True",
        ),
    ],
    ids=["signed", "invented signature"],
)
def test_a_request_that_cannot_be_changed_is_refused(
    library: str,
    request_of: tuple[str, Any],
    message: str,
    shop: ProviderServer,
    fork: Fork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signed request and one with an invented signature are refused before they are sent, with the reason."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    shop.replies(Reply(chunks=(bedrock_wire.ADAPTERS[0].answer.whole,)))
    with pandaprobe_otel.recording(tmp_path / "one.yaml", tools=True):
        forked_shop.post(library, *request_of)
    done = fork(tmp_path / "one.yaml", "--model", "model-9", entry="forked_shop:post", arguments=[library, *request_of])

    assert done.returncode == 1
    assert message in done.stdout
    assert len(shop.received) == 1
