"""The mistralai client: the app sees the same as without us, and each call is one span with all of its content."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from library_members import skip_without
from openai_traffic import ANSWER, ANSWERED_BY, MODEL, QUESTION, TOOL, chat_chunks, chunk, completion, delta, embedding
from pandaprobe_otel.registry import instrument, uninstrument, wrap_mistral
from provider_server import ProviderServer, events_reply, json_reply
from recorded_chats import check
from recorded_traffic import exchanges, name, recordings, replayed
from span_recorder import SpanRecorder, answer_text
from streamed_forms import (
    AsyncOpened,
    Opened,
    Sighting,
    look,
    look_async,
    read_to_the_end,
    read_to_the_end_async,
)

# The client is at the root of the package before 2.0, and in a subpackage since then.
try:
    client_module: Any = importlib.import_module("mistralai.client")
    client_module.Mistral  # noqa: B018 - 1.x also has a module of this name
except (ImportError, AttributeError):
    client_module = importlib.import_module("mistralai")

PAUSE_S = 0.002
CHAT: Any = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}


@pytest.fixture(autouse=True)
def off_again() -> Iterator[None]:
    """Uninstrument after each test."""
    yield
    uninstrument("mistralai")


def _client(server: ProviderServer) -> Any:
    return client_module.Mistral(api_key="none", server_url=server.url)


def _stream(client: Any, seen: Sighting) -> Opened:
    stream = seen.saw(client.chat.stream(**CHAT))
    return Opened(stream, lambda: stream.__exit__(None, None, None))


async def _stream_async(client: Any, seen: Sighting) -> AsyncOpened:
    stream = seen.saw(await client.chat.stream_async(**CHAT))
    return AsyncOpened(stream, lambda: stream.__aexit__(None, None, None))


def _check(recorder: SpanRecorder) -> None:
    attributes = recorder.attributes()
    assert recorder.one().name == f"chat {MODEL}"
    assert recorder.one().status.status_code is StatusCode.UNSET
    assert attributes["gen_ai.provider.name"] == "mistral_ai"
    assert attributes["gen_ai.request.stream"] is True
    assert QUESTION in attributes["gen_ai.input.messages"]
    assert attributes["gen_ai.response.model"] == ANSWERED_BY
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert attributes["gen_ai.usage.output_tokens"] == 34
    assert attributes["gen_ai.response.time_to_first_chunk"] >= PAUSE_S
    assert answer_text(attributes) == ANSWER


def test_synchronous_stream(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The app sees the same as without us; one span has every detail of a stream that came chunk by chunk."""
    server.replies(events_reply(chat_chunks(), pause_s=PAUSE_S))
    with _client(server) as client:
        without = look(read_to_the_end, _stream, client)
        instrument("mistralai", tracer_provider=recorder.provider)
        assert look(read_to_the_end, _stream, client) == without
    _check(recorder)


async def test_asynchronous_stream(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The asynchronous methods pass the checks of the synchronous ones."""
    server.replies(events_reply(chat_chunks(), pause_s=PAUSE_S))
    async with _client(server) as client:
        without = await look_async(read_to_the_end_async, _stream_async, client)
        instrument("mistralai", tracer_provider=recorder.provider)
        assert await look_async(read_to_the_end_async, _stream_async, client) == without
    _check(recorder)


async def test_answered_call(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The synchronous and asynchronous calls give the app the same as without us, and each is one span."""
    server.replies(json_reply(completion()))
    async with _client(server) as client:
        without = client.chat.complete(**CHAT, tools=[TOOL], random_seed=7, max_tokens=9)
        instrument("mistralai", tracer_provider=recorder.provider)
        result = client.chat.complete(**CHAT, tools=[TOOL], random_seed=7, max_tokens=9)
        later = await client.chat.complete_async(**CHAT, tools=[TOOL])
    assert (type(result), result) == (type(without), without)
    assert (type(later), later) == (type(without), without)
    assert [span.name for span in recorder.spans] == [f"chat {MODEL}"] * 2
    attributes: dict[str, Any] = dict(recorder.spans[0].attributes or {})
    assert answer_text(attributes) == ANSWER
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert (attributes["gen_ai.request.seed"], attributes["gen_ai.request.max_tokens"]) == (7, 9)
    assert json.loads(attributes["gen_ai.tool.definitions"])[0]["name"] == "get_weather"
    assert not any(name.startswith("openai.") for name in attributes)


@pytest.mark.parametrize("stream", [False, True])
def test_refused_call(stream: bool, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The app gets the client's exception; the span has status ERROR with the HTTP status and the service's message."""
    body: Any = {"message": "No.", "detail": [{"loc": ["body"], "msg": "No.", "type": "value_error"}]}
    server.replies(json_reply(body, status=422))
    instrument("mistralai", tracer_provider=recorder.provider)
    with _client(server) as client, pytest.raises(Exception, match=r"."):
        client.chat.stream(**CHAT) if stream else client.chat.complete(**CHAT)
    assert recorder.one().status.status_code is StatusCode.ERROR
    assert recorder.attributes()["error.type"] == "422"
    assert recorder.one().status.description == "HTTP 422: No."


def test_unreachable_service(recorder: SpanRecorder) -> None:
    """Without a connection, the HTTP library's exception reaches the app unchanged."""
    instrument("mistralai", tracer_provider=recorder.provider)
    client = client_module.Mistral(api_key="none", server_url="http://127.0.0.1:9")
    with client, pytest.raises(Exception, match=r"refused|attempts|onnect"):
        client.chat.complete(**CHAT)
    assert recorder.attributes()["error.type"].endswith("ConnectError")


def test_thoughts_and_calls(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Content in typed pieces and a tool call are recorded, whether streamed or not."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    call = {"id": "c1", "index": 0, "type": "function", "function": {"name": "get_weather", "arguments": '{"a": 1}'}}
    whole = completion({"content": [thought, {"type": "text", "text": "So"}], "tool_calls": [call]})
    pieces = [chunk(delta(content=[thought])), chunk(delta(content="So")), chunk(delta(tool_calls=[call]))]
    server.replies(json_reply(whole), events_reply(pieces))
    instrument("mistralai", tracer_provider=recorder.provider)
    with _client(server) as client:
        client.chat.complete(**CHAT)
        list(client.chat.stream(**CHAT))
    for span in recorder.spans:
        (message,) = json.loads(str((span.attributes or {})["gen_ai.output.messages"]))
        assert message["parts"] == [
            {"type": "reasoning", "content": "Hm."},
            {"type": "text", "content": "So"},
            {"type": "tool_call", "id": "c1", "name": "get_weather", "arguments": {"a": 1}},
        ]


def test_embeddings_fim_and_agents(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Embeddings, fill-in-the-middle completions and agents are recorded."""
    server.replies(json_reply({**embedding(), "id": "emb_1"}), json_reply(completion()))
    instrument("mistralai", tracer_provider=recorder.provider)
    with _client(server) as client:
        client.embeddings.create(model="e", inputs=["x"])
        client.fim.complete(model="code", prompt="def f(", suffix="return x")
        client.agents.complete(agent_id="ag_1", messages=CHAT["messages"])
    embedded, filled, agent = recorder.spans
    assert (embedded.name, filled.name) == ("embeddings e", "text_completion code")
    assert (embedded.attributes or {})["gen_ai.usage.input_tokens"] == 8
    assert "def f(" in str((filled.attributes or {})["gen_ai.input.messages"])
    assert (agent.attributes or {})["gen_ai.agent.id"] == "ag_1"
    assert agent.name == f"chat {ANSWERED_BY}"


def test_other_requests_are_no_calls(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Listing models makes no span."""
    server.replies(json_reply({"object": "list", "data": []}))
    instrument("mistralai", tracer_provider=recorder.provider)
    with _client(server) as client:
        client.models.list()
    assert recorder.spans == []


def test_own_spans_are_silent_while_we_record(
    server: ProviderServer, recorder: SpanRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a client that makes its own spans, a call is still one span: the client's own or ours."""
    skip_without(client_module, "_hooks.tracing")
    monkeypatch.setenv("MISTRAL_SDK_TELEMETRY", "global")
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", recorder.provider)
    server.replies(json_reply(completion()))
    with _client(server) as client:
        client.chat.complete(**CHAT)
        (own,) = recorder.names
        recorder.clear()
        instrument("mistralai", tracer_provider=recorder.provider)
        client.chat.complete(**CHAT)
        assert recorder.names == [f"chat {MODEL}"]
        uninstrument("mistralai")
        recorder.clear()
        client.chat.complete(**CHAT)
    assert recorder.names == [own]


def test_wrapped_client(server: ProviderServer, recorder: SpanRecorder) -> None:
    """`wrap_mistral` returns the client itself, and its calls are recorded."""
    server.replies(json_reply(completion()))
    instrument("mistralai", tracer_provider=recorder.provider)
    with _client(server) as client:
        assert wrap_mistral(client) is client
        client.chat.complete(**CHAT)
    assert len(recorder.spans) == 1


@pytest.mark.skipif(not recordings("mistralai"), reason="no collection of recordings beside the checkout")
@pytest.mark.parametrize("recording", recordings("mistralai"), ids=name)
def test_recording(recording: Any, recorder: SpanRecorder) -> None:
    """Recorded calls are spans with the recorded tokens, text and calls."""
    instrument("mistralai", tracer_provider=recorder.provider)
    exchange = next(one for one in exchanges(recording) if one.path.endswith("/chat/completions"))
    request = {key: value for key, value in exchange.request.items() if key != "stream"}
    with replayed(recording), client_module.Mistral(api_key="none") as client:
        if exchange.request.get("stream"):
            list(client.chat.stream(**request))
        else:
            client.chat.complete(**request)
    check(recorder.one(), exchange)


@pytest.mark.outer
@pytest.mark.skipif(not recordings("mistralai"), reason="no collection of recordings beside the checkout")
@pytest.mark.parametrize("recording", recordings("mistralai"), ids=name)
async def test_recording_asynchronously(recording: Any, recorder: SpanRecorder) -> None:
    """The asynchronous methods pass the checks of the synchronous ones."""
    instrument("mistralai", tracer_provider=recorder.provider)
    exchange = next(one for one in exchanges(recording) if one.path.endswith("/chat/completions"))
    request = {key: value for key, value in exchange.request.items() if key != "stream"}
    with replayed(recording):
        async with client_module.Mistral(api_key="none") as client:
            if exchange.request.get("stream"):
                [item async for item in await client.chat.stream_async(**request)]
            else:
                await client.chat.complete_async(**request)
    check(recorder.one(), exchange)
