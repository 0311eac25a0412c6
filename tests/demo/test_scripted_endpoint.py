"""The scripted endpoint, read by the vendors' own clients and over plain HTTP."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import errors, types

from pandaprobe_otel.demo.scripted_endpoint import Message, Refusal, Reply, ScriptedEndpoint, ToolCall
from recorded_conversations import PROTOCOLS, Protocol, shop_talk

CALL = ToolCall(name="weather", arguments={"city": "Łódź"})


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


Answer = tuple[str, Any, int, int]
"""A text, the arguments of the tool call, and the tokens of the question and of the answer."""


def chat(endpoint: ScriptedEndpoint, question: str, is_stream: bool) -> Answer:
    """Ask by OpenAI's chat completions."""
    asked: Any = {"model": "m", "messages": [{"role": "user", "content": question}]}
    with openai.OpenAI(base_url=endpoint.base_url, api_key="any", max_retries=0) as client:
        made: Any = client.chat.completions
        if is_stream:
            with made.stream(**asked, stream_options={"include_usage": True}) as stream:
                found = stream.get_final_completion()
        else:
            found = made.create(**asked)
    message, usage = found.choices[0].message, found.usage
    (call,) = message.tool_calls
    return message.content, json.loads(call.function.arguments), usage.prompt_tokens, usage.completion_tokens


def responses(endpoint: ScriptedEndpoint, question: str, is_stream: bool) -> Answer:
    """Ask by OpenAI's responses."""
    with openai.OpenAI(base_url=endpoint.base_url, api_key="any", max_retries=0) as client:
        made: Any = client.responses
        if is_stream:
            with made.stream(model="m", input=question) as stream:
                kinds = [event.type for event in stream]
                found = stream.get_final_response()
            assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
            assert kinds.count("response.output_text.delta") == 4
        else:
            found = made.create(model="m", input=question)
    (call,) = [item for item in found.output if item.type == "function_call"]
    return found.output_text, json.loads(call.arguments), found.usage.input_tokens, found.usage.output_tokens


def messages(endpoint: ScriptedEndpoint, question: str, is_stream: bool) -> Answer:
    """Ask by Anthropic's messages."""
    asked: Any = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": question}]}
    with anthropic.Anthropic(base_url=endpoint.url, api_key="any", max_retries=0) as client:
        if is_stream:
            with client.messages.stream(**asked) as stream:
                assert len(list(stream.text_stream)) == 4
                found: Any = stream.get_final_message()
        else:
            found = client.messages.create(**asked)
    text, call = found.content
    assert found.stop_reason == "tool_use"
    return text.text, call.input, found.usage.input_tokens, found.usage.output_tokens


def contents(endpoint: ScriptedEndpoint, question: str, is_stream: bool) -> Answer:
    """Ask by Google's contents."""
    with genai.Client(api_key="any", http_options=types.HttpOptions(base_url=endpoint.url)) as client:
        made: Any = client.models
        ask = made.generate_content_stream if is_stream else made.generate_content
        found = ask(model="m", contents=question)
        chunks = list(found) if is_stream else [found]
    assert len(chunks) == (5 if is_stream else 1)
    assert [chunk.candidates[0].finish_reason for chunk in chunks[:-1]] == [None] * len(chunks[1:])
    usage = chunks[-1].usage_metadata
    text = "".join(part.text or "" for chunk in chunks for part in chunk.candidates[0].content.parts)
    return text, chunks[-1].function_calls[0].args, usage.prompt_token_count, usage.candidates_token_count


CLIENTS: Final[tuple[Callable[[ScriptedEndpoint, str, bool], Answer], ...]] = (chat, responses, messages, contents)


@pytest.mark.parametrize("ask", CLIENTS)
def test_each_vendors_client_reads_the_same_answer_whole_and_streamed(
    endpoint: ScriptedEndpoint, ask: Callable[[ScriptedEndpoint, str, bool], Answer]
) -> None:
    """The client's own accumulator rebuilds the text, the tool call and the tokens from a stream."""
    whole, streamed = (ask(endpoint, "Weather?", is_stream) for is_stream in (False, True))
    usage = endpoint.exchanges[0].usage

    assert whole == streamed == ("I look it up.", CALL.arguments, usage.prompt_tokens, usage.completion_tokens)
    assert [exchange.streamed for exchange in endpoint.exchanges] == [False, True]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda one: one.name)
def test_a_script_reads_the_conversation_in_one_form(endpoint: ScriptedEndpoint, protocol: Protocol) -> None:
    """The instructions, tool calls and their results come to the script as messages of chat completions."""
    talk = shop_talk(1)
    answer = httpx.post(endpoint.url + protocol.path("m"), json=protocol.body(talk, 1), timeout=60)
    (exchange,) = endpoint.exchanges
    system, user, assistant, *results = exchange.conversation
    calls = [call["function"] for call in assistant["tool_calls"]]

    assert "today." in answer.text
    assert [system["content"], user["content"]] == [talk.system, talk.question]
    assert [system["role"], user["role"]] == ["system", "user"]
    assert [call["name"] for call in calls] == ["look_up_order", "refund"]
    assert [json.loads(call["arguments"]) for call in calls] == [{"number": "A-0"}, {"number": "A-1", "amount": 5}]
    contents = [json.loads(one["content"]) for one in results]
    assert [one.get("result", one) for one in contents] == [{"status": "on its way 0"}, {"ok": True, "nr": 0}]
    if protocol.name != "ollama":
        assert [one["tool_call_id"] for one in results] == [call["id"] for call in assistant["tool_calls"]]


@pytest.mark.parametrize("ask", CLIENTS)
def test_a_refusal_is_an_error_of_the_service(
    endpoint: ScriptedEndpoint, ask: Callable[[ScriptedEndpoint, str, bool], Answer]
) -> None:
    """A refusal reaches the caller as the service's error with status and message, and is not recorded."""
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError, errors.APIError), match="Overloaded") as found:
        ask(endpoint, "snow?", False)

    assert 529 in (getattr(found.value, "status_code", None), getattr(found.value, "code", None))
    assert endpoint.exchanges == ()


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
    url = httpx.URL(endpoint.base_url)
    with socket.create_connection((url.host, url.port or 80)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 10\r\n")
    again = httpx.get(f"{endpoint.base_url}/models", timeout=60)

    assert again.status_code == 404
    assert capfd.readouterr().err == ""
