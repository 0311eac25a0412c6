"""The command `mcp`, with MCP's own client, over standard input and output and over HTTP."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from mcp import Client as McpClient
from mcp.client.stdio import StdioServerParameters, stdio_client

from command_line import COMMAND, clean_environment, run_here
from mcp_answers import text_of
from mcp_command import serving
from pandaprobe_otel.api import Client
from pandaprobe_otel.local import LocalServer
from planted_traces import trace_of
from sent_traces import send_traces


def _environment(pandaprobe: LocalServer, folder: Path, project: str) -> dict[str, str]:
    return clean_environment(folder, **pandaprobe.environment(project))


def _traces(pandaprobe: LocalServer, project: str, seed: int) -> list[str]:
    with Client("sk_pp_mcp", project, pandaprobe.url) as client:
        return send_traces(client, [trace_of(5, failing={3}, seed=seed)])


async def test_standard_input_and_output(pandaprobe: LocalServer, tmp_path: Path) -> None:
    """The command serves a coding agent over standard input and output, and ends when its input ends."""
    project = f"p-{uuid4()}"
    (trace_id,) = _traces(pandaprobe, project, 3000)
    command = StdioServerParameters(command=COMMAND, args=["mcp"], env=_environment(pandaprobe, tmp_path, project))
    async with McpClient(stdio_client(command)) as mcp:
        found = await mcp.call_tool("find_traces", {"query": "error"})
        shown = await mcp.call_tool("get_trace", {"trace_id": trace_id})

    assert trace_id in text_of(found)
    assert "FAILED #" in text_of(shown)


async def test_http(pandaprobe: LocalServer, tmp_path: Path) -> None:
    """Both protocol versions work over HTTP, and requests with another host or origin are refused."""
    project = f"p-{uuid4()}"
    (trace_id,) = _traces(pandaprobe, project, 3001)
    with serving(_environment(pandaprobe, tmp_path, project)) as address:
        for mode in ("auto", "legacy"):
            async with McpClient(address, mode=mode) as mcp:
                assert trace_id in text_of(await mcp.call_tool("find_traces", {}))
        async with httpx.AsyncClient(trust_env=False) as http:
            for headers, status in (({"host": "evil.example"}, 421), ({"origin": "http://evil.example"}, 403)):
                refused = await http.post(address, headers=headers, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
                assert refused.status_code == status


@pytest.mark.exhaustive
def test_http_with_a_token(pandaprobe: LocalServer, tmp_path: Path) -> None:
    """Requests without the token get 401."""
    with (
        serving(_environment(pandaprobe, tmp_path, "p"), "--token", "let-me-in") as address,
        httpx.Client(trust_env=False) as http,
    ):
        for given in ("", "Bearer other", "let-me-in"):
            assert http.post(address, headers={"authorization": given}).status_code == 401
        assert http.post(address, headers={"authorization": "Bearer let-me-in"}).status_code in (400, 406)


def test_an_address_that_others_reach_needs_a_token(tmp_path: Path) -> None:
    """The command exits with 4 for a public address without a token, and for options that lack another option.

    `--entry` needs `--allow-writes`, and `--allow` needs `--entry`.
    """
    environment = clean_environment(tmp_path, PANDAPROBE_API_KEY="sk_pp_mcp", PANDAPROBE_PROJECT_NAME="p")
    reached = run_here("mcp", "--http", "--host", "0.0.0.0", environment=environment)
    entry = run_here("mcp", "--entry", "app:agent", environment=environment)

    allow = run_here("mcp", "--allow-writes", "--allow", "*.md", environment=environment)

    assert (reached.returncode, entry.returncode, allow.returncode) == (4, 4, 4)
    assert "--token" in reached.stderr
    assert "--allow-writes" in entry.stderr
    assert "--entry" in allow.stderr
