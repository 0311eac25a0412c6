"""Every tool, called by the command line of the MCP inspector, on a local PandaProbe and on recorded answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from command_line import COMMAND
from hosted_answers import GIVES, SESSION, TRACE
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
    code, output = inspected(server, "--method", "tools/list", "--strict", *options)
    assert code == 0, output
    return {tool["name"] for tool in output["result"]["tools"]}


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


FOLDER: Final = Path(__file__).resolve().parents[1] / "mcp_server" / "node"
_PACKAGES: Final = Path(os.environ.get("MCP_INSPECTOR", FOLDER)) / "node_modules"
_LAUNCHER: Final = _PACKAGES / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"


def require_inspector() -> None:
    """Skip the test without Node.js or the inspector; fail it if CI is set."""
    missing = None
    if shutil.which("node") is None:
        missing = "Node.js is not installed (Debian's package nodejs)"
    elif not _LAUNCHER.is_file():
        missing = "the MCP inspector is not installed (npm install --prefix tests/mcp_server/node)"
    if missing and os.environ.get("CI"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)


def inspected(server: Sequence[str], *options: str) -> tuple[int, Any]:
    """Run the inspector once against a server, by its URL or command; return the exit code and its JSON.

    `options` come before the server. The user's own catalog of servers is neither read nor written.
    """
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home}
        command = ["node", str(_LAUNCHER), "--cli", "--format", "json", "--quiet", *options, *server]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"the inspector ended with {done.returncode}: {done.stdout}{done.stderr}") from None


def called(server: Sequence[str], tool: str, arguments: Mapping[str, Any], *options: str) -> Any:
    """Call a tool; return its result."""
    given = ("--method", "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))
    return inspected(server, *given, *options)[1]
