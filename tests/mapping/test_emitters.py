"""Deviations of libraries from their conventions, found in live runs (tests/mapping/live)."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from pandaprobe_otel.mapping import EventView
from views import mapped, only_span, view


def test_a_result_under_the_role_of_a_user_is_a_tools() -> None:
    """A tool result with the role of a user, as from OpenInference for Anthropic 0.1, gets the role of a tool."""
    span = only_span(
        mapped(
            view(
                "Messages",
                {
                    "openinference.span.kind": "LLM",
                    "llm.input_messages.0.message.role": "user",
                    "llm.input_messages.0.message.content": "Weather?",
                    "llm.input_messages.1.message.role": "user",
                    "llm.input_messages.1.message.tool_call_id": "toolu_0",
                    "llm.input_messages.1.message.content": "windy",
                },
            )
        )
    )
    assert span["input"]["messages"] == [
        {"role": "user", "content": "Weather?"},
        {"role": "tool", "content": "windy", "tool_call_id": "toolu_0"},
    ]


def test_the_question_is_not_a_tools_result() -> None:
    """The trace's input is the user's question, not a tool result with the role of a user."""
    body = mapped(
        view(
            "Messages",
            {
                "openinference.span.kind": "LLM",
                "llm.input_messages.0.message.role": "user",
                "llm.input_messages.0.message.content": "Weather?",
                "llm.input_messages.1.message.role": "user",
                "llm.input_messages.1.message.tool_call_id": "toolu_0",
                "llm.input_messages.1.message.content": "windy",
            },
        )
    )
    assert body["input"] == {"messages": [{"role": "user", "content": "Weather?"}]}


def test_a_dumped_tool_message_is_its_content() -> None:
    """A tool result that OpenInference for LangChain 1 writes as a dumped message is reduced to its content."""
    message = {"type": "tool", "data": {"content": "windy", "type": "tool", "name": "get", "tool_call_id": "call_0"}}
    span = only_span(
        mapped(
            view(
                "get", {"openinference.span.kind": "TOOL", "input.value": "Lisbon", "output.value": json.dumps(message)}
            )
        )
    )
    assert (span["input"], span["output"]) == ("Lisbon", "windy")


def test_an_object_with_data_is_a_result_like_any_other() -> None:
    """Only a dumped message is unwrapped; another object with a field `data` is kept."""
    span = only_span(
        mapped(view("get", {"openinference.span.kind": "TOOL", "output.value": '{"type": "report", "data": {"n": 1}}'}))
    )
    assert span["output"] == {"type": "report", "data": {"n": 1}}


def test_an_operation_that_nobody_knows_is_kept() -> None:
    """For an unknown operation, the kind follows from other attributes, and the operation's name is kept."""
    span = only_span(mapped(view("x", {"gen_ai.operation.name": "dream", "gen_ai.request.model": "m"})))
    assert (span["kind"], span["metadata"]["operation"]) == ("LLM", "dream")
    assert "operation" not in only_span(mapped(view("x", {"gen_ai.operation.name": "chat"})))["metadata"]


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


def test_choices_are_not_pieces() -> None:
    """Several answers to one question stay separate messages, even without finish reasons."""
    said = [{"role": "assistant", "parts": [{"type": "text", "content": text}]} for text in ("one", "two")]
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.output.messages": json.dumps(said)}
    found = only_span(mapped(view("chat m", attributes)))["output"]["messages"]
    assert [message["content"] for message in found] == ["one", "two"]


def test_arguments_in_a_message_are_the_tools_input() -> None:
    """If a tool's arguments are only in a message, as with Strands 1.41, they become its input."""
    asked = {"type": "tool_call", "name": "get", "id": "c", "arguments": {"city": "Oslo"}}
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "get",
        "gen_ai.input.messages": json.dumps([{"role": "tool", "parts": [asked]}]),
    }
    assert only_span(mapped(view("execute_tool get", attributes)))["input"] == {"city": "Oslo"}


def test_a_failed_tools_result_in_a_message_is_its_output() -> None:
    """If a failed tool's result is only in a message, as with Strands 1.62, it becomes the span's output."""
    said = {"type": "tool_call_response", "id": "c", "response": [{"text": "Error: no station"}]}
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "get",
        "gen_ai.output.messages": json.dumps([{"role": "tool", "parts": [said]}]),
    }
    assert only_span(mapped(view("execute_tool get", attributes)))["output"] == [{"text": "Error: no station"}]


GENAI = "gen_ai.operation.name"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"openinference.span.kind": "DECISION", "decision.model_name": "ts-1", "decision.token_count.input": 12,
             "decision.token_count.output": 3, "decision.provider": "acme"},
            {"kind": "LLM", "model": "ts-1", "span_kind": "DECISION", "provider": "acme",
             "token_usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}},
        ),
        (
            {GENAI: "search_memory", "gen_ai.memory.query.text": "diet",
             "gen_ai.memory.records": '[{"content": "no"}]'},
            {"kind": "RETRIEVER", "input": "diet", "output": [{"page_content": "no"}]},
        ),
        (
            {GENAI: "create_memory", "gen_ai.memory.records": '[{"text": "vegan"}]', "gen_ai.memory.store.id": "s"},
            {"kind": "OTHER", "input": [{"text": "vegan"}], "operation": "create_memory", "memory_store_id": "s"},
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
        ({GENAI: "apply_guardrail", "aws.bedrock.guardrail.id": "g"}, {"kind": "OTHER", "guardrail_id": "g"}),
        (
            {"openinference.span.kind": "LLM", "llm.prompts.0.prompt.text": "Hi",
             "llm.choices.0.completion.text": "Yo"},
            {"input": {"messages": [{"role": "user", "content": "Hi"}]},
             "output": {"messages": [{"role": "assistant", "content": "Yo"}]}},
        ),
        ({"gen_ai.request.model": "m", "anthropic.message.stop_reason": "tool_use"}, {"finish_reasons": ["tool_use"]}),
        (
            {GENAI: "chat", "openai.response.service_tier": "flex", "gen_ai.conversation.compacted": True},
            {"service_tier": "flex", "conversation_compacted": True, "attributes": None},
        ),
    ],
)  # fmt: skip
def test_names_of_the_newest_conventions(attributes: dict[str, Any], expected: dict[str, Any]) -> None:
    """Operations, kinds and fields of the newest conventions are in fields of PandaProbe, not under their own names."""
    span = only_span(mapped(view("x", attributes)))
    assert {name: span.get(name, span["metadata"].get(name)) for name in expected} == expected


def test_the_user_of_a_request_is_the_trace_s() -> None:
    """The user that a request names, as OpenLIT records it, is the user of the trace."""
    assert mapped(view("x", {"gen_ai.request.model": "m", "gen_ai.request.user": "u-1"}))["user_id"] == "u-1"


def test_the_message_of_a_developer_is_the_first_of_the_input() -> None:
    """A `gen_ai.developer.message` event is a message of the input."""
    events = [EventView(f"gen_ai.{role}.message", 1, {}, {"content": role}) for role in ("developer", "user")]
    span = only_span(mapped(view("chat", {GENAI: "chat", "gen_ai.request.model": "m"}, events=events)))
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
    found = only_span(mapped(view("chat", {GENAI: "chat", "gen_ai.request.model": "m", **counts}, scope_name=scope)))
    assert (found["token_usage"]["completion_tokens"], found["token_usage"].get("reasoning_tokens")) == usage


def test_tool_definitions_among_langfuse_s_messages_are_tools() -> None:
    """The tool definitions that Langfuse's LangChain handler appends to the messages are the tools of the call."""
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    asked = [{"role": "user", "content": "Hi"}, {"role": "tool", "content": tool}]
    told = {"langfuse.observation.type": "generation", "langfuse.observation.input": json.dumps(asked)}
    span = only_span(mapped(view("ChatOpenAI", told)))
    assert span["input"] == {"messages": [{"role": "user", "content": "Hi"}]}
    assert span["metadata"]["tools"] == [tool]


def test_a_constructed_tool_message_is_its_content() -> None:
    """A LangChain tool message without an id, as Traceloop writes it, is its content."""
    made = {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", "ToolMessage"]}
    result = {"output": {**made, "kwargs": {"content": '{"temp_c": 21}', "type": "tool"}}, "kwargs": {"color": "green"}}
    told = {"traceloop.span.kind": "tool", "gen_ai.tool.call.result": json.dumps(result)}
    assert only_span(mapped(view("f", told)))["output"] == {"temp_c": 21}


def test_parts_that_are_a_text_are_the_content() -> None:
    """A message whose parts are one text has this text, also beside tool calls."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    told = [{"role": "assistant", "parts": "Hello world", "tool_calls": [call]}]
    span = only_span(mapped(view("x", {GENAI: "chat", "gen_ai.output.messages": json.dumps(told)})))
    assert span["output"]["messages"] == [{"role": "assistant", "content": "Hello world", "tool_calls": [call]}]


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
    span = only_span(mapped(view("x", {"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps(items)})))
    _, called, answered = span["input"]["messages"]
    assert called["tool_calls"][0]["id"] == answered["tool_call_id"] == "call_0"


@pytest.mark.parametrize(
    ("attributes", "field", "value"),
    [
        ({"openinference.span.kind": "LLM", "llm.invocation_parameters": '{"options": {"temperature": 0.3}}'},
         "model_parameters", {"temperature": 0.3}),
        ({"openinference.span.kind": "LLM", "llm.invocation_parameters": '{"invocation_params": {"n": 3}, "n": 7}'},
         "model_parameters", {"n": 7}),
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.args": '{"city": "Rome"}'}, "input", {"city": "Rome"}),
        ({"gen_ai.operation.name": "execute_tool", "tool.status": "error"}, "status", "ERROR"),
        ({"gen_ai.operation.name": "execute_tool", "tool.status": "success"}, "status", "OK"),
    ],
)  # fmt: skip
def test_a_field_is_found_under_the_name_of_one_emitter(attributes: dict[str, Any], field: str, value: Any) -> None:
    """Parameters inside others, OpenLIT's arguments of a tool, and the status that Strands gives a tool are read."""
    assert only_span(mapped(view("work", attributes)))[field] == value


def test_an_embedding_of_pydantic_ai_has_its_texts_and_no_vectors() -> None:
    """The texts that it embedded are the input; its vectors leave a marker."""
    attributes = {"inputs": '["pandas eat bamboo"]', "inputs_count": 1, "embeddings": "[[0.1, 0.2, 0.3]]"}
    span = only_span(mapped(view("embeddings m", {"gen_ai.operation.name": "embeddings", **attributes})))
    assert span["input"] == ["pandas eat bamboo"]
    assert span["metadata"]["attributes"] == {"inputs_count": 1, "embeddings": ["[vector of 3 numbers]"]}
    agent = only_span(mapped(view("run", {"gen_ai.operation.name": "invoke_agent", **attributes})))
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
