"""The tool `improve`, called with MCP's own client: from failures to a proven change that a person applies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import improvable_shop
from command_line import clean_environment, run_here
from improvements import PROMPT, traced
from mcp_calls import everything_allowed, text_of
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mcp_server.searching import SearchingClient

from .conftest import Connect


async def _step(mcp: Any, step: str, **more: Any) -> tuple[dict[str, Any], str]:
    result = await mcp.call_tool("improve", {"step": step, "run": "a1", **more})
    assert result.structured_content is not None, text_of(result)
    return result.structured_content, text_of(result)


async def _tested(mcp: Any, text: str) -> tuple[dict[str, Any], str]:
    """Propose a prompt, test it within the limit of calls, and return the verdict."""
    await _step(mcp, "propose", files={PROMPT: f"You refund orders.\n{text}\n"}, rationale="Commas.")
    bill, answer = await _step(mcp, "test")
    assert f"at most {bill['calls']} model calls would be sent" in answer
    state, answer = await _step(mcp, "test", confirm=bill["confirm"])
    while state["state"] == "testing":
        state, answer = await _step(mcp, "report")
    assert state["calls"] <= 500
    return state, answer


@pytest.mark.timeout(3600)
async def test_a_change_is_proven_and_not_applied(
    connect: Connect, client: SearchingClient, pandaprobe: LocalServer, tmp_path: Path
) -> None:
    """A change without effect is rejected; a general rule is accepted but not applied; its calls leave the budget."""
    (tmp_path / "traced").mkdir()
    with traced(tmp_path / "traced") as traces:
        project = improvable_shop.written(tmp_path / "project")
        sent = clean_environment(tmp_path, **pandaprobe.environment(client.credentials.project_name))
        done = run_here("send", str(traces.path), environment=sent)
        assert done.returncode == 0, done.stderr
        options = {**everything_allowed(project), "entry": "app:support", "live_tools": ("refund_order",)}
        async with connect(**{**options, "max_calls": 500}) as mcp:
            state, answer = await _step(mcp, "start", query="")
            assert state == {"run": "a1", "state": "started", "calls": 0}, answer
            assert "12 failures, 3 to look at; the others decide" in answer
            assert "failed: ValueError in refund_order" in answer.partition("<<data ")[2].partition("<<end ")[0]
            again, _ = await _step(mcp, "start", query="")
            assert again["code"] == "refused"

            state, answer = await _tested(mcp, "Be polite.")
            assert (state["state"], "no effect" in answer) == ("rejected", True), answer
            refused, answer = await _step(mcp, "propose", files={"tests/test_app.py": "x = 1\n"})
            assert (refused["code"], "changes a file that judges runs" in answer) == ("refused", True)
            state, answer = await _tested(mcp, "Write amounts with a decimal point.")
            assert state["state"] == "accepted", answer
            assert "pandaprobe-otel improve apply --folder .pandaprobe/improve/a1" in answer
            doctor = (await mcp.call_tool("doctor", {})).structured_content
            assert doctor is not None
            assert doctor["budget_left"]["calls"] == 500 - state["calls"]
    assert (project / PROMPT).read_text(encoding="utf-8") == improvable_shop.FILES[PROMPT]
