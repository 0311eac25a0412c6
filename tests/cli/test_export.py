"""Traces as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from command_line import clean_environment, run_here
from local_http import http_of
from pandaprobe_otel.local import LocalServer

AGENT, CALL, TOOL = (str(UUID(int=(number << 32) + number)) for number in (1, 2, 3))
STARTED, ENDED = "2026-01-02T03:04:05.678901+00:00", "2026-01-02T03:04:06.678901+00:00"


def trace(number: int, *spans: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a trace of one second."""
    moments = {"started_at": STARTED, "ended_at": ENDED}
    sent = [{"kind": "OTHER", "status": "OK", **moments, **span} for span in spans]
    return {"trace_id": str(UUID(int=number)), "name": "run", **moments, "spans": sent, **fields}


TRACE = trace(
    1,
    {"span_id": AGENT, "name": "agent", "kind": "AGENT", "input": "tea?", "output": {"answer": "tea"}},
    {
        "span_id": CALL,
        "name": "gpt",
        "kind": "LLM",
        "parent_span_id": AGENT,
        "input": {"messages": [{"role": "user", "content": "tea?"}]},
        "output": {"messages": [{"role": "assistant", "content": "tea"}]},
        "model": "gpt-x",
        "token_usage": {"prompt_tokens": 3, "completion_tokens": 4},
        "cost": {"total": 0.5},
        "completion_start_time": "2026-01-02T03:04:06+00:00",
        "metadata": {"k": 1},
    },
    {
        "span_id": TOOL,
        "name": "kettle",
        "kind": "TOOL",
        "parent_span_id": AGENT,
        "input": {"c": 99},
        "status": "ERROR",
        "error": "no water",
    },
    status="COMPLETED",
    input="tea?",
    output="tea",
    metadata={"plan": "pro"},
    session_id="s-1",
    user_id="u-1",
    tags=["a", "b"],
    environment="production",
    release="1.2",
)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """Yield the server that has the traces."""
    with LocalServer(limit=None) as running:
        yield running


def exported(server: LocalServer, home: Path, body: dict[str, Any]) -> str:
    """Store a trace and return its Markdown."""
    with http_of(server) as http:
        http.post("/traces", json=body).raise_for_status()
    environment = clean_environment(home, **server.environment("shop"))
    done = run_here("traces", "export", "--as", "md", body["trace_id"], environment=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_markdown_is_a_document_of_the_tree(server: LocalServer, tmp_path: Path) -> None:
    """The document has a heading for each span by its depth, with details, content and outcome."""
    body = {**TRACE, "metadata": {"outcome": "partial"}}
    lines = exported(server, tmp_path, body).splitlines()

    assert [line for line in lines if line.startswith("#")] == [
        "# run",
        "## AGENT agent (1.00 s)",
        "### LLM gpt (1.00 s)",
        "### TOOL kettle (1.00 s)",
    ]
    assert "- session: s-1" in lines
    assert "- started +0, model gpt-x, 3 → 4 tokens" in lines
    assert "no water" in lines
    assert f"trace `{TRACE['trace_id']}`, COMPLETED, partial, started" in lines[2]


def test_content_and_circles_break_no_document(server: LocalServer, tmp_path: Path) -> None:
    """Fences in content and marks in names are escaped; orphans and circles of spans are exported once each."""
    ids = [str(UUID(int=number)) for number in range(11, 16)]
    parents = [ids[0], str(UUID(int=99)), ids[3], ids[2]]
    spans = [
        {"span_id": span, "parent_span_id": parent, "name": f"span {at}"}
        for at, (span, parent) in enumerate(zip(ids, parents, strict=False))
    ]
    body = trace(2, *spans, name="a *b* <c>", input="```\n````x\n```")
    text = exported(server, tmp_path, body)

    assert "# a \\*b\\* \\<c\\>" in text
    assert "`````\n```\n````x\n```\n`````" in text
    assert sorted(line for line in text.splitlines() if "OTHER" in line) == sorted(
        f"{'###' if number == 3 else '##'} OTHER span {number} (1.00 s)" for number in range(4)
    )
