"""`examples/quickstart.py`, run by itself and by `pandaprobe-otel demo`, and its traces."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from command_line import COMMAND, clean_environment, run_here
from pandaprobe_otel.api import Client
from pandaprobe_otel.demo.runner import quickstart_environment, quickstart_path, run_quickstart
from pandaprobe_otel.demo.scripted_endpoint import Reply, ScriptedEndpoint
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


def test_a_failing_example_is_reported() -> None:
    """A failing example is reported with its exit code and without a session; hosts in NO_PROXY stay there."""

    def silent(_: object) -> Reply:
        raise LookupError("nothing to say")

    with ScriptedEndpoint(silent) as model:
        off = {"PANDAPROBE_ENABLED": "false", "PYTHONWARNINGS": "ignore"}
        run = run_quickstart(
            quickstart_environment({}, model_url=model.base_url, pandaprobe=off), show=lambda text: None
        )
    assert (run.exit_code, run.session_id) == (1, None)
    for name in ("NO_PROXY", "no_proxy"):
        environment = quickstart_environment({name: "intern.example"}, model_url="http://m", pandaprobe={})
        assert environment[name] == "intern.example,127.0.0.1,localhost"
