"""Every tool against answers that a real server (0.5.0) has given, which does not search by itself."""

from __future__ import annotations

from typing import Any, Final

import pytest
import yaml

from mcp_answers import text_of
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.request_outcome import Answer, Outcome, Request
from recorded_api import CASSETTES

from .conftest import Asked, Connect

TRACE: Final = "ca55e77e-0000-4000-8000-000000000001"
NAMES: Final = ("traces_list_filters", "trace_get", "sessions", "scores_crud", "eval_run_judge", "session_run")
METRIC: Final = "argument_correctness"
RUN: Final = "ba343234-f98f-4b5d-9e90-eadee9047db4"


def _recorded() -> dict[tuple[str, str], Answer]:
    """Return the last answer to each method and path, and for the list the one with the most rows."""
    found: dict[tuple[str, str], Answer] = {}
    for name in NAMES:
        loaded: Any = yaml.safe_load((CASSETTES / f"{name}.yaml").read_text(encoding="utf-8"))
        for one in loaded["interactions"]:
            request, response = one["request"], one["response"]
            key = (request["method"], "/" + request["uri"].split("/", 3)[3].partition("?")[0])
            body = response["body"]["string"]
            content = body.encode() if isinstance(body, str) else body
            if response["status"]["code"] < 300 and (key not in found or len(content) >= len(found[key].body)):
                found[key] = Answer(status=response["status"]["code"], body=content)
    return found


@pytest.fixture
def replayed(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Answer from the recordings, whatever the query."""
    answers = _recorded()

    def answering(_transport: HttpTransport, request: Request) -> Outcome:
        key = (request.method, request.path.partition("?")[0])
        asked.requests.append(key)
        if key[1].startswith("/evaluations/trace-scores/"):
            return answers.get(key, Answer(status=200, body=b"[]"))  # so it answers for a trace without scores
        return answers.get(key, Answer(status=404, body=b'{"detail": "Not Found"}'))

    monkeypatch.setattr(HttpTransport, "send", answering)
    return asked


async def test_every_reader(connect: Connect, replayed: Asked) -> None:
    """Rows, trees, sessions, scores; the list is filtered here, and nothing is written."""
    async with connect() as mcp:
        found = text_of(await mcp.call_tool("find_traces", {"query": "status:completed", "limit": 5}))
        shown = text_of(await mcp.call_tool("get_trace", {"trace_id": TRACE}))
        part = text_of(await mcp.call_tool("get_trace", {"trace_id": TRACE, "part": "#1"}))
        same = await mcp.call_tool("compare_traces", {"a": TRACE, "b": TRACE})
        session = text_of(await mcp.call_tool("get_session", {"session_id": "s1"}))
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


async def test_an_evaluation(connect: Connect, replayed: Asked) -> None:
    """The bill, one POST, its scores."""
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
