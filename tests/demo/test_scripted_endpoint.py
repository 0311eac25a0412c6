"""The scripted endpoint, read by the vendors' own clients and over plain HTTP."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import errors, types

from pandaprobe_otel.demo.scripted_endpoint import Message, Refusal, Reply, ScriptedEndpoint, ToolCall

CALL = ToolCall(name="weather", arguments={"city": "Łódź"})
SYSTEM = "You know the weather."


def script(messages: Sequence[Message]) -> Reply:
    """Return a text and a tool call, then a text with the result; refuse questions about snow."""
    last = messages[-1]
    if last["role"] == "tool":
        return Reply(text=f"It is {last['content']} today.")
    if "snow" in last["content"]:
        raise Refusal(529, "Overloaded")
    return Reply(text="I look it up.", tool_calls=(CALL,))


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    """Yield a running endpoint."""
    with ScriptedEndpoint(script) as running:
        yield running


@pytest.fixture
def responses(endpoint: ScriptedEndpoint) -> Iterator[Any]:
    """Yield `client.responses` of OpenAI's own client."""
    with openai.OpenAI(base_url=endpoint.base_url, api_key="any", max_retries=0) as client:
        yield client.responses


@pytest.fixture
def messages(endpoint: ScriptedEndpoint) -> Iterator[Any]:
    """Yield `client.messages` of Anthropic's own client."""
    with anthropic.Anthropic(base_url=endpoint.url, api_key="any", max_retries=0) as client:
        yield client.messages


@pytest.fixture
def contents(endpoint: ScriptedEndpoint) -> Iterator[Any]:
    """Yield `client.models` of Google's own client."""
    with genai.Client(api_key="any", http_options=types.HttpOptions(base_url=endpoint.url)) as client:
        yield client.models


def test_responses_in_one_piece(responses: Any, endpoint: ScriptedEndpoint) -> None:
    """A text and a tool call are items of the response, and the call's result is sent back under its id."""
    first = responses.create(model="m", instructions=SYSTEM, input="Weather?")
    (call,) = [item for item in first.output if item.type == "function_call"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    asked = [{"role": "user", "content": "Weather?"}, *[item.to_dict() for item in first.output], result]
    second = responses.create(model="m", instructions=SYSTEM, input=asked)

    assert (first.output_text, call.name, json.loads(call.arguments)) == ("I look it up.", "weather", CALL.arguments)
    assert second.output_text == "It is sunny today."
    assert second.usage.input_tokens == endpoint.exchanges[1].usage.prompt_tokens
    _assert_second_conversation(endpoint, call.call_id)


def test_messages_in_one_piece(messages: Any, endpoint: ScriptedEndpoint) -> None:
    """A text and a tool call are content blocks in Anthropic's form."""
    asked: list[dict[str, Any]] = [{"role": "user", "content": "Weather?"}]
    first = messages.create(model="m", max_tokens=99, system=SYSTEM, messages=asked)
    text, call = first.content
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "sunny"}]}
    asked += [
        {"role": "assistant", "content": [block.to_dict() for block in first.content]},
        {"role": "user", "content": [result]},
    ]
    second = messages.create(model="m", max_tokens=99, system=SYSTEM, messages=asked)

    assert (text.text, call.name, call.input) == ("I look it up.", "weather", CALL.arguments)
    assert (first.stop_reason, second.stop_reason) == ("tool_use", "end_turn")
    assert second.content[0].text == "It is sunny today."
    assert second.usage.input_tokens == endpoint.exchanges[1].usage.prompt_tokens
    _assert_second_conversation(endpoint, call.id)


def test_contents_in_one_piece(contents: Any, endpoint: ScriptedEndpoint) -> None:
    """A text and a tool call are parts in Gemini's form, and the path has the model."""
    config = types.GenerateContentConfig(system_instruction=SYSTEM)
    first = contents.generate_content(model="m", contents="Weather?", config=config)
    text, called = first.candidates[0].content.parts
    call = called.function_call
    result = types.FunctionResponse(id=call.id, name=call.name, response={"result": "sunny"})
    asked = [
        types.Content(role="user", parts=[types.Part(text="Weather?")]),
        first.candidates[0].content,
        types.Content(role="user", parts=[types.Part(function_response=result)]),
    ]
    second = contents.generate_content(model="m", contents=asked, config=config)

    assert (text.text, call.name, call.args) == ("I look it up.", "weather", CALL.arguments)
    assert (second.text, second.model_version) == ("It is sunny today.", "m")
    assert second.usage_metadata.prompt_token_count == endpoint.exchanges[1].usage.prompt_tokens
    _assert_second_conversation(endpoint, call.id)


def _assert_second_conversation(endpoint: ScriptedEndpoint, call_id: str) -> None:
    """Check that the script saw the second request in the form of chat completions."""
    system, user, assistant, tool = endpoint.exchanges[1].conversation
    (call,) = assistant["tool_calls"]
    assert system == {"role": "system", "content": SYSTEM}
    assert user == {"role": "user", "content": "Weather?"}
    assert (assistant["role"], assistant["content"]) == ("assistant", "I look it up.")
    assert (call["id"], json.loads(call["function"]["arguments"])) == (call_id, CALL.arguments)
    assert tool.items() >= {"role": "tool", "tool_call_id": call_id, "content": "sunny"}.items()


def test_responses_streamed(responses: Any) -> None:
    """OpenAI's accumulator rebuilds the plain response from the events."""
    with responses.stream(model="m", input="Weather?") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    plain = responses.create(model="m", input="Weather?")

    assert kinds.count("response.output_text.delta") == 4
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert final.output_text == plain.output_text
    assert [item.type for item in final.output] == ["message", "function_call"]
    assert json.loads(final.output[1].arguments) == CALL.arguments
    assert final.usage.to_dict() == plain.usage.to_dict()


def test_messages_streamed(messages: Any) -> None:
    """Anthropic's accumulator rebuilds the plain message from the events."""
    request: dict[str, Any] = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "Weather?"}]}
    with messages.stream(**request) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    plain = messages.create(**request)

    assert len(pieces) == 4
    assert [block.type for block in final.content] == ["text", "tool_use"]
    assert final.content[1].input == CALL.arguments
    assert (final.usage.output_tokens, final.stop_reason) == (plain.usage.output_tokens, "tool_use")


def test_contents_streamed(contents: Any, endpoint: ScriptedEndpoint) -> None:
    """Each word and the call have a chunk, and the last chunk counts all tokens."""
    chunks = list(contents.generate_content_stream(model="m", contents="Weather?"))
    last = chunks[-1]

    assert "".join(part.text or "" for chunk in chunks for part in chunk.candidates[0].content.parts) == "I look it up."
    assert (len(chunks), last.function_calls[0].args) == (5, CALL.arguments)
    assert [chunk.candidates[0].finish_reason for chunk in chunks[:-1]] == [None] * 4
    assert last.usage_metadata.candidates_token_count == endpoint.exchanges[0].usage.completion_tokens
    assert endpoint.exchanges[0].streamed


def test_a_refusal_is_an_error_of_the_service(
    responses: Any, messages: Any, contents: Any, endpoint: ScriptedEndpoint
) -> None:
    """A refusal reaches the caller as the service's error with status and message, and is not recorded."""
    with pytest.raises(openai.APIStatusError, match="Overloaded") as of_openai:
        responses.create(model="m", input="snow?")
    with pytest.raises(anthropic.APIStatusError, match="Overloaded") as of_anthropic:
        messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "snow?"}])
    with pytest.raises(errors.APIError, match="Overloaded") as of_google:
        contents.generate_content(model="m", contents="snow?")

    assert (of_openai.value.status_code, of_anthropic.value.status_code, of_google.value.code) == (529, 529, 529)
    assert endpoint.exchanges == ()


def test_chat_completions_streamed(endpoint: ScriptedEndpoint) -> None:
    """OpenAI's accumulator rebuilds the plain answer, its tool call and its usage from the chunks."""
    messages: list[Any] = [{"role": "user", "content": "Weather?"}]
    with openai.OpenAI(base_url=endpoint.base_url, api_key="any", max_retries=0) as client:
        plain = client.chat.completions.create(model="m", messages=messages)
        with client.chat.completions.stream(
            model="m", messages=messages, stream_options={"include_usage": True}
        ) as stream:
            final = stream.get_final_completion()
    (call,) = list(final.choices[0].message.tool_calls or [])

    assert final.choices[0].message.content == plain.choices[0].message.content == "I look it up."
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", CALL.arguments)
    assert final.usage == plain.usage
    assert [exchange.streamed for exchange in endpoint.exchanges] == [False, True]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/chat/completions", b"{", 400),
        *(("POST", f"/{path}", b'{"model": "m"}', 400)
          for path in ("chat/completions", "responses", "messages", "models/m:generateContent")),
        ("GET", "/models", b"", 404),
    ],
)  # fmt: skip
def test_other_requests_get_an_error_body(
    endpoint: ScriptedEndpoint, method: str, path: str, body: bytes, status: int
) -> None:
    """A request that the protocol does not know gets an error object, which names the required fields."""
    answer = httpx.request(method, endpoint.base_url + path, content=body, timeout=60)

    assert answer.status_code == status
    assert ("The body must be a JSON object with" in answer.json()["error"]["message"]) is (status == 400)


def test_a_reset_connection_is_no_news(endpoint: ScriptedEndpoint, capfd: pytest.CaptureFixture[str]) -> None:
    """A client's reset, as from an exiting process, writes nothing to standard error."""
    host, port = httpx.URL(endpoint.base_url).host, httpx.URL(endpoint.base_url).port
    assert port is not None
    with socket.create_connection((host, port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 10\r\n")
    again = httpx.get(f"{endpoint.base_url}/models", timeout=60)

    assert again.status_code == 404
    assert capfd.readouterr().err == ""
