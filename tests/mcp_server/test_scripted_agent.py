"""A prompt that a coding agent tries with the MCP tools only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client as McpClient
from mcp.client.stdio import StdioServerParameters, stdio_client

from command_line import COMMAND, clean_environment
from failing_programs import PROGRAMS, Program
from mcp_calls import text_of
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer


def _run(program: Program, folder: Path, pandaprobe: LocalServer, project: str, *, text: str | None = None) -> None:
    (folder / "shop.py").write_text(text or program.text, encoding="utf-8")
    with ScriptedEndpoint(program.script) as endpoint:
        variables = {**pandaprobe.environment(project), "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": endpoint.base_url}
        done = subprocess.run(
            [sys.executable, "shop.py"],
            cwd=folder,
            env=clean_environment(folder, **variables),
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr


def _forks(folder: Path) -> list[str]:
    return [path.parent.name for path in folder.rglob("*.fork-1.yaml")]


@pytest.mark.exhaustive
async def test_a_prompt_is_tried_from_a_call_on(tmp_path: Path, pandaprobe: LocalServer) -> None:
    """A new prompt is tried live from a given call on, up to the allowed number of calls."""
    program = PROGRAMS["bad_arguments"]
    _run(program, tmp_path, pandaprobe, "rerun")
    wanted = {"target": "", "from_span": "2", "prompt": "You help, briefly."}
    with ScriptedEndpoint(program.script) as endpoint:
        variables = {**pandaprobe.environment("rerun"), "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": endpoint.base_url}
        command = StdioServerParameters(
            command=COMMAND,
            args=["mcp", "--allow-writes", "--entry", "shop:answer", "--max-calls", "1"],
            env=clean_environment(tmp_path, **variables),
            cwd=tmp_path,
        )
        async with McpClient(stdio_client(command)) as mcp:
            found = (await mcp.call_tool("find_traces", {})).structured_content
            assert found is not None
            wanted["target"] = found["trace_ids"][0]
            done = await mcp.call_tool("replay", wanted)
            assert done.structured_content == {"runs": 1, "failed": 0, "calls": 1}, text_of(done)
            assert "1 calls sent, 0 left" in text_of(done)
            again = text_of(await mcp.call_tool("replay", wanted))
            assert again.startswith("refused: at least 1 model calls would be sent, but only 0 are left")
        sent = [exchange.request for exchange in endpoint.exchanges]

    assert len(sent) == 1
    assert "You help, briefly." in str(sent[0])
    assert _forks(tmp_path) == ["cassettes"]
