"""The scripted endpoint, read by OpenAI's client library and over plain HTTP."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessage, ChatCompletionMessageParam

from pandaprobe_otel.demo.completions import Reply, ToolCall
from pandaprobe_otel.demo.scripted_endpoint import Message, ScriptedEndpoint

WEATHER = ToolCall(name="weather", arguments={"city": "Łódź"})


def weather_script(messages: Sequence[Message]) -> Reply:
    """Call the weather tool once, then report its result."""
    if messages[-1]["role"] == "tool":
        return Reply(text=f"In Łódź it is {messages[-1]['content']} today.")
    if "weather" in str(messages[-1]["content"]):
        return Reply(tool_calls=(WEATHER,))
    raise LookupError("not about the weather")


def tool_calls(message: ChatCompletionMessage) -> list[Any]:
    """Return the calls of a message; their class differs between versions of the client library."""
    return list(message.tool_calls or [])


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    """Yield a running endpoint."""
    with ScriptedEndpoint(weather_script) as running:
        yield running


@pytest.fixture
def client(endpoint: ScriptedEndpoint) -> Iterator[openai.OpenAI]:
    """Yield OpenAI's own client, which uses the endpoint."""
    with openai.OpenAI(base_url=endpoint.base_url, api_key="any", max_retries=0) as connected:
        yield connected


def test_a_stream_equals_an_answer_in_one_piece(client: openai.OpenAI, endpoint: ScriptedEndpoint) -> None:
    """The joined chunks of a stream equal the text and the usage of the plain answer."""
    conversation: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": "weather?"},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]
    plain = client.chat.completions.create(model="m", messages=conversation)
    with client.chat.completions.create(
        model="m", messages=conversation, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content == "In Łódź it is sunny today."
    assert len(chunks) > len(text.split())
    assert chunks[-1].usage == plain.usage
    assert [exchange.streamed for exchange in endpoint.exchanges] == [False, True]


def test_a_streamed_tool_call_comes_in_pieces(client: openai.OpenAI) -> None:
    """The client library's own accumulator rebuilds a streamed tool call."""
    with client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "weather?"}]) as stream:
        message = stream.get_final_completion().choices[0].message

    (call,) = tool_calls(message)
    assert call.function.name == WEATHER.name
    assert json.loads(call.function.arguments) == dict(WEATHER.arguments)


def test_the_same_conversation_gets_the_same_answer() -> None:
    """Two runs give the same bytes for the same conversation, so recordings stay stable."""
    bodies = []
    for _ in range(2):
        with ScriptedEndpoint(weather_script) as endpoint:
            request = {"model": "m", "messages": [{"role": "user", "content": "weather?"}]}
            bodies.append(httpx.post(f"{endpoint.base_url}/chat/completions", json=request, timeout=60).content)

    assert bodies[0] == bodies[1]


def test_an_unknown_conversation_is_refused_in_the_services_form(
    client: openai.OpenAI, endpoint: ScriptedEndpoint
) -> None:
    """A conversation that the script refuses gets 400 with its message, and is not recorded."""
    with pytest.raises(openai.BadRequestError, match="not about the weather"):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "chess?"}])

    assert endpoint.exchanges == ()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/chat/completions", b"{", 400),
        ("POST", "/chat/completions", b'{"model": "m"}', 400),
        ("GET", "/models", b"", 404),
    ],
)
def test_other_requests_get_an_error_body(
    endpoint: ScriptedEndpoint, method: str, path: str, body: bytes, status: int
) -> None:
    """A request that is not a chat request gets an error object."""
    answer = httpx.request(method, endpoint.base_url + path, content=body)

    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"


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
