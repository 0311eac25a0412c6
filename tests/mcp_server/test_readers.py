"""The reading tools, with MCP's own client in this process, on a local PandaProbe."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_answers import text_of
from pandaprobe_otel.local.search.language import parse
from pandaprobe_otel.mcp_server.matching import LookedAt, matches
from pandaprobe_otel.mcp_server.searching import SearchingClient
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.request_outcome import Answer, Outcome, Request
from planted_traces import BEGIN, trace_of
from sent_traces import send_traces, with_new_ids

from .conftest import Connect, SentRequests

LIMITED = trace_of(2, seed=5)
LIMITED["spans"][1] |= {"status": "ERROR", "error": "slow: down", "metadata": {"error_type": "openai.RateLimitError"}}
TRACES = [
    {**trace_of(9, failing={8}, seed=1), "name": "refund", "session_id": "s-1", "status": "ERROR", "tags": ["beta"]},
    {**trace_of(12, seed=2), "name": "Refund agent", "user_id": "u-1", "environment": "production"},
    {**trace_of(30, failing={29}, seed=3), "name": "order", "session_id": "s-2", "metadata": {"tier": "gold", "n": 3}},
    {**trace_of(3, seed=4, text="Where is my blender?"), "name": "order", "release": "3.0"},
    {**LIMITED, "name": "odd [x] 50%", "total_tokens": 0},
]
QUERIES = [
    "",
    "error",
    "-error name:order",
    "refund",
    "name:refund*",
    "session:s-1 OR session:s-2",
    "status:error,completed spans>5",
    "tag:beta",
    "env:production OR release:3.*",
    "meta.tier:gold",
    "meta.n:3",
    'blender "broken yesterday"',
    "tool:step* tokens>20",
    'failed:"step 8"',
    "error_type:PlantedError",
    "error_type:RateLimitError",
    "error_type:openai.Rate*",
    "model:gpt-5* latency>5s",
    "after:2026-05-04 before:2026-05-05",
    "before:2026-01-01",
    "score:quality<0.5",
    "scored -score:quality>=0.5",
    "NOT (scored OR error)",
    '"50%"',
    "blend* -refund",
    '"order 88123"',
]


@pytest.fixture
def ids(client: SearchingClient) -> list[str]:
    """Return the ids of stored traces of several kinds, two of which have scores."""
    made = send_traces(client, map(with_new_ids, TRACES))
    client.score(made[0], "quality", 0.2, reason="it refunded the wrong order")
    client.score(made[1], "quality", 0.9)
    return made


async def test_compare_sessions_failures_scores(connect: Connect, ids: list[str], pandaprobe: Any) -> None:
    """`compare_traces`, `get_session`, `find_failures`, `get_scores` and `doctor` return the stored facts."""
    async with connect() as mcp:
        compared = await mcp.call_tool("compare_traces", {"a": ids[0], "b": ids[1]})
        session = await mcp.call_tool("get_session", {"session_id": "s-2"})
        failures = await mcp.call_tool("find_failures", {"query": "name:refund"})
        scores = await mcp.call_tool("get_scores", {"target": ids[0]})
        sums = await mcp.call_tool("get_scores", {"target": "scored", "metric": "quality"})
        doctor = await mcp.call_tool("doctor", {})

    assert compared.structured_content is not None
    assert compared.structured_content["differing"] > 0
    assert session.structured_content == {"turns": 1, "shown": 1, "failed": [ids[2]], "next": None}
    assert failures.structured_content is not None
    assert {group["example"] for group in failures.structured_content["groups"]} == {ids[0]}
    assert "PlantedError" in text_of(failures)
    assert "it refunded the wrong order" in text_of(scores)
    assert "quality: 2 scores, mean 0.550, below 0.5: 50%" in text_of(sums)
    assert doctor.structured_content is not None
    assert doctor.structured_content["endpoint"] == pandaprobe.url
    assert (doctor.structured_content["writes"], doctor.structured_content["problems"]) == (False, [])


def _without_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the server answer 404 to the search of the local PandaProbe."""
    send = HttpTransport.send

    def refusing(transport: HttpTransport, request: Request) -> Outcome:
        if request.path.startswith("/local/"):
            return Answer(status=404, body=b'{"detail": "Not Found"}')
        return send(transport, request)

    monkeypatch.setattr(HttpTransport, "send", refusing)


async def test_a_server_that_does_not_search_is_filtered(
    connect: Connect, ids: list[str], sent_requests: SentRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query for a server without search is applied in this process, page by page."""
    _without_search(monkeypatch)
    async with connect() as mcp:
        sent_requests.requests.clear()
        first = await mcp.call_tool("find_traces", {"query": "name:order -release:3.0", "limit": 1})
        pages = []
        cursor: str | None = None
        for _ in ids:
            page = await mcp.call_tool("find_traces", {"query": "spans>2", "limit": 2, "cursor": cursor})
            assert page.structured_content is not None
            pages += page.structured_content["trace_ids"]
            cursor = page.structured_content["next"]
            if cursor is None:
                break

    assert first.structured_content is not None
    assert first.structured_content["trace_ids"] == [ids[2]]
    assert sorted(pages) == sorted(ids[:4])
    assert {method for method, _ in sent_requests.requests} == {"GET"}


def test_both_ways_to_search_find_the_same(client: SearchingClient, ids: list[str]) -> None:
    """The search of the local PandaProbe and the filter in this process find the same traces."""
    rows = client.traces.list(limit=50).items
    assert len(rows) == len(TRACES)
    for query in QUERIES:
        by_server = {str(row.trace_id) for row in client.search({"query": query, "limit": 50}).items}
        looked_at = LookedAt(client, now=BEGIN, most=100)
        found = {str(row.trace_id) for row in rows if matches(parse(query).query, row, looked_at)}
        assert found == by_server, query
        assert found or not query.startswith("error_type"), query
