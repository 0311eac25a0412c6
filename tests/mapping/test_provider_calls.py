"""Recordings of direct calls to a model provider, with every instrumentor: the same facts in any dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

import captures
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
