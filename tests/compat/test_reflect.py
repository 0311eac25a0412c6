"""The official SDK's Reflect with traces of this library, through its whole loop, on a local PandaProbe."""

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
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ScriptedEndpoint, text_of
from pandaprobe_otel.local import LocalServer

PROGRAM = Path(__file__).with_name("reflect_program.py")

pytestmark = pytest.mark.skipif(
    find_spec("pandaprobe") is None or find_spec("bashkit") is None,
    reason="the official SDK with Reflect (pip install 'pandaprobe[reflect]') is not installed",
)


def _script(conversation: Sequence[Message]) -> Reply:
    knows = "day of arrival" in text_of(conversation[0]["content"])
    return Reply(text="It comes on Friday." if knows else "It comes.")


def _traces(server: LocalServer) -> list[dict[str, Any]]:
    headers = {"X-API-Key": server.api_key, "X-Project-Name": "my-project"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as http:
        rows = http.get("/traces", params={"limit": 100}).json()["items"]
        return [http.get(f"/traces/{row['trace_id']}").json() for row in rows]


def _results(server: LocalServer, folder: Path, **more: str) -> dict[str, Any]:
    """Run the program, and return the results that it prints."""
    with ScriptedEndpoint(_script) as model:
        variables = {**server.environment("my-project"), "OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "none"}
        done = subprocess.run(
            [sys.executable, str(PROGRAM), str(folder / "reflect")],
            env=clean_environment(folder, **variables, **more),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return results


def test_the_whole_loop(tmp_path: Path) -> None:
    """A trace is judged, and a rule is proposed, replayed and accepted; each trace has its role."""
    with LocalServer(limit=None, scripted_judge=True) as server:
        results = _results(server, tmp_path)
        traces = _traces(server)
    assert (results["output"], results["evaluation"], results["reflection"]) == ("It comes.", "evaluated", "proposed")
    assert [decision["outcome"] for decision in results["decisions"]] == ["accepted"], results["decisions"]

    by_role: dict[str, list[dict[str, Any]]] = {}
    for trace in traces:
        by_role.setdefault(trace["metadata"]["pandaprobe.reflect"]["role"], []).append(trace)
    assert {role: len(found) for role, found in by_role.items()} == {"task": 1, "reflection": 1, "validation": 6}
    assert results["traces"] == [trace["trace_id"] for trace in by_role["task"]]
    assert [trace["session_id"] for trace in by_role["task"]] == ["chat-1"]
    assert all(trace["session_id"].startswith("reflect:reflection:") for trace in by_role["reflection"])
    assert len({trace["session_id"] for trace in by_role["validation"]}) == 6
    assert all(trace["name"] == "answer" for trace in traces), "a trace without a model is not sent"


def test_a_trace_that_is_sampled_out_is_not_waited_for(tmp_path: Path) -> None:
    """If a trace is sampled out, Reflect gets no trace id, ends as insufficient at once, and judges nothing."""
    with LocalServer(limit=None, scripted_judge=True) as server:
        results = _results(server, tmp_path, PANDAPROBE_SAMPLE_RATE="0")
        assert _traces(server) == []
    assert (results["output"], results["traces"], results["evaluation"]) == ("It comes.", [], "insufficient")
    assert results["decisions"] == []
