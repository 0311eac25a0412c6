"""Every tool on recorded answers of a real server (0.5.0), which has no search."""

from __future__ import annotations

from pathlib import Path

import pytest

from hosted_answers import GIVES, RUN, SESSION, TRACE
from mcp_answers import text_of
from mcp_calls import EVERY, METRIC, arguments_of, everything_allowed

from .conftest import Connect, SentRequests


@pytest.mark.parametrize("tool", EVERY)
async def test_every_tool(connect: Connect, replayed: SentRequests, tmp_path: Path, tool: str) -> None:
    """Every tool returns its numbers, and only `add_score` writes."""
    async with connect(**everything_allowed(tmp_path)) as mcp:
        result = await mcp.call_tool(tool, dict(arguments_of(tool, TRACE, SESSION)))

    assert GIVES[tool](result.structured_content), text_of(result)
    assert result.is_error is (tool in ("capture_test", "replay", "improve"))
    assert replayed.writes == ([("POST", "/evaluations/trace-scores")] if tool == "add_score" else [])


async def test_every_reader(connect: Connect, replayed: SentRequests) -> None:
    """The reading tools return rows, trees, sessions and scores, filter the list, and write nothing."""
    async with connect() as mcp:
        found = text_of(await mcp.call_tool("find_traces", {"query": "status:completed", "limit": 5}))
        shown = text_of(await mcp.call_tool("get_trace", {"trace_id": TRACE}))
        part = text_of(await mcp.call_tool("get_trace", {"trace_id": TRACE, "part": "#1"}))
        same = await mcp.call_tool("compare_traces", {"a": TRACE, "b": TRACE})
        session = text_of(await mcp.call_tool("get_session", {"session_id": SESSION}))
        scores = text_of(await mcp.call_tool("get_scores", {"target": TRACE}))
        of_session = text_of(await mcp.call_tool("get_scores", {"target": "session:chat-1"}))
        doctor = await mcp.call_tool("doctor", {})

    assert "COMPLETED" in found
    assert " ERROR " not in found
    assert shown.startswith(f"trace {TRACE} COMPLETED")
    assert "path: #1 " in part
    assert same.structured_content == {"differing": 0}
    assert "turns" in session
    assert "3 scores" in scores
    assert "agent_reliability" in of_session
    assert doctor.structured_content is not None
    assert doctor.structured_content["problems"] == []
    assert replayed.writes == []


async def test_an_evaluation(connect: Connect, replayed: SentRequests) -> None:
    """Without a code `evaluate` returns the bill; with the code it sends one POST and returns the run."""
    async with connect(writes=True) as mcp:
        wrong = text_of(await mcp.call_tool("evaluate", {"target": TRACE, "metrics": ["nope"]}))
        assert METRIC in wrong.partition("there are: ")[2]
        bill = (await mcp.call_tool("evaluate", {"target": TRACE, "metrics": [METRIC]})).structured_content
        assert bill is not None
        assert replayed.writes == []
        done = await mcp.call_tool("evaluate", {"target": TRACE, "metrics": [METRIC], "confirm": bill["confirm"]})

    assert done.structured_content is not None
    assert done.structured_content["run_id"] == RUN
    assert replayed.writes == [("POST", "/evaluations/trace-runs/batch")]
