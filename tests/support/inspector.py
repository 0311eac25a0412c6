"""The command line of the MCP inspector, if Node.js and its package are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

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
