"""The unmodified official SDK and the local server: its documented examples run in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from command_line import clean_environment
from pandaprobe_otel.demo.completions import Message, Reply
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer

PROGRAM = Path(__file__).with_name("official_sdk_examples.py")


def _script(_conversation: Sequence[Message]) -> Reply:
    return Reply(text="A function that calls itself.")


@pytest.mark.skipif(
    find_spec("pandaprobe") is None, reason="the official SDK (pip install pandaprobe) is not installed"
)
def test_its_documented_examples_work(tmp_path: Path) -> None:
    """Decorators, wrappers, contexts, sessions, scores and the API client work as documented."""
    with LocalServer(scripted_judge=True) as server, ScriptedEndpoint(_script) as model:
        environment = clean_environment(
            tmp_path,
            **server.environment("my-project"),
            OPENAI_BASE_URL=model.base_url,
            OPENAI_API_KEY="sk-scripted",
            ANTHROPIC_BASE_URL=model.url,
            ANTHROPIC_API_KEY="sk-scripted",
        )
        done = subprocess.run(
            [sys.executable, str(PROGRAM)], env=environment, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        headers = {"X-API-Key": server.api_key, "X-Project-Name": "my-project"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as http:
            traces: list[dict[str, Any]] = http.get("/traces").json()["items"]
            said = json.loads(done.stdout)
            trace = http.get(f"/traces/{said['trace_id']}").json()
            agent = http.get(f"/traces/{next(t['trace_id'] for t in traces if t['name'] == 'my-agent')}").json()
            scores = http.get(f"/evaluations/trace-scores/{said['trace_id']}").json()
    assert "ERROR" not in done.stderr, done.stderr
    assert {key: said[key] for key in ("spans", "metrics", "evaluated", "session")} == {
        "spans": ["llm-call"],
        "metrics": 8,
        "evaluated": [0.9],
        "session": ["my-agent", "my-agent"],
    }
    # two agents, a chat completion, a response, a message, and the trace made by hand
    assert len(traces) == 6
    assert {(t["session_id"], t["user_id"]) for t in traces} == {
        ("conversation-123", "user-abc"),
        ("conversation-456", "user-xyz"),
    }
    assert {"search", "llm-call"} <= {span["name"] for span in agent["spans"]}
    assert (trace["total_tokens"], trace["total_cost"], trace["tags"]) == (15, 0.001, ["docs"])
    assert ("user_satisfaction", "0.9") in [(score["name"], score["value"]) for score in scores]
