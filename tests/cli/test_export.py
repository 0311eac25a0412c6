"""Traces as OTLP/JSON and as Markdown."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status as ProtoStatus
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, Status, StatusCode

from pandaprobe_otel.api import Client
from pandaprobe_otel.cli import app as app_module
from pandaprobe_otel.cli.markdown import markdown
from pandaprobe_otel.cli.otlp_json import otlp_json
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mapping import attributes as names
from pandaprobe_otel.mapping import map_trace
from pandaprobe_otel.mapping.ids import span_uuid, trace_uuid

TRACE_ID = 0x0123456789ABCDEF0123456789ABCDEF


def span(number: int, **fields: Any) -> dict[str, Any]:
    """Return a span in the form of GET /traces/{id}."""
    return {
        "span_id": span_uuid(TRACE_ID, number),
        "trace_id": trace_uuid(TRACE_ID),
        "parent_span_id": None,
        "name": f"span {number}",
        "kind": "OTHER",
        "status": "OK",
        "input": None,
        "output": None,
        "model": None,
        "token_usage": None,
        "metadata": {},
        "started_at": "2026-01-02T03:04:05.678901Z",
        "ended_at": "2026-01-02T03:04:06.678901Z",
        "error": None,
        "completion_start_time": None,
        "model_parameters": None,
        "cost": None,
        **fields,
    }


ROOT = span(1, name="agent", kind="AGENT", input="tea?", output={"answer": "tea"})
CALL = span(
    2,
    name="gpt",
    kind="LLM",
    parent_span_id=ROOT["span_id"],
    input={"messages": [{"role": "user", "content": "tea?"}]},
    output={"messages": [{"role": "assistant", "content": "tea"}]},
    model="gpt-x",
    token_usage={"prompt_tokens": 3, "completion_tokens": 4},
    cost={"total": 0.5},
    completion_start_time="2026-01-02T03:04:06Z",
    metadata={"k": 1},
)
TOOL = span(
    3, name="kettle", kind="TOOL", parent_span_id=ROOT["span_id"], input={"c": 99}, status="ERROR", error="no water"
)
TRACE: Mapping[str, Any] = {
    "trace_id": trace_uuid(TRACE_ID),
    "project_id": str(UUID(int=1)),
    "name": "run",
    "status": "COMPLETED",
    "input": "tea?",
    "output": "tea",
    "metadata": {"plan": "pro"},
    "started_at": "2026-01-02T03:04:05.678901Z",
    "ended_at": "2026-01-02T03:04:06.678901Z",
    "session_id": "s-1",
    "user_id": "u-1",
    "tags": ["a", "b"],
    "environment": "production",
    "release": "1.2",
    "spans": [ROOT, CALL, TOOL],
    "total_tokens": 7,
    "total_cost": 0.5,
}
_CODES = {0: StatusCode.UNSET, 1: StatusCode.OK, 2: StatusCode.ERROR}


def test_it_is_what_opentelemetry_reads() -> None:
    """OpenTelemetry's schema accepts every exported field, and the ids, times, kinds and content are right."""
    request = read_by_opentelemetry(otlp_json([TRACE]))

    (resource,) = request.resource_spans
    (scope,) = resource.scope_spans
    root, call, tool = scope.spans
    assert (root.trace_id, root.span_id, root.parent_span_id) == (bytes.fromhex(f"{TRACE_ID:032x}"), id_bytes(1), b"")
    assert (call.trace_id, call.span_id, call.parent_span_id) == (root.trace_id, id_bytes(2), id_bytes(1))
    assert root.end_time_unix_nano - root.start_time_unix_nano == 1_000_000_000
    assert str(root.start_time_unix_nano).endswith("678901000")
    assert root.kind == ProtoSpan.SPAN_KIND_INTERNAL
    assert (root.status.code, tool.status.code, tool.status.message) == (
        ProtoStatus.STATUS_CODE_OK,
        ProtoStatus.STATUS_CODE_ERROR,
        "no water",
    )
    values = {each.key: each.value for each in call.attributes}
    assert (values[names.REQUEST_MODEL].string_value, values[names.USAGE_INPUT_TOKENS].int_value) == ("gpt-x", 3)
    tags = {each.key: each.value for each in root.attributes}[names.TAGS].array_value.values
    assert [tag.string_value for tag in tags] == ["a", "b"]


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`traces export --otlp` writes a server's traces to standard output or a file."""
    file = tmp_path / "spans.json"
    with LocalServer(limit=None) as server, Client("sk_pp_test_export", "p", server.url) as client:
        posted = {key: value for key, value in TRACE.items() if key not in ("project_id", "total_tokens", "total_cost")}
        spans = [{key: value for key, value in each.items() if key != "trace_id"} for each in TRACE["spans"]]
        client.traces.create(**_as_arguments({**posted, "spans": spans}))
        client.traces.wait_visible(TRACE["trace_id"])
        connection = ["--endpoint", server.url, "--project", "p", "--api-key", "sk_pp_test_export"]
        code = app_module.run(["traces", "export", "--otlp", *connection])
        printed = capsys.readouterr().out
        also = app_module.run(["traces", "export", TRACE["trace_id"], "--otlp", "-o", str(file), *connection])

    (resource,) = read_by_opentelemetry(json.loads(printed)).resource_spans
    assert (code, also, file.read_text(encoding="utf-8")) == (0, 0, printed)
    assert {span.span_id for span in resource.scope_spans[0].spans} == {id_bytes(1), id_bytes(2), id_bytes(3)}


def read_by_opentelemetry(exported: dict[str, Any]) -> ExportTraceServiceRequest:
    """Parse OTLP/JSON with protobuf, after converting its hexadecimal ids to protobuf's base64."""
    request = json.loads(json.dumps(exported))
    for resource in request["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for each in scope["spans"]:
                for name in {"traceId", "spanId", "parentSpanId"} & each.keys():
                    each[name] = b64encode(bytes.fromhex(each[name])).decode()
    read = ExportTraceServiceRequest()
    ParseDict(request, read)
    return read


def id_bytes(number: int) -> bytes:
    """Return a span id as OpenTelemetry's bytes."""
    return number.to_bytes(8, "big")


def _as_arguments(trace: dict[str, Any]) -> Any:
    moments = ("started_at", "ended_at", "completion_start_time")
    for part in (trace, *trace["spans"]):
        part.update({name: datetime.fromisoformat(part[name]) for name in moments if part.get(name)})
    return trace


def test_an_exported_trace_can_be_read_back() -> None:
    """An exported trace that is read and mapped again has the same ids, times and content."""
    spans = otlp_json([TRACE])["resourceSpans"][0]["scopeSpans"][0]["spans"]
    mapped = map_trace([_readable(each) for each in spans])

    for field in ("trace_id", "name", "status", "input", "output", "session_id", "user_id", "environment", "release"):
        assert mapped[field] == TRACE[field], field
    assert sorted(mapped["tags"]) == TRACE["tags"]
    assert mapped["metadata"]["plan"] == "pro"
    for found, wanted in zip(_by_id(mapped["spans"]), _by_id(TRACE["spans"]), strict=True):
        for field in ("span_id", "parent_span_id", "name", "kind", "input", "output", "model", "status", "error"):
            assert found.get(field) == wanted[field], (wanted["name"], field)
    call = _by_id(mapped["spans"])[1]
    assert {key: call["token_usage"][key] for key in CALL["token_usage"]} == CALL["token_usage"]
    assert call["cost"]["total"] == 0.5
    assert call["metadata"]["k"] == 1


def _by_id(spans: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(spans, key=lambda span: str(span["span_id"]))


def _readable(exported: Mapping[str, Any]) -> ReadableSpan:
    context = SpanContext(int(exported["traceId"], 16), int(exported["spanId"], 16), is_remote=False)
    parent = exported.get("parentSpanId")
    status = exported["status"]
    return ReadableSpan(
        name=exported["name"],
        context=context,
        parent=SpanContext(context.trace_id, int(parent, 16), is_remote=False) if parent else None,
        attributes={each["key"]: _plain(each["value"]) for each in exported["attributes"]},
        start_time=int(exported["startTimeUnixNano"]),
        end_time=int(exported["endTimeUnixNano"]),
        status=Status(_CODES[status["code"]], status.get("message")),
    )


def _plain(value: Mapping[str, Any]) -> Any:
    if "arrayValue" in value:
        return [_plain(each) for each in value["arrayValue"]["values"]]
    return int(value["intValue"]) if "intValue" in value else value["stringValue"]


def test_markdown_is_a_document_of_the_tree() -> None:
    """The Markdown document has a heading for each span by its depth, with details and content."""
    lines = markdown(TRACE).splitlines()

    assert [line for line in lines if line.startswith("#")] == [
        "# run",
        "## AGENT agent (1.00 s)",
        "### LLM gpt (1.00 s)",
        "### TOOL kettle (1.00 s)",
    ]
    assert "- session: s-1" in lines
    assert "gpt-x, 3 → 4 tokens" in lines
    assert "no water" in lines


def test_markdown_says_what_neither_succeeded_nor_failed() -> None:
    """An outcome that is neither success nor failure appears in the lines of the trace and the span."""
    (root, *_) = TRACE["spans"]
    cut = {**root, "status": "UNSET", "metadata": {"outcome": "partial"}}
    lines = markdown({**TRACE, "metadata": {"outcome": "partial"}, "spans": [cut]}).splitlines()
    assert lines[2].startswith(f"trace `{TRACE['trace_id']}`, {TRACE['status']}, partial, started")
    assert "**partial**" in lines


def test_markdown_cannot_be_broken_by_content() -> None:
    """Fences in content do not end the document's own fences, and special characters in names are escaped."""
    text = markdown({**TRACE, "name": "a *b* <c>", "input": "```\n````x\n```", "spans": []})

    assert "# a \\*b\\* \\<c\\>" in text
    assert "`````\n```\n````x\n```\n`````" in text


def test_a_broken_tree_is_shown_once() -> None:
    """Spans that are their own parent, have no known parent, or form a circle are shown once each."""
    own = span(1, parent_span_id=span_uuid(TRACE_ID, 1))
    orphan = span(2, parent_span_id=span_uuid(TRACE_ID, 9))
    headings = [line for line in markdown({**TRACE, "spans": [own, orphan]}).splitlines() if line.startswith("##")]
    exported = otlp_json([{**TRACE, "spans": [own, orphan]}])["resourceSpans"][0]["scopeSpans"][0]["spans"]

    assert headings == ["## OTHER span 1 (1.00 s)", "## OTHER span 2 (1.00 s)"]
    circle = [span(n, parent_span_id=span_uuid(TRACE_ID, 7 - n)) for n in (3, 4)]
    assert sum(line.startswith("##") for line in markdown({**TRACE, "spans": circle}).splitlines()) == 2
    assert len(exported) == 2
    assert "parentSpanId" not in exported[1]
