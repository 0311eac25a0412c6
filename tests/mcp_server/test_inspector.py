"""The server of MCP, seen by the command line of the MCP inspector."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from command_line import COMMAND
from mcp_calls import EVERY, READERS, everything_allowed
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mcp_server.searching import SearchingClient
from planted_traces import trace_of
from sent_traces import send_traces, with_new_ids

from .conftest import SentRequests


@pytest.fixture(autouse=True)
def inspector() -> None:
    """Skip the tests unless the inspector is installed."""
    require_inspector()


def names(server: list[str], *options: str) -> set[str]:
    """Return the names of the tools; `--strict` fails if a schema is not portable to other clients."""
    code, output = inspected(server, "--method", "tools/list", "--strict", *options)
    assert code == 0, output
    return {tool["name"] for tool in output["result"]["tools"]}


def test_the_inspector_reads_a_trace_over_the_newest_protocol(
    serve: Callable[..., str], client: SearchingClient, sent_requests: SentRequests, tmp_path: Path
) -> None:
    """Every tool has a portable schema over HTTP, and one of them reads a trace; nothing is written."""
    server, era = [serve(**everything_allowed(tmp_path))], ("--protocol-era", "modern")
    assert names(server, *era) == {*EVERY}
    (trace_id,) = send_traces(client, [with_new_ids(trace_of(3))])
    sent_requests.requests.clear()
    given = json.dumps({"trace_id": trace_id})
    call = ("--method", "tools/call", "--tool-name", "get_trace", "--tool-args-json", given)
    result = inspected(server, *call, *era)[1]["result"]
    assert result["structuredContent"] == {"spans": 3, "shown": 3, "failed": [], "next": None}, result
    assert sent_requests.writes == []


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
