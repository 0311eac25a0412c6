"""Recordings of model providers and agent frameworks with every instrumentor, and documented formats."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk.trace import Event, ReadableSpan

import captures
from captures import DATA, log_record, readable_span, span_number
from outlines import outline, written
from pandaprobe_otel.mapping import map_trace

SUNNY = "It is sunny in Paris."
BOTH = ("get_weather", '{"location": "Paris"}'), ("get_weather", '{"location": "London"}')
PARIS = (("get_weather", '{"location": "Paris"}'),)


@dataclass(frozen=True, slots=True)
class Call:
    """One model call: its messages and its cost.

    `asked` has the first letters of the input messages' roles (system, user, assistant, tool), `said` the texts of the
    output messages, and `calls` the tools that the model requested.
    """

    model: str
    asked: str
    question: str
    said: tuple[str | None, ...]
    calls: tuple[tuple[str, str], ...] = ()
    prompt: int | None = 100
    completion: int | None = 30
    cache_read: int = 0
    cache_creation: int = 0
    reasoning: int = 0
    thought: str | None = None
    error: str | None = None
    kind: str = "LLM"


GPT, GPT5, CLAUDE = "gpt-4o-mini-2025-08-07", "gpt-5-2025-08-07", "claude-sonnet-4-5"
INSTRUCT, EMBED = "gpt-3.5-turbo-instruct", "text-embedding-3-small"
WEATHER, BOTH_CITIES = "What is the weather in Paris?", "Weather in Paris and London? BOTH"
THOUGHT = "User asks about the weather."

CHAT = Call(GPT, "su", WEATHER, (SUNNY,), cache_read=64, reasoning=12)
TOOLS = replace(CHAT, question=BOTH_CITIES, said=(None,), calls=BOTH)
RESPONSE = replace(CHAT, model=GPT5, prompt=110, completion=40, cache_read=48, reasoning=16, thought=THOUGHT)
MESSAGE = Call(CLAUDE, "su", WEATHER, (SUNNY,), prompt=120, cache_read=64, cache_creation=20)

SCENARIOS: dict[str, tuple[Call, ...]] = {
    "chat": (CHAT,),
    "chat_stream": (CHAT,),
    "chat_stream_no_usage": (replace(CHAT, prompt=None, completion=None, cache_read=0, reasoning=0),),
    "chat_error_429": (
        Call("gpt-4o-mini", "u", "TRIGGER_429", (), prompt=None, completion=None, error="Error code: 429"),
    ),
    "chat_image": (replace(CHAT, asked="u", question="What is in this picture?"),),
    "chat_n2_json": (replace(CHAT, asked="u", said=('{"city": "Paris", "answer": "sunny"}', "Alternative 1.")),),
    "chat_tools_stream": (TOOLS,),
    "chat_tools_two_turns": (TOOLS, replace(TOOLS, asked="suatt", said=(SUNNY,), calls=())),
    "completions_legacy": (Call(INSTRUCT, "u", "The weather is", (" sunny.",), prompt=5, completion=2),),
    "embeddings": (Call(EMBED, "", "", (), prompt=8, completion=None, kind="EMBEDDING"),),
    "responses": (RESPONSE,),
    "responses_stream": (replace(RESPONSE, asked="u", question="Weather in Paris?"),),
    "responses_tools": (
        replace(RESPONSE, asked="u", question="Weather in Paris?", said=(None,), calls=PARIS),
        replace(RESPONSE, asked="uat", question="Weather in Paris?"),
    ),
    "messages": (MESSAGE,),
    "messages_cache_blocks": (replace(MESSAGE, question="Question?"),),
    "messages_error_429": (
        Call(CLAUDE, "u", "TRIGGER_429", (), prompt=None, completion=None, error="Error code: 429"),
    ),
    "messages_stream": (replace(MESSAGE, asked="u"),),
    "messages_stream_helper": (replace(MESSAGE, asked="u"),),
    "messages_thinking": (replace(MESSAGE, asked="u", thought="The user wants the weather."),),
    "messages_tools_stream": (replace(MESSAGE, asked="u", said=("Let me check.",), calls=PARIS),),
    "messages_tools_two_turns": (
        replace(MESSAGE, asked="u", question="Weather in Paris?", said=("Let me check.",), calls=PARIS),
        replace(MESSAGE, asked="uat", question="Weather in Paris?"),
    ),
}
"""The calls of each scenario, each in a trace of its own."""

UNREAD: dict[str, Any] = {"asked": "", "question": "", "said": (), "calls": (), "thought": None}
NO_OUTPUT: dict[str, Any] = {"said": (), "calls": (), "thought": None}
NO_COUNTS: dict[str, Any] = {
    "prompt": None, "completion": None, "cache_read": 0, "cache_creation": 0, "reasoning": 0,
}  # fmt: skip

INSTRUMENTORS: dict[str, dict[str, Any]] = {
    "otel_genai_openai_content": {"thought": None},
    "otel_genai_openai_default": UNREAD,
    "otel_genai_openai_eventonly": {"thought": None},
    "otel_openai_v2_default": {**UNREAD, "cache_read": 0, "reasoning": 0},
    "otel_openai_v2_latest_content": {"cache_read": 0, "reasoning": 0},
    "otel_openai_v2_legacy_content": {"cache_read": 0, "reasoning": 0},
    "otel_genai_anthropic_content": {},
    "anthropic_native_content": {},
    "anthropic_native_default": UNREAD,
    "openinference_openai": {},
    "openinference_openai_genai": {"thought": None},
    "openinference_anthropic_0118": {},
    "openinference_anthropic_genai": {},
    "traceloop_openai": {},
    "traceloop_openai_0475": {},
    "traceloop_openai_events": {},
    "traceloop_anthropic": {},
    "traceloop_anthropic_0475": {},
    "logfire_openai": {"reasoning": 0, "thought": None},
    "logfire_anthropic": {},
}
"""Parts that an instrumentor leaves out in every scenario."""

EXCEPTIONS: dict[str, dict[str, Any] | tuple[dict[str, Any], ...]] = {
    # Anthropic's own telemetry records errors without a description, and loses the items of `create(stream=True)`.
    "anthropic_native_content__messages_error_429": {"error": "rate_limit_error"},
    "anthropic_native_content__messages_stream": NO_OUTPUT,
    "anthropic_native_content__messages_tools_stream": NO_OUTPUT,
    # When content is off, the old openai-v2 schema keeps the name and id of a tool call, but not its arguments.
    "otel_openai_v2_default__chat_tools_stream": {
        "said": (None,),
        "calls": (("get_weather", "{}"), ("get_weather", "{}")),
    },
    "otel_openai_v2_default__chat_tools_two_turns": (
        {"said": (None,), "calls": (("get_weather", "{}"), ("get_weather", "{}"))},
        {"asked": "a"},
    ),
    # The newest openai-v2 schema drops messages with pictures.
    "otel_openai_v2_latest_content__chat_image": {"asked": "", "question": ""},
    # A tool that the provider itself runs counts as output of the model.
    "openinference_openai_genai__responses_tools": (
        {"said": (None, None), "calls": (("web_search_call", "{}"), *PARIS)},
        {},
    ),
    **{f"otel_genai_openai_{mode}__responses_tools": ({"said": (None, None)}, {}) for mode in ("content", "eventonly")},
    # The old OpenInference for Anthropic records the system prompt only as a parameter.
    "openinference_anthropic_0118__messages": {"asked": "u"},
    # OpenInference records the legacy API's request as a whole.
    # For Anthropic's streams, the old OpenInference records only the provider's raw counts, without cached tokens.
    "openinference_anthropic_0118__messages_stream": {"prompt": 36, "cache_read": 0, "cache_creation": 0},
    "openinference_anthropic_0118__messages_tools_stream": {"prompt": 36, "cache_read": 0, "cache_creation": 0},
    # Traceloop loses streams' reasoning counts, old Anthropic streams' counts, and streamed answers in log events.
    "traceloop_openai_0475__chat_tools_stream": {"reasoning": 0},
    "traceloop_anthropic_0475__messages_stream": NO_COUNTS,
    "traceloop_anthropic__messages_stream": {"completion": 31},
    "traceloop_openai_events__chat_stream": {**NO_OUTPUT, "reasoning": 0},
    "traceloop_openai_events__chat_stream_no_usage": NO_OUTPUT,
    "traceloop_openai_events__chat_tools_stream": {**NO_OUTPUT, "reasoning": 0},
    "traceloop_openai_0475__embeddings": {"question": "alpha"},
    "traceloop_openai__embeddings": {"question": "alpha"},
    "traceloop_openai_events__embeddings": {"question": "alpha"},
    "logfire_openai__completions_legacy": {"asked": "", "question": ""},
}
"""Differences of single recordings from the tables above."""


NATIVE_INSIDE = ("openinference_anthropic", "otel_genai_anthropic_plus_native")
"""Instrumentors whose spans surround Anthropic's own span of the same call."""

BESIDE = "openinference_anthropic__messages_stream_helper"
"""A recording whose native span has a trace of its own."""

TWO_TRACES = (
    "logfire_openai__chat_tools_stream",
    *(f"logfire_anthropic__messages_{kind}" for kind in ("stream", "stream_helper", "tools_stream")),
)
"""Recordings in which Logfire ends a stream's span at once, and records its result in another trace."""

CONTEXT: dict[str, tuple[str | None, str | None]] = {
    **{
        f"{name}__{scenario}": ("sess-1", "user-42")
        for name in ("openinference_openai", "openinference_openai_genai")
        for scenario in SCENARIOS
    },
    "otel_genai_openai_content__responses": ("conv_fake1", None),
    "traceloop_openai__chat": (None, "user-42"),
    "traceloop_openai_0475__chat": (None, "user-42"),
    "traceloop_openai_events__chat": (None, "user-42"),
}
"""Session and user of the recordings whose app sets them."""


def expected_calls(name: str) -> tuple[Call, ...] | None:
    """Return the calls in the traces of this capture; None if it does not record direct calls."""
    instrumentor, _, scenario = name.rpartition("__")
    if scenario not in SCENARIOS or instrumentor not in {*INSTRUMENTORS, *NATIVE_INSIDE}:
        return None
    calls = [replace(call, **INSTRUMENTORS.get(instrumentor, {})) for call in SCENARIOS[scenario]]
    different = EXCEPTIONS.get(name, {})
    changes = different if isinstance(different, tuple) else (different,) * len(calls)
    calls = [replace(call, **change) for call, change in zip(calls, changes, strict=True)]
    if name == BESIDE:
        (call,) = calls
        calls = [call, replace(call, **UNREAD)]
    if name in TWO_TRACES:
        (call,) = calls
        model = call.model.removesuffix("-2025-08-07")
        calls = [replace(call, model=model, **NO_OUTPUT, **NO_COUNTS), call]
    return tuple(calls)


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
