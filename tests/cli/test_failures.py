"""`pandaprobe-otel failures`: groups kept by a local PandaProbe, or made from traces of the API."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from command_line import clean_environment, run_here
from failed_traces import FAILURES, body, failed_tool
from local_http import http_of
from pandaprobe_otel.failures.finding import FailureKind, next_steps
from pandaprobe_otel.local import LocalServer
from scripted_api import ScriptedApi
from stored_traces import identity


def _failing(number: int, error: str = "LookupError: order {} not found") -> dict[str, Any]:
    """Return a failed trace with ids of its own, whose tool failed."""
    failed = {**failed_tool("look_up", error.format(number)), "span_id": identity(f"tool {number}")}
    made = body(failed, status="ERROR", root={"status": "ERROR", "error": failed["error"]})
    made["spans"][0] = {**made["spans"][0], "span_id": identity(f"root {number}")}
    failed["parent_span_id"] = identity(f"root {number}")
    started = f"2026-11-{10 + number}T11:00:00Z"
    return {**made, "trace_id": identity(f"trace {number}"), "started_at": started, "release": f"2.{number}"}


TRACES = [_failing(1), _failing(2), _failing(3, "PermissionError: not yours")]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """A local PandaProbe with two groups of failures."""
    with LocalServer(limit=None) as running:
        with http_of(running) as http:
            for one in [*TRACES, FAILURES["loop"].alike[0]]:
                http.post("/traces", json=one).raise_for_status()
        yield running


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    """A PandaProbe that is not local, with the same failed traces."""
    with ScriptedApi() as running:
        answered = [{**one, "project_id": identity("p"), "spans": _answered(one)} for one in reversed(TRACES)]
        listed = [{**one, "spans": None} for one in answered]
        running.serve("GET /traces", {"items": listed, "total": 3, "limit": 200, "offset": 0})
        for one in answered:
            running.serve(f"GET /traces/{one['trace_id']}", one)
        yield running


def _answered(trace: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**one, "trace_id": trace["trace_id"]} for one in trace["spans"]]


def _run(folder: Path, *arguments: str, **variables: str) -> Any:
    return run_here("failures", *arguments, environment=clean_environment(folder, **variables))


def _hosted(folder: Path, api: ScriptedApi, *arguments: str) -> Any:
    variables = {"PANDAPROBE_ENDPOINT": api.url, "PANDAPROBE_API_KEY": "k", "PANDAPROBE_PROJECT_NAME": "shop"}
    return _run(folder, *arguments, **variables)


def test_a_local_pandaprobe_answers_from_its_groups(tmp_path: Path, server: LocalServer) -> None:
    """A local PandaProbe's groups are printed as a table, the most frequent first, or as JSON."""
    variables = server.environment("shop")
    done = _run(tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    first, second, third = (line for line in done.stdout.splitlines()[1:] if line.strip())
    assert first.startswith("LookupError in look_up")
    assert {second.split("  ")[0], third.split("  ")[0]} == {"PermissionError in look_up", "Loop of search"}
    assert identity("trace 2") in first
    found = json.loads(_run(tmp_path, "--format", "json", **variables).stdout)
    assert [one["count"] for one in found["items"]] == [2, 1, 1]


def test_the_commands_of_a_group_work(tmp_path: Path, server: LocalServer) -> None:
    """The commands that the page shows for a group work: a test, a row of a dataset, a monitor."""
    variables = server.environment("shop")
    found = json.loads(_run(tmp_path, "--format", "json", **variables).stdout)["items"][0]
    kind, trace_id = FailureKind(found["kind"]), found["example"]["trace_id"]
    steps = next_steps(kind, found["parts"], name=found["name"], trace_id=trace_id)
    environment = clean_environment(tmp_path, **variables)
    for command in (steps.capture, steps.dataset, steps.monitor):
        done = run_here(*shlex.split(command)[1:], environment=environment)
        assert done.returncode == 0, done.stderr
    (made,) = Path("tests").glob("*.py")
    assert "look_up failed: LookupError: order 2 not found" in made.read_text(encoding="utf-8")
    assert Path("failures.jsonl").read_text(encoding="utf-8").count("\n") == 1
    listed = run_here("monitors", "list", "--format", "json", environment=environment)
    assert [one["name"] for one in json.loads(listed.stdout)["items"]] == ["LookupError in look_up"]


def test_a_search_chooses(tmp_path: Path, server: LocalServer) -> None:
    """`--query`, `--since` and `--limit` choose groups; an unreadable query ends with code 4."""
    variables = server.environment("shop")
    for chosen in (("--query", "tool:search"), ("--since", "2026-11-20")):
        shown = _run(tmp_path, *chosen, **variables).stdout
        assert ("Loop of search" in shown, "LookupError" in shown) == (True, False)
    wrong = _run(tmp_path, "--query", "latency>5x", **variables)
    assert (wrong.returncode, "latency has no unit" in wrong.stderr) == (4, True)
    assert "1 of 3 groups" in _run(tmp_path, "--limit", "1", **variables).stderr


def test_of_another_pandaprobe_the_newest_failed_traces_are_read(tmp_path: Path, api: ScriptedApi) -> None:
    """From another PandaProbe, the newest failed traces are read, once each, and grouped by the same fingerprints."""
    done = _hosted(tmp_path, api, "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    first, second = found["items"]
    assert (first["name"], first["count"], first["releases"]) == ("LookupError in look_up", 2, ["2.1", "2.2"])
    assert (first["example"]["trace_id"], sum(first["trend"])) == (identity("trace 2"), 2)
    assert second["name"] == "PermissionError in look_up"
    assert [len(api.requests(f"GET /traces/{one['trace_id']}")) for one in TRACES] == [1, 1, 1]
    assert all("status=ERROR" in one.query for one in api.requests("GET /traces"))
    limited = _hosted(tmp_path, api, "--newest", "1")
    assert limited.returncode == 0, limited.stderr
    assert "limit=1" in api.requests("GET /traces")[-1].query
    assert "of 3 traces with status ERROR were read" in limited.stderr


def test_a_search_becomes_filters_of_the_api(tmp_path: Path, api: ScriptedApi) -> None:
    """A query becomes filters of the API; one that the API cannot express is refused, and no trace is read."""
    wanted = "error session:s-1 user:u-4 tag:beta name:shop after:2026-11-01 before:2026-12-01"
    assert _hosted(tmp_path, api, "--query", wanted).returncode == 0
    query = api.requests("GET /traces")[0].query
    for part in ("session_id=s-1", "user_id=u-4", "tags=beta", "name=shop", "2026-11-01", "2026-12-01"):
        assert part in query
    api.received.clear()
    for other in ("tool:refund", "a OR b", "-error", "name:a*", "user:a user:b", "status:completed"):
        refused = _hosted(tmp_path, api, "--query", other)
        assert (refused.returncode, "need a local PandaProbe" in refused.stderr) == (4, True), other
    assert api.requests("GET /traces") == []


def test_a_refusal_of_the_api_is_shown(tmp_path: Path) -> None:
    """A wrong key ends with code 2; it is not mistaken for a server without groups."""
    with LocalServer(auth=True) as server:
        variables = {**server.environment("shop"), "PANDAPROBE_API_KEY": "sk_pp_wrong"}
        done = _run(tmp_path, **variables)
    assert (done.returncode, "Invalid or revoked" in done.stderr) == (2, True)
