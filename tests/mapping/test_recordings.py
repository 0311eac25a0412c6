"""Recordings of model providers and agent frameworks with every instrumentor, and documented formats."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk.trace import Event, ReadableSpan

import captures
from captures import DATA, log_record, readable_span, span_number
from outlines import outline, written
from pandaprobe_otel.mapping import map_trace
from provider_calls import CONTEXT, Call, expected_calls

RECORDINGS = [name for name in captures.names() if expected_calls(name) is not None]


def letters(content: Any) -> str:
    """Return the first letters of the roles of a conversation's messages."""
    return "".join(message["role"][0] for message in messages(content))


def messages(content: Any) -> list[Any]:
    """Return the messages of a span's input or output."""
    return content["messages"] if isinstance(content, dict) and "messages" in content else []


def text_of(message: Mapping[str, Any]) -> Any:
    """Return a message's text, the first one if the message has several parts."""
    content = message["content"]
    if isinstance(content, list):
        return next((part["text"] for part in content if part["type"] == "text"), None)
    return content


def counts(call: Call) -> dict[str, int] | None:
    """Return the usage that PandaProbe must store for the call."""
    if call.prompt is None and call.completion is None:
        return None
    sides = {"prompt_tokens": call.prompt, "completion_tokens": call.completion}
    usage = {name: number for name, number in sides.items() if number is not None}
    usage["total_tokens"] = sum(usage.values())
    details = {
        "cache_read_tokens": call.cache_read,
        "cache_creation_tokens": call.cache_creation,
        "reasoning_tokens": call.reasoning,
    }
    return {**usage, **{name: number for name, number in details.items() if number}}


def assert_is(span: Mapping[str, Any], call: Call) -> None:
    """Check that the span has the recorded facts of the call, and nothing else."""
    assert (span["kind"], span["model"]) == (call.kind, call.model)
    assert span["status"] == ("ERROR" if call.error else "OK")
    assert call.error is None or span["error"].startswith(call.error)
    assert span.get("token_usage") == counts(call)
    assert letters(span.get("input")) == call.asked
    asked = [text_of(message) for message in messages(span.get("input")) if message["role"] == "user"]
    assert asked[-1:] == ([call.question] if "u" in call.asked else [])
    output = messages(span.get("output"))
    assert tuple(text_of(message) for message in output) == call.said
    assert ("output" in span) == bool(call.said)
    requested = [one["function"] for message in output for one in message.get("tool_calls", ())]
    assert [(one["name"], one["arguments"]) for one in requested] == list(call.calls)
    assert span["metadata"].get("reasoning_summary") == call.thought


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recorded_call_has_its_messages_and_costs(name: str) -> None:
    """Kind, model, status, tokens, messages, tool calls and reasoning are those of the call."""
    recording = captures.capture(name)
    calls = expected_calls(name)
    assert calls is not None
    traces = [map_trace(spans, recording.logs) for spans in recording.traces]
    for trace, call in zip(traces, calls, strict=True):
        (span,) = trace["spans"]  # one also where Anthropic's own span is inside another instrumentor's
        assert_is(span, call)


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_trace_of_a_call_has_its_question_and_answer(name: str) -> None:
    """The trace's input is the last user message, its output the model's last answer, its status that of the call."""
    recording = captures.capture(name)
    for spans, call in zip(recording.traces, expected_calls(name) or (), strict=True):
        trace = map_trace(spans, recording.logs)
        assert trace["status"] == ("ERROR" if call.error else "COMPLETED")
        if call.question and call.kind == "LLM":
            (question,) = trace["input"]["messages"]
            assert (question["role"], text_of(question)) == ("user", call.question)
        if call.said:
            (answer,) = trace["output"]["messages"]
            assert (answer["role"], text_of(answer)) == ("assistant", call.said[-1])
        else:
            assert "output" not in trace
        assert (trace.get("session_id"), trace.get("user_id")) == CONTEXT.get(name, (None, None))


@pytest.mark.parametrize("name", [name for name in RECORDINGS if name.endswith("__embeddings")])
def test_an_embedding_keeps_its_texts_and_never_its_vectors(name: str) -> None:
    """The texts are the input if they were recorded; vectors are never kept."""
    recording = captures.capture(name)
    (span,) = map_trace(recording.traces[0], recording.logs)["spans"]
    recorded = name.startswith("traceloop")
    assert span.get("input") == (["alpha", "beta"] if recorded else None)
    assert "output" not in span


@pytest.mark.parametrize("name", [name for name in RECORDINGS if name.endswith("__chat_image")])
def test_small_pictures_stay_in_the_message(name: str) -> None:
    """A picture given as data and one given as a URL become parts of the message, in one format."""
    recording = captures.capture(name)
    (span,) = map_trace(recording.traces[0], recording.logs)["spans"]
    content = [message["content"] for message in messages(span.get("input"))]
    if "otel_openai_v2" in name:  # this instrumentor does not record pictures
        assert content == []
        return
    (parts,) = content
    urls = [part["image_url"]["url"] for part in parts[1:]]
    assert [part["type"] for part in parts] == ["text", "image_url", "image_url"]
    assert urls[0].startswith("data:image/png;base64,iVBORw0")
    assert urls[1] == "https://example.test/cat.png"


# -- agent frameworks --------------------------------------------------------------------------------------------------

OUTLINES = written(captures.DATA / "outlines.txt")


@pytest.mark.parametrize("name", sorted(OUTLINES))
def test_a_recorded_run_has_the_outline_of_its_recording(name: str) -> None:
    """Tree, kinds, names, models, messages, tools, tokens, errors and the trace's fields equal the stored outline."""
    recording = captures.capture(name)
    seen = outline([map_trace(spans, recording.logs) for spans in recording.traces])
    if " session * |" in OUTLINES[name]:  # the recording has a random number
        seen = re.sub(r"session [0-9a-f-]{36} ", "session * ", seen)
    assert seen.splitlines() == OUTLINES[name].splitlines()


def test_every_recording_is_checked_against_its_facts() -> None:
    """Every recording has a stored outline."""
    assert {name for name in captures.names() if expected_calls(name) is None} == set(OUTLINES)


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
