"""Deviations of libraries from their conventions, found in live runs (tests/mapping/live)."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from pandaprobe_otel.mapping import EventView
from views import mapped, mapped_span, only_span, view

GENAI, INFERENCE = "gen_ai.operation.name", "openinference.span.kind"
TOOL_CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
DIGEST = {"mime_type": "image/png", "bytes": 8, "sha256": "4c4b6a3be131"}
DEFINITION = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def test_the_chunks_of_a_streamed_answer_are_one_message() -> None:
    """The chunks of a stream, which Google ADK 2.13 writes as messages, become one message."""

    def chunk(part: dict[str, object], finish_reason: str = "") -> dict[str, object]:
        return {"role": "assistant", "parts": [part], "finish_reason": finish_reason}

    chunks = [
        chunk({"type": "reasoning", "content": "Hm. "}),
        chunk({"type": "text", "content": "It is "}),
        chunk({"type": "text", "content": "windy."}),
        chunk({"type": "tool_call", "id": "c", "name": "get", "arguments": {}}, "stop"),
    ]
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.output.messages": json.dumps(chunks)}
    body = mapped(view("generate_content m", attributes))
    (message,) = only_span(body)["output"]["messages"]
    assert (message["content"], message["tool_calls"][0]["id"]) == ("It is windy.", "c")
    assert body["output"]["messages"][0]["content"] == "It is windy."


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {GENAI: "search_memory", "gen_ai.memory.query.text": "diet",
             "gen_ai.memory.records": '[{"content": "no"}]'},
            {"kind": "RETRIEVER", "input": "diet", "output": [{"page_content": "no"}]},
        ),
        ({GENAI: "handle_conversation_turn", "gen_ai.agent.name": "x"}, {"kind": "AGENT", "agent_name": "x"}),
        (
            {GENAI: "fetch_response", "gen_ai.response.model": "m", "gen_ai.response.status": "failed"},
            {"kind": "OTHER", "operation": "fetch_response", "status": "ERROR", "error": "failed"},
        ),
        (
            {GENAI: "fetch_response", "gen_ai.response.model": "m", "gen_ai.usage.input_tokens": 3},
            {"kind": "LLM", "status": "OK", "token_usage": {"prompt_tokens": 3, "total_tokens": 3}},
        ),
        ({GENAI: "apply_guardrail", "gen_ai.guardrail.id": "g"},
         {"kind": "OTHER", "attributes": {"gen_ai.guardrail.id": "g"}}),
        (
            {"openinference.span.kind": "LLM", "llm.prompts.0.prompt.text": "Hi",
             "llm.choices.0.completion.text": "Yo"},
            {"input": {"messages": [{"role": "user", "content": "Hi"}]},
             "output": {"messages": [{"role": "assistant", "content": "Yo"}]}},
        ),
        ({"gen_ai.request.model": "m", "anthropic.message.stop_reason": "tool_use"}, {"finish_reasons": ["tool_use"]}),
        (
            {GENAI: "chat", "openai.response.service_tier": "flex"}, {"service_tier": "flex", "attributes": None},
        ),
        # the results of tools in other forms, as OpenInference, Strands and Traceloop write them
        (
            {INFERENCE: "LLM", "llm.input_messages.0.message.role": "user",
             "llm.input_messages.0.message.content": "Hi", "llm.input_messages.1.message.role": "user",
             "llm.input_messages.1.message.tool_call_id": "toolu_0", "llm.input_messages.1.message.content": "windy"},
            {"input": {"messages": [{"role": "user", "content": "Hi"},
                                    {"role": "tool", "content": "windy", "tool_call_id": "toolu_0"}]}},
        ),
        (
            {INFERENCE: "TOOL", "input.value": "Lisbon",
             "output.value": '{"type": "tool", "data": {"content": "windy", "type": "tool", "tool_call_id": "c"}}'},
            {"input": "Lisbon", "output": "windy"},
        ),
        (
            {INFERENCE: "TOOL", "output.value": '{"type": "report", "data": {"n": 1}}'},
            {"output": {"type": "report", "data": {"n": 1}}},
        ),
        (
            {GENAI: "execute_tool", "gen_ai.input.messages": json.dumps([{"role": "tool", "parts": [
                {"type": "tool_call", "name": "get", "id": "c", "arguments": {"city": "Oslo"}}]}]),
             "gen_ai.output.messages": json.dumps([{"role": "tool", "parts": [
                 {"type": "tool_call_response", "id": "c", "response": [{"text": "Error"}]}]}])},
            {"input": {"city": "Oslo"}, "output": [{"text": "Error"}]},
        ),
        (
            {"traceloop.span.kind": "tool", "gen_ai.tool.call.result": json.dumps({"kwargs": {"color": "green"},
             "output": {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "ToolMessage"],
                        "kwargs": {"content": '{"temp_c": 21}', "type": "tool"}}})},
            {"output": {"temp_c": 21}},
        ),
        ({GENAI: "execute_tool", "gen_ai.tool.args": '{"a": 1}', "tool.status": "error"},
         {"input": {"a": 1}, "status": "ERROR"}),
        ({GENAI: "execute_tool", "tool.status": "success"}, {"status": "OK"}),
        (
            {GENAI: "chat", "gen_ai.input.messages": json.dumps(
                [{"role": "user", "parts": [{"type": "blob", "modality": "image", **DIGEST}]}])},
            {"input": {"messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": DIGEST}}]}]}, "attributes": None},
        ),
        # messages and parameters
        (
            {GENAI: "chat", "gen_ai.output.messages": json.dumps(
                [{"role": "assistant", "parts": "one", "tool_calls": [TOOL_CALL]},
                 {"role": "assistant", "parts": [{"type": "text", "content": "two"}]}])},
            {"output": {"messages": [{"role": "assistant", "content": "one", "tool_calls": [TOOL_CALL]},
                                     {"role": "assistant", "content": "two"}]}},
        ),
        (
            {"langfuse.observation.type": "generation", "langfuse.observation.input": json.dumps(
                [{"role": "user", "content": "Hi"}, {"role": "tool", "content": DEFINITION}])},
            {"input": {"messages": [{"role": "user", "content": "Hi"}]}, "tools": [DEFINITION]},
        ),
        ({INFERENCE: "LLM", "llm.invocation_parameters": '{"options": {"temperature": 0.3}}'},
         {"model_parameters": {"temperature": 0.3}}),
        ({INFERENCE: "LLM", "llm.invocation_parameters": '{"invocation_params": {"n": 3}, "n": 7}'},
         {"model_parameters": {"n": 7}}),
        (
            {GENAI: "chat", "gen_ai.cost.input_cost": 0.25, "gen_ai.cost.total_cost": 0.75, "gen_ai.cost.margin": 0.1},
            {"cost": {"input": 0.25, "total": 0.75}, "attributes": {"gen_ai.cost.margin": 0.1}},
        ),
        ({GENAI: "dream", "gen_ai.request.model": "m"}, {"kind": "LLM", "operation": "dream"}),
    ],
)  # fmt: skip
def test_names_and_forms_of_one_emitter(attributes: dict[str, Any], expected: dict[str, Any]) -> None:
    """Names and forms of one emitter, or of the newest conventions, are in fields of PandaProbe."""
    span = mapped_span("x", attributes)
    assert {name: span.get(name, span["metadata"].get(name)) for name in expected} == expected


def test_the_question_is_the_users() -> None:
    """The trace's input is the user's question, not a tool result with the role of a user."""
    messages = [{"role": "user", "content": "Hi"}, {"role": "user", "tool_call_id": "c", "content": "windy"}]
    told = {GENAI: "chat", "gen_ai.request.user": "u-1", "gen_ai.input.messages": json.dumps(messages)}
    body = mapped(view("x", told))
    assert (body["input"], body["user_id"]) == ({"messages": messages[:1]}, "u-1")


def test_the_message_of_a_developer_is_the_first_of_the_input() -> None:
    """A `gen_ai.developer.message` event is a message of the input."""
    events = [EventView(f"gen_ai.{role}.message", 1, {}, {"content": role}) for role in ("developer", "user")]
    span = mapped_span("chat", {GENAI: "chat", "gen_ai.request.model": "m"}, events=events)
    assert [(one["role"], one["content"]) for one in span["input"]["messages"]] == [
        ("developer", "developer"),
        ("user", "user"),
    ]
    assert "events" not in span["metadata"]


def _details(number: int, prompt: int) -> EventView:
    told = {"gcp.vertex.agent.event_id": f"e-{number}", "gen_ai.usage.input_tokens": prompt}
    return EventView("gen_ai.client.inference.operation.details", number, {**told, "gen_ai.usage.output_tokens": 2})


@pytest.mark.parametrize(("numbers", "prompt"), [((1, 2), 110), ((1, 1), 10), ((1,), 10)])
def test_the_counts_of_several_calls_in_one_span_are_added_up(numbers: tuple[int, ...], prompt: int) -> None:
    """A span with details events of several calls, as OpenInference's of an ADK agent, has the counts of all."""
    events = [_details(number, 100 if number == 2 else 10) for number in numbers]
    span = view("invoke_agent a", {"openinference.span.kind": "LLM", "llm.token_count.prompt": 100}, events=events)
    assert only_span(mapped(span))["token_usage"]["prompt_tokens"] == prompt


BEDROCK = ("botocore.bedrock-runtime", "genai.bedrock", "bedrock")


@pytest.mark.parametrize("scope", BEDROCK)
@pytest.mark.parametrize("cached", [900, 1100])
def test_bedrock_s_counts_exclude_cached_tokens(scope: str, cached: int) -> None:
    """Each instrumentation of Bedrock passes on counts without cached tokens, which are added to the input."""
    counts = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.cache_read.input_tokens": cached}
    span = view("chat", {GENAI: "chat", "gen_ai.request.model": "m", **counts})
    found = only_span(mapped(dataclasses.replace(span, scope_name=f"opentelemetry.instrumentation.{scope}")))
    assert found["token_usage"]["prompt_tokens"] == 1000 + cached


@pytest.mark.parametrize(
    ("scope", "usage"),
    [
        ("opentelemetry.instrumentation.google_generativeai", (25, 15)),
        ("opentelemetry.instrumentation.openai.v1", (10, None)),
    ],
)
def test_gemini_s_thoughts_are_part_of_the_output(scope: str, usage: tuple[int, int | None]) -> None:
    """Thoughts that only the total includes are added to the output, for instrumentations of Gemini."""
    counts = {"gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 10, "gen_ai.usage.total_tokens": 30}
    found = mapped_span("chat", {GENAI: "chat", "gen_ai.request.model": "m", **counts}, scope_name=scope)
    assert (found["token_usage"]["completion_tokens"], found["token_usage"].get("reasoning_tokens")) == usage


@pytest.mark.parametrize("own", [{}, {"gen_ai.tool.call.arguments": "{}", "gen_ai.tool.call.result": "own"}])
def test_a_tool_without_values_has_those_of_the_call_with_its_id(own: dict[str, str]) -> None:
    """Arguments and result that only the model calls have, as with Google ADK 2, are also the tool's."""
    call = {"type": "tool_call", "id": "c-1", "name": "get", "arguments": {"city": "Oslo"}}
    answered = {"type": "tool_call_response", "id": "c-1", "response": "windy"}

    def model(span_id: int, side: str, role: str, part: dict[str, Any]) -> Any:
        told = {GENAI: "chat", f"gen_ai.{side}.messages": json.dumps([{"role": role, "parts": [part]}])}
        return view(f"chat {span_id}", told, span_id=span_id, parent=1, at=span_id)

    tool = {GENAI: "execute_tool", "gen_ai.tool.name": "get", "gen_ai.tool.call.id": "c-1", **own}
    spans = mapped(
        view("agent", {GENAI: "invoke_agent"}, lasts=9),
        model(2, "output", "assistant", call),
        view("get", tool, span_id=3, parent=1, at=3),
        model(4, "input", "tool", answered),
    )["spans"]
    found = {span["name"]: span for span in spans}["get"]
    assert (found["input"], found["output"]) == (({}, "own") if own else ({"city": "Oslo"}, "windy"))
    sources = [found["metadata"].get(f"{side}_from", {}).get("name") for side in ("input", "output")]
    assert sources == ([None, None] if own else ["chat 2", "chat 4"])


@pytest.mark.parametrize(
    ("root", "name"),
    [
        ({"my.own": "x"}, "checkout"),
        ({}, "checkout"),
        ({"langfuse.observation.type": "span"}, "checkout"),
        ({"http.request.method": "POST"}, "chat m"),
        ({"db.system.name": "postgresql"}, "chat m"),
    ],
)
def test_a_name_that_the_app_gave_the_root_is_the_trace_s(root: dict[str, str], name: str) -> None:
    """The trace has the name of its root, unless the root is a request, a database call or similar transport."""
    call = view("chat m", {GENAI: "chat", "gen_ai.request.model": "m"}, span_id=2, parent=1)
    assert mapped(view("checkout", root, lasts=9), call)["name"] == name


def test_a_call_of_the_responses_api_has_the_id_that_its_result_names() -> None:
    """Of an item's own id and its call id, the call id is kept, because the result refers to it."""
    items = [
        {"role": "user", "content": "Weather?"},
        {"type": "function_call", "id": "fc_0", "call_id": "call_0", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_0", "output": "windy"},
    ]
    span = mapped_span("x", {"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps(items)})
    _, called, answered = span["input"]["messages"]
    assert called["tool_calls"][0]["id"] == answered["tool_call_id"] == "call_0"


def test_an_embedding_of_pydantic_ai_has_its_texts_and_no_vectors() -> None:
    """The texts that it embedded are the input; its vectors leave a marker."""
    attributes = {"inputs": '["pandas eat bamboo"]', "inputs_count": 1, "embeddings": "[[0.1, 0.2, 0.3]]"}
    span = mapped_span("embeddings m", {"gen_ai.operation.name": "embeddings", **attributes})
    assert span["input"] == ["pandas eat bamboo"]
    assert span["metadata"]["attributes"] == {"inputs_count": 1, "embeddings": ["[vector of 3 numbers]"]}
    agent = mapped_span("run", {"gen_ai.operation.name": "invoke_agent", **attributes})
    assert agent["metadata"]["attributes"] == {**attributes, "inputs": ["pandas eat bamboo"]}


def test_the_answer_is_not_an_earlier_request_of_a_tool() -> None:
    """If the last call's answer was not captured, the trace has no output, and not the call of a tool before it."""
    call = {"type": "function", "id": "1", "function": {"name": "f", "arguments": "{}"}}
    asked = json.dumps([{"role": "assistant", "content": None, "tool_calls": [call]}])
    model = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    first = view("first", {**model, "gen_ai.output.messages": asked}, span_id=2, parent=1)
    run = view("run", {"gen_ai.operation.name": "invoke_agent"}, lasts=9)
    assert "output" not in mapped(run, first, view("second", model, span_id=3, parent=1, at=2))
    assert "output" in mapped(run, first)
