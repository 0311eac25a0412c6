"""The writing tools: a score, and an evaluation that a person approves."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from mcp.types import ElicitResult

from mcp_answers import text_of
from pandaprobe_otel.mcp_server.searching import SearchingClient
from planted_traces import trace_of
from sent_traces import send_traces

from .conftest import Connect, SentRequests


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("approved", [True, False])
async def test_a_person_decides_where_the_client_can_ask(
    client: SearchingClient, connect: Connect, sent_requests: SentRequests, mode: str, approved: bool
) -> None:
    """A client that can ask a person does so with both protocol versions; without approval no evaluation is sent."""
    (trace_id,) = send_traces(client, [{**trace_of(2), "trace_id": str(uuid4()), "spans": []}])
    questions: list[str] = []

    async def answer(_context: Any, parameters: Any) -> ElicitResult:
        questions.append(parameters.message)
        return ElicitResult(action="accept", content={"approved": approved})

    sent_requests.requests.clear()
    async with connect(mode=mode, elicitation_callback=answer, writes=True) as mcp:
        targets = {"target": trace_id, "metrics": ["confidence"]}
        bill = (await mcp.call_tool("evaluate", targets)).structured_content
        assert bill is not None
        done = await mcp.call_tool("evaluate", {**targets, "confirm": bill["confirm"]})

    assert questions == ["PandaProbe would bill 1 judgements. Run the evaluation?"]
    assert (len(sent_requests.writes), done.is_error or False) == (1, False) if approved else (0, True)
    if not approved:
        assert "did not approve" in text_of(done)


async def test_a_score(client: SearchingClient, connect: Connect) -> None:
    """`add_score` stores the score with its reason."""
    (trace_id,) = send_traces(client, [trace_of(2, seed=2002)])
    async with connect(writes=True) as mcp:
        made = await mcp.call_tool("add_score", {"target": trace_id, "name": "right", "value": False, "reason": "no"})

    (score,) = client.scores.of_trace(trace_id)
    assert made.structured_content == {"id": str(score.id)}
    assert (score.value, score.reason) == ("false", "no")
