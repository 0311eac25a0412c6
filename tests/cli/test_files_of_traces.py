"""From `init(local=FILE)` to `send` and `view`, each in a process of its own, as users run them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from command_line import clean_environment, run_here
from local_http import http_of
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
    subprocess.run([sys.executable, "-c", APP, str(written)], env=environment, check=True, timeout=240)
    return written


@pytest.fixture(scope="module")
def server() -> Generator[LocalServer]:
    """The server that receives the traces."""
    with LocalServer(limit=None) as running:
        yield running


def test_send_delivers_everything(file: Path, server: LocalServer, tmp_path: Path) -> None:
    """`send` delivers traces, late spans and scores, skips a cut line, and counts a refused score."""
    whole = file.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in whole.splitlines()]
    refused = next(line["score"] for line in lines if "score" in line)
    file = tmp_path / "cut.jsonl"
    file.write_text(
        f"{whole}{json.dumps({'score': {**refused, 'value': '7', 'data_type': 'NUMERIC'}})}\n{{cut off",
        encoding="utf-8",
    )
    environment = {**server.environment("sent-later"), "PANDAPROBE_LOCAL": str(file)}
    result = run_here("send", str(file), environment=clean_environment(tmp_path, **environment))
    assert result.returncode == 5
    assert re.fullmatch(rf"4 traces, 6\d\d spans sent to {server.url}, project sent-later\n", result.stdout)
    assert "skipped: no JSON" in result.stderr
    assert "1 score not sent: refused (" in result.stderr
    with http_of(server, "sent-later") as http:
        traces, scores = (http.get(path).json()["items"] for path in ("/traces", "/evaluations/trace-scores"))
    assert sorted(trace["span_count"] for trace in traces) == [2, 2, 2, 601]
    assert [score["reason"] for score in scores] == ["half right"] * 3


def test_send_names_the_line_to_continue_from(file: Path, tmp_path: Path) -> None:
    """A used-up quota ends `send` with the line to continue from; a refused key ends it before anything is sent."""
    with LocalServer(limit=None, auth=True) as server:
        key = server.make_key(plan="HOBBY", used_traces=100)
        environment = clean_environment(tmp_path, PANDAPROBE_ENDPOINT=server.url, PANDAPROBE_API_KEY=key)
        result = run_here("send", str(file), environment=environment)
        assert result.returncode == 5
        assert "You've reached the traces limit" in result.stderr
        assert "continue with --from-line 1" in result.stderr
        refused = run_here("send", str(file), "--api-key", "sk_pp_wrong", environment=environment)
    assert refused.returncode == 2
    assert "refuses the API key" in refused.stderr


def test_view_makes_one_page(file: Path, tmp_path: Path) -> None:
    """`view` writes one page with every trace and span, which loads nothing else; an empty file is an error."""
    page = tmp_path / "page.html"
    (tmp_path / "t.jsonl").write_text("nothing\n", encoding="utf-8")
    empty = run_here("view", str(tmp_path / "t.jsonl"), environment=clean_environment(tmp_path))
    assert (empty.returncode, "contains no traces" in empty.stderr) == (1, True)
    result = run_here("view", str(file), "-o", str(page), environment=clean_environment(tmp_path))
    assert result.returncode == 0, result.stderr
    text = page.read_text(encoding="utf-8")
    assert text.count("<article data-place") == 4
    assert text.count('role="treeitem"') == 4 + 3 * 2 + 601
    assert "half right" in text
    assert "http://" not in text
    assert "https://" not in text
