"""Every tool, called by the command line of the MCP inspector, on a local PandaProbe and on recorded answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from command_line import COMMAND, clean_environment
from failing_programs import PROGRAMS
from hosted_answers import GIVES, SESSION, TRACE
from inspector import called, inspected, require_inspector
from mcp_calls import EVERY, READERS, arguments_of, everything_allowed
from mcp_command import serving
from pandaprobe_otel.api import Client
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from planted_traces import trace_of
from sent_traces import send_traces, with_new_ids

from .conftest import SentRequests

PROGRAM = PROGRAMS["bad_arguments"]
SCORED = ("add_score", "get_scores")
"""Tools that are called first, in this order."""
AT_ONCE = 3
"""Inspectors that run at once; each takes a second of CPU to start."""


@pytest.fixture(autouse=True)
def inspector() -> None:
    """Skip the tests unless the inspector is installed."""
    require_inspector()


def names(server: list[str], *options: str) -> set[str]:
    """Return the names of the tools; `--strict` fails if a schema is not portable to other clients."""
    code, told = inspected(server, "--method", "tools/list", "--strict", *options)
    assert code == 0, told
    return {tool["name"] for tool in told["result"]["tools"]}


def results(server: list[str], calls: Mapping[str, Mapping[str, Any]], *options: str) -> dict[str, Any]:
    """Call the tools in parallel, and return the result of each."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {tool: pool.submit(called, server, tool, given, *options) for tool, given in calls.items()}
        return {tool: each.result()["result"] for tool, each in running.items()}


def test_every_tool_against_recorded_answers(serve: Callable[..., str], replayed: SentRequests, tmp_path: Path) -> None:
    """Every tool reads recorded answers over the newest protocol, and the only write is one score."""
    server = [serve(**everything_allowed(tmp_path))]
    assert names(server, "--protocol-era", "modern") == {*EVERY}
    given = {tool: arguments_of(tool, TRACE, SESSION) for tool in EVERY}
    for tool, result in results(server, given, "--protocol-era", "modern").items():
        assert GIVES[tool](result["structuredContent"]), (tool, result)
    assert replayed.writes == [("POST", "/evaluations/trace-scores")]


def test_every_tool_against_a_local_pandaprobe(pandaprobe: LocalServer, tmp_path: Path) -> None:
    """Every tool works over the protocol that most clients use, with a program that is captured and run again."""
    variables = {**pandaprobe.environment("inspected"), "OPENAI_API_KEY": "none"}
    with Client("sk_pp_mcp", "inspected", pandaprobe.url) as client:
        (planted,) = send_traces(client, [with_new_ids({**trace_of(5, failing={3}), "session_id": "s-9"})])
    with ScriptedEndpoint(PROGRAM.script) as model:
        environment = clean_environment(tmp_path, **variables, OPENAI_BASE_URL=model.base_url)
        (tmp_path / "shop.py").write_text(PROGRAM.text, encoding="utf-8")
        subprocess.run([sys.executable, "shop.py"], cwd=tmp_path, env=environment, check=True, timeout=120)
        options = ("--allow-writes", "--entry", "shop:answer", "--allow", "prompts/*.md", "--max-calls", "3")
        with serving(environment, *options, folder=tmp_path) as address:
            assert names([address]) == {*EVERY}
            found = called([address], "find_traces", {})["result"]["structuredContent"]["trace_ids"]
            (shop,) = (trace_id for trace_id in found if trace_id != planted)
            given = {tool: arguments_of(tool, planted, "s-9", other=shop) for tool in EVERY}
            given |= {tool: arguments_of(tool, shop, "") for tool in ("capture_test", "replay")}
            given["replay"] = {**given["replay"], "from_span": "2"}
            made = {tool: called([address], tool, given[tool])["result"] for tool in SCORED}
            made |= results([address], {tool: each for tool, each in given.items() if tool not in SCORED})
            confirm = made["evaluate"]["structuredContent"]["confirm"]
            judged = called([address], "evaluate", {**given["evaluate"], "confirm": confirm})["result"]

    failed = [(tool, result) for tool, result in made.items() if result.get("isError")]
    assert [tool for tool, _ in failed] == ["improve"], failed
    assert "too few cases: 0 unseen failures" in made["improve"]["content"][0]["text"]
    numbers = {tool: result["structuredContent"] for tool, result in made.items()}
    assert [group["example"] for group in numbers["find_failures"]["groups"]] == [planted]
    assert {*numbers["find_traces"]["trace_ids"]} == {planted, shop}
    assert (numbers["get_trace"]["spans"], len(numbers["get_trace"]["failed"])) == (5, 1)
    assert numbers["compare_traces"]["differing"] > 0
    assert numbers["get_session"] == {"turns": 1, "shown": 1, "failed": [planted], "next": None}
    assert numbers["get_scores"] == {"scores": 1}
    assert (numbers["doctor"]["writes"], numbers["doctor"]["problems"]) == (True, [])
    assert judged["structuredContent"]["scores"] == 1
    assert (tmp_path / numbers["capture_test"]["test"]).is_file()
    assert numbers["replay"] == {"runs": 1, "failed": 0, "calls": 1}


def test_a_server_that_reads_is_started_by_the_inspector(pandaprobe: LocalServer, tmp_path: Path) -> None:
    """The server started over standard input and output, as coding agents do, has only the reading tools."""
    project = pandaprobe.environment("read")
    settings = [part for name, value in project.items() for part in ("-e", f"{name}={value}")]
    assert names([COMMAND, "mcp"], *settings, "--cwd", str(tmp_path)) == {*READERS}
