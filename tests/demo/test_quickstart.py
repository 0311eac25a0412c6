"""`examples/quickstart.py`, run by itself and by `pandaprobe-otel demo`, and its traces."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from command_line import COMMAND, clean_environment, run_here
from local_http import traces_of
from pandaprobe_otel.api import Client
from pandaprobe_otel.demo.runner import quickstart_environment, quickstart_path, run_quickstart
from pandaprobe_otel.demo.scripted_endpoint import Reply, ScriptedEndpoint
from pandaprobe_otel.demo.scripts import shop_script
from pandaprobe_otel.local import LocalServer


def test_the_demonstration_succeeds_whatever_the_settings(tmp_path: Path) -> None:
    """`demo --keep` shows the conversation, and a tree with kinds, tokens and the error.

    It ignores variables that turn tracing off, redirect it or set a proxy, and serves the pages until an interrupt.
    """
    environment = clean_environment(
        tmp_path,
        PANDAPROBE_ENABLED="false",
        PANDAPROBE_ENDPOINT="http://127.0.0.1:9",
        PANDAPROBE_SAMPLE_RATE="0",
        OTEL_SDK_DISABLED="true",
        OPENAI_BASE_URL="http://127.0.0.1:9",
        HTTP_PROXY="http://127.0.0.1:9",
        NO_PROXY="",
    )
    with subprocess.Popen(
        [COMMAND, "demo", "--keep"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        shown, urls = "", list[str]()
        for line in process.stdout:
            shown += line
            urls += re.findall(r"^  (http://\S+)$", line)
            if len(urls) == 2:
                break
        try:
            pages = [httpx.get(url, trust_env=False, timeout=60) for url in urls]
        finally:
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    assert (process.returncode, errors.strip()) == (0, "Ctrl-C ends it.")
    for words in (
        "Customer:  Where is my order 17?",
        "AGENT shop_assistant",
        "AGENT note_writer",
        "LLM   chat gpt-4o-mini",
        "TOOL  look_up_order",
        "ERROR no order '17'",
        "tokens  gpt-4o-mini",
    ):
        assert words in shown
    assert "WRONG" not in shown
    assert [page.status_code for page in pages] == [200, 200]
    assert "look_up_order" in pages[0].text


def test_the_settings_decide_with_cloud(tmp_path: Path) -> None:
    """`demo --cloud` sends to the configured PandaProbe and reads the traces back; its standard output is JSON."""
    with LocalServer(auth=True) as server:
        url = server.url
        environment = clean_environment(
            tmp_path, PANDAPROBE_ENDPOINT=url, PANDAPROBE_API_KEY=server.api_key, PANDAPROBE_PROJECT_NAME="shop"
        )
        done = run_here("demo", "--cloud", "--format", "json", environment=environment)

    result = json.loads(done.stdout)
    assert (done.returncode, result["ok"]) == (0, True)
    assert (result["endpoint"], result["project_name"]) == (url, "shop")
    assert (result["fault"], len(result["traces"])) == (None, 2)
    assert {trace["session_id"] for trace in result["traces"]} == {result["session_id"]}
    assert "Customer:" in done.stderr


def test_cloud_with_a_refused_key_fails(tmp_path: Path) -> None:
    """`demo --cloud` with no key or a refused one exits before the example runs, with a message."""
    without = run_here("demo", "--cloud", environment=clean_environment(tmp_path))
    assert (without.returncode, without.stdout, "PANDAPROBE_API_KEY" in without.stderr) == (4, "", True)
    with LocalServer(auth=True) as server:
        environment = clean_environment(
            tmp_path, PANDAPROBE_ENDPOINT=server.url, PANDAPROBE_API_KEY="sk_pp_" + "0" * 64
        )
        done = run_here("demo", "--cloud", environment=environment)

    assert (done.returncode, done.stdout) == (2, "")
    assert "Invalid or revoked API key" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_example_is_the_one_that_is_shown() -> None:
    """The demonstration runs the same file as `examples/quickstart.py`."""
    assert quickstart_path().read_text() == (Path(__file__).parents[2] / "examples" / "quickstart.py").read_text()


def test_the_example_runs_without_any_key(tmp_path: Path) -> None:
    """Without any key, the last lines name the session and a command, whose database has the traces."""
    settings = clean_environment(tmp_path, TMPDIR=str(tmp_path))
    alone = {name: value for name, value in settings.items() if not name.startswith("OPENAI_")}
    done = subprocess.run(
        [sys.executable, str(quickstart_path())], env=alone, capture_output=True, encoding="utf-8", check=False
    )

    assert done.returncode == 0, done.stderr
    last = re.search(
        r"\nTraces: 2 in session (quickstart-\w+)\nLook at them: pandaprobe-otel local --db (\S+)\n$", done.stdout
    )
    assert last is not None, done.stdout
    with LocalServer(last[2]) as server, Client(server.api_key, endpoint=server.url) as client:
        seen = [(trace.session_id, trace.name) for trace in client.traces.iter()]
    assert sorted(seen) == [(last[1], "note_writer"), (last[1], "shop_assistant")]


def run_here_with(script: Any, pandaprobe: dict[str, str], current: dict[str, str]) -> tuple[Any, Any]:
    """Run the example, and return the finished run and the requests that the model has answered."""
    with ScriptedEndpoint(script) as model:
        environment = quickstart_environment(current, model_url=model.base_url, pandaprobe=pandaprobe)
        run = run_quickstart({**environment, "PYTHONWARNINGS": "ignore"}, show=lambda text: None)
        return run, model.exchanges


def test_a_failing_example_is_reported() -> None:
    """A failing example is reported with its exit code and without a session; hosts in NO_PROXY stay there."""

    def silent(_: object) -> Reply:
        raise LookupError("nothing to say")

    run, _ = run_here_with(silent, {"PANDAPROBE_ENABLED": "false"}, {})
    assert (run.exit_code, run.session_id) == (1, None)
    for name in ("NO_PROXY", "no_proxy"):
        environment = quickstart_environment({name: "intern.example"}, model_url="http://m", pandaprobe={})
        assert environment[name] == "intern.example,127.0.0.1,localhost"


def test_the_traces_are_what_the_agent_did(tmp_path: Path) -> None:
    """Each trace has its question and answer; its model calls and tools are those that the endpoint recorded."""
    with LocalServer() as server:
        run, exchanges = run_here_with(shop_script, server.environment("shop"), clean_environment(tmp_path))
        traces = sorted(traces_of(server), key=lambda trace: str(trace["started_at"]))
    asked = [one.request["messages"] for one in exchanges]
    questions = [messages[-1]["content"] for messages in asked if messages[-1]["role"] == "user"]
    answers = [one.reply.text for one in exchanges if not one.reply.tool_calls]
    spans = sorted((span for trace in traces for span in trace["spans"]), key=lambda span: str(span["started_at"]))
    calls, tools = ([span for span in spans if span["kind"] == kind] for kind in ("LLM", "TOOL"))

    assert [(trace["session_id"], trace["status"]) for trace in traces] == [(run.session_id, "COMPLETED")] * 2
    assert all(question in json.dumps(trace["input"]) for question, trace in zip(questions, traces, strict=True))
    assert all(answer in json.dumps(trace["output"]) for answer, trace in zip(answers, traces, strict=True))
    for exchange, span in zip(exchanges, calls, strict=True):
        spent, usage = span["token_usage"], exchange.usage
        assert (spent["prompt_tokens"], spent["completion_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
        assert (span["model"], span["completion_start_time"] is not None) == (exchange.model, exchange.streamed)
    made = [call for one in exchanges for call in one.reply.tool_calls]
    results = [message["content"] for messages in asked for message in messages[-1:] if message["role"] == "tool"]
    for call, result, span in zip(made, results, tools, strict=True):
        assert (span["name"], span["input"]) == (call.name, call.arguments)
        failed = result.startswith("error: ")
        assert span["status"] == ("ERROR" if failed else "OK")
        assert result[7:] in span["error"] if failed else json.loads(result) == span["output"]
