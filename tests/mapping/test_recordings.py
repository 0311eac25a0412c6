"""Recordings of model providers and agent frameworks with every instrumentor, and documented formats."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk.trace import Event, ReadableSpan

import captures
from captures import DATA, log_record, readable_span, span_number
from outlines import outline, written
from pandaprobe_otel.mapping import map_trace
from storable import assert_storable

OUTLINES = written(captures.DATA / "outlines.txt")


def requests_and_thoughts(trace: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each tool call that a model requests, and for each summary of its reasoning."""
    for span in trace["spans"]:
        if span["kind"] == "LLM":
            for message in (span.get("output") or {}).get("messages", ()):
                for call in message.get("tool_calls", ()):
                    yield f"  call {call['function']['name']} {call['function']['arguments']}"
            if thought := span["metadata"].get("reasoning_summary"):
                yield f"  thought {thought}"


@pytest.mark.parametrize("name", captures.names())
def test_a_recording_has_its_outline(name: str) -> None:
    """Tree, kinds, names, models, messages, tool calls, tokens, reasoning, errors and the trace's fields are stored.

    The server can store the traces, and spans of the same call are named in one.
    """
    recording = captures.capture(name)
    traces = [map_trace(spans, recording.logs) for spans in recording.traces]
    for trace, spans in zip(traces, recording.traces, strict=True):
        assert_storable(trace)
        same_calls = [one for span in trace["spans"] for one in span["metadata"].get("also_recorded_as", ())]
        assert len(trace["spans"]) + len(same_calls) == len(spans)
    seen = "\n".join([outline(traces), *(line for trace in traces for line in requests_and_thoughts(trace))])
    if " session * |" in OUTLINES[name]:  # the recording has a random number
        seen = re.sub(r"session [0-9a-f-]{36} ", "session * ", seen)
    assert seen.splitlines() == OUTLINES[name].splitlines()


# -- documented formats, as fixtures written by hand -------------------------------------------------------------------

FIXTURES = json.loads((DATA / "fixtures.json").read_text(encoding="utf-8"))
FIELDS = ("name", "kind", "status", "model", "input", "output", "token_usage", "model_parameters", "cost", "error")


def named(fixtures: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the fixtures as test parameters, with their names as ids."""
    return [pytest.param(fixture, id=fixture["id"]) for fixture in fixtures]


def read(span: Mapping[str, Any]) -> tuple[ReadableSpan, list[LogRecord]]:
    """Return the span of a fixture, and the log records among its events."""
    events = tuple(
        Event(event["name"], event["attributes"], event["timestamp"]) for event in span["events"] if "body" not in event
    )
    fields = {
        **span,
        "start": span["start_time_unix_nano"],
        "end": span["end_time_unix_nano"],
        "status": [span["status"]["code"], span["status"]["description"]],
        "scope": [span["scope"]["name"], span["scope"]["version"]],
    }
    made = readable_span(fields, resource=span["resource"], events=events)
    trace_id, span_id = int(span["trace_id"], 16), span_number(span["span_id"])
    logs = [
        log_record(event["name"], trace_id, span_id, event["body"], event["attributes"])
        for event in span["events"]
        if "body" in event
    ]
    return made, logs


@pytest.mark.parametrize("fixture", named(FIXTURES["span_fixtures"]))
def test_a_documented_span_becomes_the_expected_span(fixture: Mapping[str, Any]) -> None:
    """The mapped span has the expected fields with their values, and no others."""
    span, logs = read(fixture["span"])
    spans = map_trace([span], logs)["spans"]
    expected = fixture["expected"]
    if expected is None:
        assert spans == []
        return
    (mapped,) = spans
    metadata = dict(expected.get("metadata_includes", {}))
    wanted = {field: expected.get(field) for field in FIELDS}
    if "aggregated_token_usage" in metadata:
        wanted["token_usage"] = metadata.pop("aggregated_token_usage")
    got = {field: mapped.get(field) for field in FIELDS}
    if got["cost"] is not None:
        got["cost"] = {key: round(amount, 9) for key, amount in got["cost"].items()}
    assert got == wanted
    assert {key: mapped["metadata"].get(key) for key in metadata} == metadata
    assert first_token_ms(mapped) == pytest.approx(expected.get("completion_start_offset_ms"))


def first_token_ms(span: Mapping[str, Any]) -> float | None:
    """Return the milliseconds from a span's start to its first token."""
    first = span.get("completion_start_time")
    if first is None:
        return None
    return (datetime.fromisoformat(first) - datetime.fromisoformat(span["started_at"])).total_seconds() * 1000


@pytest.mark.parametrize("fixture", named(FIXTURES["trace_fixtures"]))
def test_a_documented_trace_becomes_the_expected_trace(fixture: Mapping[str, Any]) -> None:
    """The trace's fields follow from its spans, and token counts stay on the span of the call."""
    read_spans = [read(span) for span in fixture["spans"]]
    body = map_trace([span for span, _ in read_spans], [log for _, logs in read_spans for log in logs])
    expected = fixture["expected_trace"]
    assert {key: body.get(key, [] if key == "tags" else None) for key in expected} == expected
    by_id = {span["span_id"].replace("-", "")[16:]: span for span in body["spans"]}
    for span_id, fields in fixture["expected_spans"].items():
        span = by_id[f"{span_number(span_id):016x}"]
        assert {field: span.get(field) for field in fields} == fields
