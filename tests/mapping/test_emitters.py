"""Deviations of libraries from their conventions, found in live runs (tests/mapping/live)."""

from __future__ import annotations

import json

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


def test_what_a_tool_is_asked_as_a_message_is_its_input() -> None:
    """If a tool's arguments are only in a message, as with Strands 1.41, they become its input."""
    asked = {"type": "tool_call", "name": "get", "id": "c", "arguments": {"city": "Oslo"}}
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "get",
        "gen_ai.input.messages": json.dumps([{"role": "tool", "parts": [asked]}]),
    }
    assert only_span(mapped(view("execute_tool get", attributes)))["input"] == {"city": "Oslo"}


def test_what_a_failed_tool_has_said_is_its_output() -> None:
    """If a failed tool's result is only in a message, as with Strands 1.62, it becomes the span's output."""
    said = {"type": "tool_call_response", "id": "c", "response": [{"text": "Error: no station"}]}
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "get",
        "gen_ai.output.messages": json.dumps([{"role": "tool", "parts": [said]}]),
    }
    assert only_span(mapped(view("execute_tool get", attributes)))["output"] == [{"text": "Error: no station"}]
