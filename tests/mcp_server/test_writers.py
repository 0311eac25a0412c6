"""Tools that write, and the proof that no other does: whatever traces say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from mcp.types import ElicitResult

from mcp_answers import text_of
from pandaprobe_otel.mcp_server.answers import Refused
from pandaprobe_otel.mcp_server.bills import Bill, Bills
from pandaprobe_otel.mcp_server.searching import SearchingClient
from planted_traces import trace_of
from poisoned_traces import poisoned
from rings import IN_FULL
from sent_traces import send_traces

from .conftest import Asked, Connect

WRITERS = ("evaluate", "add_score", "capture_test", "replay")
BILL = Bill(target="t", metrics=("m",), judgements=3)


@pytest.mark.parametrize("count", [4, pytest.param(50, marks=IN_FULL)])
async def test_poisoned_traces_are_data(connect: Connect, client: SearchingClient, asked: Asked, count: int) -> None:
    """A server that only reads sends GET only; what gives orders stands in the fence, which it does not close."""
    ids = send_traces(client, map(poisoned, range(count)))
    sessions = [client.traces.get(trace_id).session_id for trace_id in ids]
    asked.requests.clear()
    texts: list[str] = []
    async with connect() as mcp:
        assert not {tool.name for tool in (await mcp.list_tools()).tools} & set(WRITERS)
        for tool in WRITERS:
            assert "Unknown tool" in text_of(await mcp.call_tool(tool, {"target": ids[0]}))
        calls: list[tuple[str, dict[str, Any]]] = [("find_traces", {"limit": 50}), ("find_failures", {"query": ""})]
        for trace_id, session in zip(ids, sessions, strict=True):
            calls += [
                ("get_trace", {"trace_id": trace_id}),
                ("get_trace", {"trace_id": trace_id, "part": "#5.input"}),
                ("get_trace", {"trace_id": trace_id, "part": "#5"}),
                ("compare_traces", {"a": ids[0], "b": trace_id}),
                ("get_session", {"session_id": session}),
            ]
        for tool, arguments in calls:
            result = await mcp.call_tool(tool, arguments)
            if not result.is_error:  # a session whose id has a slash cannot be asked for
                texts.append(text_of(result))

    assert asked.writes == []
    assert len(texts) > 4 * count
    for text in texts:
        _is_fenced(text)


def _is_fenced(text: str) -> None:
    before, _, rest = text.partition("<<data ")
    number = rest[:8]
    inside, end, after = rest.partition(f"\n<<end {number}>>")
    assert end, text
    assert inside.count("<<") == 0
    assert inside.count(">>") == 1
    for outside in (before, after):
        for order in ("Ignore", "SYSTEM:", "administrator", "evil.example", "mend it", "I shall now", "rm -rf"):
            assert order not in outside, text


async def test_an_evaluation_is_billed_first(client: SearchingClient, connect: Connect, asked: Asked) -> None:
    """A code for exactly this, once; nothing is sent before it, and nothing over the limit."""
    ids = send_traces(client, [trace_of(2, seed=2000), trace_of(2, seed=2001)])
    asked.requests.clear()
    targets = {"target": ",".join(ids), "metrics": ["confidence"]}
    async with connect(writes=True, max_evaluations=3) as mcp:
        bill = (await mcp.call_tool("evaluate", targets)).structured_content
        assert bill is not None
        assert (bill["judgements"], bill["left"]) == (2, 3)
        other = await mcp.call_tool("evaluate", {**targets, "target": ids[0], "confirm": bill["confirm"]})
        assert "for other targets" in text_of(other)
        assert asked.writes == []

        bill = (await mcp.call_tool("evaluate", targets)).structured_content
        assert bill is not None
        done = await mcp.call_tool("evaluate", {**targets, "confirm": bill["confirm"]})
        assert done.structured_content is not None
        assert done.structured_content["scores"] == 2
        assert len(asked.writes) == 1
        assert "never given" in text_of(await mcp.call_tool("evaluate", {**targets, "confirm": bill["confirm"]}))
        assert "2 judgements would be billed, and 1 are left" in text_of(await mcp.call_tool("evaluate", targets))
        wrong = await mcp.call_tool("evaluate", {"target": ids[0], "metrics": ["nope"]})
        assert "there are: " in text_of(wrong)
    assert len(asked.writes) == 1


@pytest.mark.parametrize("mode", ["auto", pytest.param("legacy", marks=pytest.mark.outer)])
@pytest.mark.parametrize("approved", [True, False])
async def test_a_person_is_asked_where_the_client_can(
    client: SearchingClient, connect: Connect, asked: Asked, mode: str, approved: bool
) -> None:
    """With both protocols; without approval nothing is sent."""
    (trace_id,) = send_traces(client, [{**trace_of(2), "trace_id": str(uuid4()), "spans": []}])
    questions: list[str] = []

    async def answer(_context: Any, parameters: Any) -> ElicitResult:
        questions.append(parameters.message)
        return ElicitResult(action="accept", content={"approved": approved})

    asked.requests.clear()
    async with connect(mode=mode, elicitation_callback=answer, writes=True) as mcp:
        targets = {"target": trace_id, "metrics": ["confidence"]}
        bill = (await mcp.call_tool("evaluate", targets)).structured_content
        assert bill is not None
        done = await mcp.call_tool("evaluate", {**targets, "confirm": bill["confirm"]})

    assert questions == ["PandaProbe would bill 1 judgements. Run the evaluation?"]
    assert (len(asked.writes), done.is_error or False) == (1, False) if approved else (0, True)
    if not approved:
        assert "did not approve" in text_of(done)


def test_a_bill_ends_after_ten_minutes() -> None:
    """And is used once, for what it was told for."""
    now = [0.0]
    bills = Bills(3, clock=lambda: now[0])
    code = bills.tell(BILL)
    now[0] = 601.0
    with pytest.raises(Refused, match="ten minutes"):
        bills.take(code, BILL)
    again = bills.tell(BILL)
    bills.take(again, BILL)
    assert bills.limit == 0
    with pytest.raises(Refused, match="never given"):
        bills.take(again, BILL)
    with pytest.raises(Refused, match="0 are left"):
        bills.tell(BILL)


async def test_a_score(client: SearchingClient, connect: Connect) -> None:
    """With its reason."""
    (trace_id,) = send_traces(client, [trace_of(2, seed=2002)])
    async with connect(writes=True) as mcp:
        made = await mcp.call_tool("add_score", {"target": trace_id, "name": "right", "value": False, "reason": "no"})

    (score,) = client.scores.of_trace(trace_id)
    assert made.structured_content == {"id": str(score.id)}
    assert (score.value, score.reason) == ("false", "no")


async def test_a_test_is_written_nowhere_else(connect: Connect, tmp_path: Path) -> None:
    """Only Python files below the folder of tests, symbolic links followed."""
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "link").symlink_to(tmp_path)
    async with connect(writes=True, tests=tests, folder=tmp_path) as mcp:
        for path in ("../out.py", "/tmp/out.py", "a/../../out.py", "test.txt", "test x.py", "link/out.py", ""):
            result = await mcp.call_tool("capture_test", {"target": str(uuid4()), "path": path})
            assert text_of(result).startswith("refused: tests are Python files below"), path

    assert [*files_in(tmp_path)] == []


def files_in(folder: Path) -> Iterator[Path]:
    """Yield all files of a folder."""
    yield from (file for file in folder.rglob("*") if file.is_file())


async def test_a_test_is_never_written_over(connect: Connect, tmp_path: Path) -> None:
    """Nor is a cassette."""
    (tmp_path / "cassettes").mkdir()
    (tmp_path / "cassettes" / "test_b.yaml").write_text("mine", encoding="utf-8")
    (tmp_path / "test_a.py").write_text("mine", encoding="utf-8")
    async with connect(writes=True, tests=tmp_path, folder=tmp_path) as mcp:
        for name in ("test_a.py", "test_b.py"):
            result = await mcp.call_tool("capture_test", {"target": str(uuid4()), "path": name})
            assert "is there already" in text_of(result)

    assert (tmp_path / "test_a.py").read_text(encoding="utf-8") == "mine"
