"""A scripted agent that finds a failure, makes a test of it and fixes the program, with the MCP tools only.

Outside of MCP it does what any coding agent does: edit a file, and run the app's own tests.
"""

from __future__ import annotations

import re
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


def _tested(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests"],
        cwd=folder,
        env=clean_environment(
            folder, PYTHONDONTWRITEBYTECODE="1", OPENAI_API_KEY="none", OPENAI_BASE_URL="http://127.0.0.1:9/v1"
        ),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def _mend(program: Program, folder: Path) -> None:
    old, new = program.mended
    file = folder / "shop.py"
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


@pytest.mark.exhaustive
async def test_a_failure_is_found_captured_and_mended(tmp_path: Path, pandaprobe: LocalServer) -> None:
    """The captured test fails for the reason in the overview, and passes once the program is fixed."""
    program = PROGRAMS["bad_arguments"]
    _run(program, tmp_path, pandaprobe, "agent")
    command = StdioServerParameters(
        command=COMMAND,
        args=["mcp", "--allow-writes", "--entry", "shop:answer", "--max-calls", "3"],
        env=clean_environment(tmp_path, **pandaprobe.environment("agent")),
        cwd=tmp_path,
    )
    async with McpClient(stdio_client(command)) as mcp:
        found = text_of(await mcp.call_tool("find_traces", {"query": "after:1h"}))
        suspect = re.search(r"^([0-9a-f-]{36}) .*suspect", found, re.MULTILINE)
        assert suspect is not None, found
        seen = text_of(await mcp.call_tool("get_trace", {"trace_id": suspect[1]}))
        cause = re.search(r"SUSPECT .*asked for look_up_order\((.*?)\); the trace had look_up_order\((.*?)\)", seen)
        assert cause is not None, seen
        wanted = {"target": suspect[1], "path": "test_order.py"}
        made = await mcp.call_tool("capture_test", wanted)
        assert cause[1] in text_of(made)
        assert made.structured_content is not None
        assert made.structured_content["test"] == "tests/test_order.py"
        assert "exists already" in text_of(await mcp.call_tool("capture_test", wanted))

        assert program.fails in _tested(tmp_path)
        _mend(program, tmp_path)
        assert "1 passed" in _tested(tmp_path)


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
