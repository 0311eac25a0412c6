"""Traces as OTLP/JSON, which OpenTelemetry reads and a PandaProbe restores, and as Markdown."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status as ProtoStatus

from command_line import clean_environment, run_here
from local_http import http_of, traces_of
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


def exported(server: LocalServer, form: str, home: Path, body: dict[str, Any]) -> str:
    """Store a trace and return its export."""
    with http_of(server) as http:
        http.post("/traces", json=body).raise_for_status()
    environment = clean_environment(home, **server.environment("shop"))
    done = run_here("traces", "export", "--as", form, body["trace_id"], environment=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_by_opentelemetry(text: str) -> list[ProtoSpan]:
    """Parse OTLP/JSON with protobuf, after converting its hexadecimal ids to protobuf's base64."""
    request = json.loads(text)
    for span in request["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name in {"traceId", "spanId", "parentSpanId"} & span.keys():
            span[name] = b64encode(bytes.fromhex(span[name])).decode()
    (resource,) = ParseDict(request, ExportTraceServiceRequest()).resource_spans
    return list(resource.scope_spans[0].spans)


def test_opentelemetry_reads_an_export_and_a_pandaprobe_restores_it(server: LocalServer, tmp_path: Path) -> None:
    """OpenTelemetry's schema accepts every field; a PandaProbe that receives the export has the same trace."""
    text = exported(server, "otlp", tmp_path, TRACE)
    agent, call, tool = read_by_opentelemetry(text)
    with LocalServer(limit=None) as other:
        with http_of(other, **{"Content-Type": "application/json"}) as http:
            http.post("/v1/traces", content=text).raise_for_status()
        other.services.otlp.close()  # closing the receivers delivers what has arrived
        (restored,) = traces_of(other)

    assert agent.end_time_unix_nano - agent.start_time_unix_nano == 1_000_000_000
    assert str(agent.start_time_unix_nano).endswith("678901000")
    assert (agent.kind, call.parent_span_id) == (ProtoSpan.SPAN_KIND_INTERNAL, agent.span_id)
    assert (agent.status.code, tool.status.code, tool.status.message) == (
        ProtoStatus.STATUS_CODE_OK,
        ProtoStatus.STATUS_CODE_ERROR,
        "no water",
    )
    values = {each.key: each.value for each in call.attributes}
    assert values["gen_ai.request.model"].string_value == "gpt-x"
    assert values["gen_ai.usage.input_tokens"].int_value == 3
    (original,) = (one for one in traces_of(server) if one["trace_id"] == TRACE["trace_id"])
    for field in ("name", "status", "input", "output", "session_id", "user_id", "environment", "release", "started_at"):
        assert restored[field] == original[field], field
    assert (sorted(restored["tags"]), restored["metadata"]["plan"]) == (["a", "b"], "pro")
    unchanged = ("name", "kind", "input", "output", "model", "status", "error", "completion_start_time")
    for found, wanted in zip(restored["spans"], original["spans"], strict=True):
        assert [found[field] for field in unchanged] == [wanted[field] for field in unchanged]
        assert found["metadata"].items() >= wanted["metadata"].items()
        assert (found["token_usage"] or {}).items() >= (wanted["token_usage"] or {}).items()
    assert restored["total_cost"] == 0.5


def test_markdown_is_a_document_of_the_tree(server: LocalServer, tmp_path: Path) -> None:
    """The document has a heading for each span by its depth, with details, content and outcome."""
    body = {**TRACE, "metadata": {"outcome": "partial"}}
    lines = exported(server, "md", tmp_path, body).splitlines()

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
    text = exported(server, "md", tmp_path, body)
    read = read_by_opentelemetry(exported(server, "otlp", tmp_path, body))

    assert "# a \\*b\\* \\<c\\>" in text
    assert "`````\n```\n````x\n```\n`````" in text
    assert sorted(line for line in text.splitlines() if "OTHER" in line) == sorted(
        f"{'###' if number == 3 else '##'} OTHER span {number} (1.00 s)" for number in range(4)
    )
    assert {span.name: span.parent_span_id for span in read}["span 1"] == b""
    assert len(read) == 4
