"""Every tool, called by the command line of the MCP inspector, on a local PandaProbe and on recorded answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from command_line import COMMAND
from hosted_answers import GIVES, SESSION, TRACE
from inspector import called, inspected, require_inspector
from mcp_calls import EVERY, READERS, arguments_of, everything_allowed
from pandaprobe_otel.local import LocalServer

from .conftest import SentRequests

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


def test_a_server_that_reads_is_started_by_the_inspector(pandaprobe: LocalServer, tmp_path: Path) -> None:
    """The server started over standard input and output, as coding agents do, has only the reading tools."""
    project = pandaprobe.environment("read")
    settings = [part for name, value in project.items() for part in ("-e", f"{name}={value}")]
    assert names([COMMAND, "mcp"], *settings, "--cwd", str(tmp_path)) == {*READERS}
