"""Tables that fit the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import clean_environment, run_here
from local_http import http_of
from pandaprobe_otel.local import LocalServer

ID = "7a8008fe-8018-4a7f-9a53-f0eac657ad53"
STARTED, ENDED = "2026-11-28T14:30:00Z", "2026-11-28T14:30:00.093Z"
TRACE = {
    "trace_id": ID, "name": "shop_assistant", "started_at": STARTED, "ended_at": ENDED, "session_id": "customer-4711",
    "user_id": "user-7",
    "spans": [{"name": "m", "kind": "LLM", "started_at": STARTED, "token_usage": {"prompt_tokens": 1234}}],
}  # fmt: skip
LONG = {"trace_id": ID, "name": "task_completion", "value": "0.9", "reason": "word " * 40}


@pytest.mark.parametrize(
    ("width", "columns", "identity"),
    [
        (200, "name status latency_ms started_at", ID),
        (80, "name status latency_ms trace_id", ID),
        (60, "name status latency_ms trace_id", "7a8008fe-8…eac657ad53"),
    ],
)
def test_a_table_fits_its_width(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, columns: str, identity: str
) -> None:
    """Name, status, latency and id always stay, a narrow terminal cuts the id; a long reason displaces no value."""
    monkeypatch.setattr("pandaprobe_otel.cli.options._WIDTH_OF_PIPES", width)
    with LocalServer(limit=None) as server:
        with http_of(server, "p") as http:
            http.post("/traces", json=TRACE).raise_for_status()
            http.post("/evaluations/trace-scores", json=LONG).raise_for_status()
        environment = clean_environment(tmp_path, **server.environment("p"))
        traces = run_here("traces", "list", environment=environment).stdout
        scores = run_here("scores", "list", environment=environment).stdout

    head, row = (line.rstrip() for line in traces.splitlines()[:2])
    assert " ".join(head.split()).startswith(columns)
    assert identity in row
    assert max(map(len, traces.splitlines())) <= width
    assert scores.split()[:2] == ["name", "value"]
    assert " 0.9 " in scores
