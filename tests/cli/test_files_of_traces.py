"""From `init(local=FILE)` to `send` and `view`, each in a process of its own, as users run them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from command_line import clean_environment, run_command_line
from pandaprobe_otel.local import LocalServer

APP = """
import pandaprobe_otel, sys
handle = pandaprobe_otel.init(local=sys.argv[1])
@pandaprobe_otel.tool
def add(a, b): return a + b
@pandaprobe_otel.agent
def agent(question):
    pandaprobe_otel.score(pandaprobe_otel.current_trace_id(), "good", 0.5, reason="half right")
    return add(1, 2)
for number in range(3):
    agent(f"question {number}")
with pandaprobe_otel.agent("long"):
    for number in range(600): add(number, 1)
assert handle.flush(60)
assert handle.status().spans_dropped == {}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of traces, written by an app without a key or a server."""
    folder = tmp_path_factory.mktemp("files")
    environment = clean_environment(folder, PANDAPROBE_ENDPOINT="http://127.0.0.1:9")
    written = folder / "traces.jsonl"
    subprocess.run([sys.executable, "-c", APP, str(written)], env=environment, check=True, timeout=60)
    return written


@pytest.fixture(scope="module")
def server() -> Generator[LocalServer]:
    """The server that receives the traces."""
    with LocalServer(limit=None) as running:
        yield running


def _get(server: LocalServer, path: str) -> httpx.Response:
    headers = {"X-API-Key": server.api_key, "X-Project-Name": "sent-later"}
    return httpx.get(server.url + path, headers=headers, trust_env=False, timeout=60)


def test_the_file_has_a_trace_a_line(file: Path) -> None:
    """The file has a line for each trace (the body of a POST) and each score, and lines for spans beyond 500."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    traces = [line for line in lines if "started_at" in line]
    assert sorted(trace["name"] for trace in traces) == ["agent", "agent", "agent", "long"]
    # A long trace may be written in parts, each with the root in its state at that time.
    assert len({span["span_id"] for line in lines for span in line.get("spans", ())}) == 3 * 2 + 601
    assert sum("score" in line for line in lines) == 3


def test_send_delivers_everything(file: Path, server: LocalServer, tmp_path: Path) -> None:
    """`send` delivers traces, late spans and scores, skips a cut line, and ignores PANDAPROBE_LOCAL."""
    whole, file = file, tmp_path / "cut.jsonl"
    file.write_text(whole.read_text(encoding="utf-8") + '{"cut off', encoding="utf-8")
    environment = {**server.environment("sent-later"), "PANDAPROBE_LOCAL": str(file)}
    result = run_command_line("send", str(file), environment=clean_environment(tmp_path, **environment))
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(rf"4 traces, 6\d\d spans sent to {server.url}, project sent-later\n", result.stdout)
    assert "skipped: no JSON" in result.stderr
    traces = _get(server, "/traces").json()["items"]
    assert sorted(trace["span_count"] for trace in traces) == [2, 2, 2, 601]
    assert [score["reason"] for score in _get(server, "/evaluations/trace-scores").json()["items"]] == [
        "half right"
    ] * 3


def test_send_says_where_to_go_on(file: Path, tmp_path: Path) -> None:
    """A used-up quota ends `send` with the line to continue from; a refused key ends it before anything is sent."""
    with LocalServer(limit=None, auth=True) as server:
        key = server.make_key(plan="HOBBY", used_traces=100)
        environment = clean_environment(tmp_path, PANDAPROBE_ENDPOINT=server.url, PANDAPROBE_API_KEY=key)
        result = run_command_line("send", str(file), environment=environment)
        assert result.returncode == 5
        assert "You've reached the traces limit" in result.stderr
        assert "continue with --from-line 1" in result.stderr
        refused = run_command_line("send", str(file), "--api-key", "sk_pp_wrong", environment=environment)
    assert refused.returncode == 2
    assert "refuses the API key" in refused.stderr


def test_send_reports_a_refused_score(file: Path, server: LocalServer, tmp_path: Path) -> None:
    """A refused score makes `send` fail, and the message counts it."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    score = next(line["score"] for line in lines if "score" in line)
    trace = next(line for line in lines if line.get("trace_id") == score["trace_id"] and "started_at" in line)
    trace = {**trace, "trace_id": str(uuid4())}  # a server accepts an id only once, in one project
    refused = {"score": {**score, "trace_id": trace["trace_id"], "value": "7", "data_type": "NUMERIC"}}
    file = tmp_path / "refused.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in (trace, refused)), encoding="utf-8")
    environment = clean_environment(tmp_path, **server.environment("refused"))
    result = run_command_line("send", str(file), environment=environment)
    assert result.returncode == 5
    assert "1 score not sent: refused (" in result.stderr
    shown = run_command_line("send", str(file), "--format", "json", environment=environment)
    assert json.loads(shown.stdout)["scores_dropped"] == {"refused": 1}


def test_the_old_name_of_send_says_so_once(file: Path, tmp_path: Path) -> None:
    """`replay FILE` works as before, prints its new name once, and is not listed as a command."""
    environment = clean_environment(tmp_path, PANDAPROBE_ENDPOINT="http://127.0.0.1:9")
    result = run_command_line("replay", str(file), environment=environment)
    listed = run_command_line("--help", environment=environment)
    assert result.returncode == 5
    assert result.stderr.count("it is now `pandaprobe-otel send`.") == 1
    assert "127.0.0.1:9 does not accept the API key" in result.stderr
    assert "replay" not in listed.stdout


def test_view_makes_one_page(file: Path, tmp_path: Path) -> None:
    """`view` writes one page with every trace and span, which loads nothing else."""
    page = tmp_path / "page.html"
    result = run_command_line("view", str(file), "-o", str(page), environment=clean_environment(tmp_path))
    assert result.returncode == 0, result.stderr
    text = page.read_text(encoding="utf-8")
    assert text.count("<article data-place") == 4
    assert text.count('role="treeitem"') == 4 + 3 * 2 + 601
    assert "half right" in text
    assert "http://" not in text
    assert "https://" not in text


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    """A file without a trace is an error and makes no empty page."""
    (tmp_path / "t.jsonl").write_text("nothing\n", encoding="utf-8")
    result = run_command_line("view", str(tmp_path / "t.jsonl"), environment=clean_environment(tmp_path))
    assert result.returncode == 1
    assert "line 1 skipped" in result.stderr
    assert "contains no traces" in result.stderr


def test_a_trace_and_a_session_as_one_page(server: LocalServer, tmp_path: Path) -> None:
    """`export --html` makes a page of a trace with its scores, or of a session with its traces."""
    headers = {"X-API-Key": server.api_key, "X-Project-Name": "exported"}
    ids = [f"0f4f6f4e-0000-4000-8000-00000000000{number}" for number in range(2)]
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as http:
        for trace_id in ids:
            body = {"trace_id": trace_id, "name": "agent", "started_at": "2026-01-02T03:04:05Z", "session_id": "s 1"}
            http.post("/traces", json=body).raise_for_status()
        score = {"trace_id": ids[0], "name": "good", "value": "0.5", "reason": "half right"}
        http.post("/evaluations/trace-scores", json=score).raise_for_status()
    environment = clean_environment(tmp_path, **server.environment("exported"))
    one = run_command_line("export", ids[0], "--html", environment=environment)
    assert one.stdout.count("<article data-place") == 1
    assert "half right" in one.stdout
    session = run_command_line("export", "--session-id", "s 1", "--html", environment=environment)
    assert session.stdout.count("<article data-place") == 2
    assert "<title>s 1 · PandaProbe</title>" in session.stdout


@pytest.mark.parametrize(
    ("value", "words"), [("nowhere/t.jsonl", "a directory that does not exist"), (".", "is a directory")]
)
def test_a_bad_file_name_never_sends_anything(value: str, words: str, tmp_path: Path) -> None:
    """A file that cannot be written disables sending, and the warning names the setting."""
    code = "import pandaprobe_otel as p; h = p.init(api_key='sk_pp_1'); print(h.enabled)"
    environment = {**clean_environment(tmp_path), "PANDAPROBE_LOCAL": value}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert result.stdout == "False\n"
    assert words in result.stderr
    assert "PANDAPROBE_LOCAL" in result.stderr
    assert os.listdir(tmp_path) == []
