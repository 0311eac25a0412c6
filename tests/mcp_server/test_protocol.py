"""The command `mcp` and its tools, with MCP's own client, on a local PandaProbe."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from mcp import Client as McpClient
from mcp.client.stdio import StdioServerParameters, stdio_client

from command_line import COMMAND, clean_environment, run_here
from mcp_calls import text_of
from pandaprobe_otel.api import Client
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mcp_server.searching import SearchingClient
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.outcome import Answer, Outcome, Request
from planted_traces import trace_of
from sent_traces import send_traces, with_new_ids

from .conftest import Connect, SentRequests


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
    """The command exits with 4 for a public address without a token, and for `--entry` without `--allow-writes`."""
    environment = clean_environment(tmp_path, PANDAPROBE_API_KEY="sk_pp_mcp", PANDAPROBE_PROJECT_NAME="p")
    reached = run_here("mcp", "--http", "--host", "0.0.0.0", environment=environment)
    entry = run_here("mcp", "--entry", "app:agent", environment=environment)

    assert (reached.returncode, entry.returncode) == (4, 4)
    assert "--token" in reached.stderr
    assert "--allow-writes" in entry.stderr


LIMITED = trace_of(2, seed=5)
LIMITED["spans"][1] |= {"status": "ERROR", "error": "slow: down", "metadata": {"error_type": "openai.RateLimitError"}}
TRACES = [
    {**trace_of(9, failing={8}, seed=1), "name": "refund", "session_id": "s-1", "status": "ERROR", "tags": ["beta"]},
    {**trace_of(12, seed=2), "name": "Refund agent", "user_id": "u-1", "environment": "production"},
    {**trace_of(30, failing={29}, seed=3), "name": "order", "session_id": "s-2", "metadata": {"tier": "gold", "n": 3}},
    {**trace_of(3, seed=4, text="Where is my blender?"), "name": "order", "release": "3.0"},
    {**LIMITED, "name": "odd [x] 50%", "total_tokens": 0},
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
        same = await mcp.call_tool("compare_traces", {"a": ids[0], "b": ids[0]})
        session = await mcp.call_tool("get_session", {"session_id": "s-2"})
        failures = await mcp.call_tool("find_failures", {"query": "name:refund"})
        scores = await mcp.call_tool("get_scores", {"target": ids[0]})
        sums = await mcp.call_tool("get_scores", {"target": "scored", "metric": "quality"})
        doctor = await mcp.call_tool("doctor", {})

    assert compared.structured_content is not None
    assert compared.structured_content["differing"] > 0
    assert (same.structured_content, scores.structured_content) == ({"differing": 0}, {"scores": 1})
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
    """On another server, a query becomes filters of the API, page by page; a query that has none is refused."""
    _without_search(monkeypatch)
    pages: list[str] = []
    cursor: str | None = None
    async with connect() as mcp:
        sent_requests.requests.clear()
        for _ in range(2):
            page = await mcp.call_tool("find_traces", {"query": "name:order", "limit": 1, "cursor": cursor})
            assert page.structured_content is not None
            assert "found with the filters of the API" in text_of(page)
            assert page.structured_content["total"] == 2
            pages += page.structured_content["trace_ids"]
            cursor = page.structured_content["next"]
        failures = await mcp.call_tool("find_failures", {"query": "tag:beta"})
        refused = [
            await mcp.call_tool("find_traces", {"query": query}) for query in ("spans>2", "user:a user:b", "-error")
        ]

    assert (sorted(pages), cursor) == (sorted(ids[2:4]), None)
    assert failures.structured_content is not None
    assert [group["example"] for group in failures.structured_content["groups"]] == [ids[0]]
    assert "1 groups in 1 of 1 traces with status ERROR" in text_of(failures)
    assert {text_of(each).partition(":")[0] for each in refused} == {"bad_query"}
    assert {method for method, _ in sent_requests.requests} == {"GET"}


async def test_a_trace_is_requested_once(connect: Connect, ids: list[str], sent_requests: SentRequests) -> None:
    """A trace that has ended is requested once, however many of its parts are read."""
    async with connect() as mcp:
        sent_requests.requests.clear()
        for part in ("tree", "#1", "#2.input", "output"):
            await mcp.call_tool("get_trace", {"trace_id": ids[0], "part": part})
        await mcp.call_tool("compare_traces", {"a": ids[0], "b": ids[1]})

    assert sent_requests.requests.count(("GET", f"/traces/{ids[0]}")) == 1


@contextmanager
def serving(environment: Mapping[str, str], *options: str, folder: Path | None = None) -> Iterator[str]:
    """Run the command and yield its address."""
    process = subprocess.Popen(
        [COMMAND, "mcp", "--http", "--port", "0", *options],
        env=environment,
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        address = re.match(r"(http://\S+)", process.stderr.readline())
        assert address is not None
        yield address[1]
    finally:
        process.terminate()
        process.wait(60)
        process.stderr.close()
