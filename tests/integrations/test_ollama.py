"""The ollama client: the app sees the same as without us, and each call is one span with all of its content."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from ollama_traffic import (
    ANSWER,
    CHAT,
    MODEL,
    PROMPT,
    QUESTION,
    chat_lines,
    chatted,
    generate_lines,
    generated,
    lines_reply,
)
from pandaprobe_otel.registry import instrument, uninstrument, wrap_ollama
from provider_server import ProviderServer, Reply, json_reply
from span_recorder import SpanRecorder, answer_text
from streamed_forms import (
    AsyncForm,
    AsyncOpened,
    Form,
    Opened,
    Sighting,
    look,
    look_async,
    read_to_the_end,
    read_to_the_end_async,
)

PAUSE_S = 0.002
TOOL: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture(autouse=True)
def off_again() -> Iterator[None]:
    """Uninstrument after each test."""
    yield
    uninstrument("ollama")


def _client(server: ProviderServer, **more: Any) -> Any:
    return ollama.Client(host=server.url, **more)


def _async_client(server: ProviderServer) -> Any:
    return ollama.AsyncClient(host=server.url)


def _chat(client: Any, seen: Sighting) -> Opened:
    stream = seen.saw(client.chat(**CHAT, stream=True))
    return Opened(stream, stream.close)


def _generate(client: Any, seen: Sighting) -> Opened:
    stream = seen.saw(client.generate(**PROMPT, stream=True))
    return Opened(stream, stream.close)


async def _chat_async(client: Any, seen: Sighting) -> AsyncOpened:
    stream = seen.saw(await client.chat(**CHAT, stream=True))
    return AsyncOpened(stream, stream.aclose)


async def _generate_async(client: Any, seen: Sighting) -> AsyncOpened:
    stream = seen.saw(await client.generate(**PROMPT, stream=True))
    return AsyncOpened(stream, stream.aclose)


FORMS: dict[str, Form] = {"chat": _chat, "text_completion": _generate}
ASYNC_FORMS: dict[str, AsyncForm] = {"chat": _chat_async, "text_completion": _generate_async}


def _traffic(form: str) -> Reply:
    return lines_reply(chat_lines() if form == "chat" else generate_lines(), pause_s=PAUSE_S)


def _check_answer(span: ReadableSpan) -> None:
    attributes: dict[str, Any] = dict(span.attributes or {})
    assert attributes["gen_ai.response.model"] == MODEL
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert attributes["gen_ai.usage.output_tokens"] == 34
    assert answer_text(attributes) == ANSWER


def _check(recorder: SpanRecorder, form: str) -> None:
    attributes = recorder.attributes(f"{form} {MODEL}")
    assert recorder.one().status.status_code is StatusCode.UNSET
    assert attributes["gen_ai.provider.name"] == "ollama"
    assert attributes["server.address"] == "127.0.0.1"
    assert attributes["gen_ai.request.stream"] is True
    assert QUESTION in attributes["gen_ai.input.messages"]
    assert attributes["gen_ai.response.time_to_first_chunk"] > PAUSE_S
    _check_answer(recorder.one())


@pytest.mark.parametrize("form", FORMS)
def test_synchronous_stream(form: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The app sees the same as without us; one span has every detail of a stream that came chunk by chunk."""
    server.replies(_traffic(form))
    client = _client(server)
    without = look(read_to_the_end, FORMS[form], client)
    instrument("ollama", tracer_provider=recorder.provider)
    assert look(read_to_the_end, FORMS[form], client) == without
    client._client.close()
    _check(recorder, form)


@pytest.mark.parametrize("form", ASYNC_FORMS)
async def test_asynchronous_stream(form: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The asynchronous client passes the checks of the synchronous one."""
    server.replies(_traffic(form))
    client = _async_client(server)
    without = await look_async(read_to_the_end_async, ASYNC_FORMS[form], client)
    instrument("ollama", tracer_provider=recorder.provider)
    assert await look_async(read_to_the_end_async, ASYNC_FORMS[form], client) == without
    await client._client.aclose()
    _check(recorder, form)


async def test_answered_calls(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The app gets the same from both clients as without us; each call is one span with question, answer and counts."""
    options = {"temperature": 0.5, "num_predict": 300, "seed": 7, "stop": ["END"], "top_k": 5}
    server.replies(json_reply(chatted()))
    client, later = _client(server), _async_client(server)
    without = client.chat(**CHAT, options=options)
    instrument("ollama", tracer_provider=recorder.provider)
    for result in (client.chat(**CHAT, options=options), await later.chat(**CHAT, format="json")):
        assert (type(result), result) == (type(without), without)
    server.replies(json_reply(generated()))
    client.generate(**PROMPT, system="Be brief.", suffix="The end.")
    await later.generate(**PROMPT)
    client._client.close()
    await later._client.aclose()
    assert recorder.names == [f"chat {MODEL}"] * 2 + [f"text_completion {MODEL}"] * 2
    for span in recorder.spans:
        _check_answer(span)
        assert QUESTION in str((span.attributes or {})["gen_ai.input.messages"])
    first, second, third, _ = (dict(span.attributes or {}) for span in recorder.spans)
    assert (first["gen_ai.request.temperature"], first["gen_ai.request.top_k"]) == (0.5, 5.0)
    assert (first["gen_ai.request.max_tokens"], first["gen_ai.request.seed"]) == (300, 7)
    assert first["gen_ai.request.stop_sequences"] == ("END",)
    assert second["gen_ai.output.type"] == "json"
    assert json.loads(str(third["gen_ai.system_instructions"])) == [{"type": "text", "content": "Be brief."}]


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_and_calls(stream: bool, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Thoughts and parallel tool calls are recorded as the same parts, whether streamed or not."""
    calls = [{"function": {"name": name, "arguments": {"place": "Paris"}}} for name in ("get_weather", "get_time")]
    pieces: list[Any] = [{"thinking": "H"}, {"thinking": "m."}, {"tool_calls": calls[:1]}, {"tool_calls": calls[1:]}]
    whole = json_reply(chatted("", thinking="Hm.", tool_calls=calls))
    server.replies(lines_reply(chat_lines(*pieces)) if stream else whole)
    instrument("ollama", tracer_provider=recorder.provider)
    client = _client(server)
    answer = client.chat(**CHAT, tools=[TOOL], stream=stream)
    if stream:
        list(answer)
    client._client.close()
    (said,) = recorder.json("gen_ai.output.messages")
    assert said["finish_reason"] == "tool_call"
    assert said["parts"] == [
        {"type": "reasoning", "content": "Hm."},
        {"type": "tool_call", "id": None, "name": "get_weather", "arguments": {"place": "Paris"}},
        {"type": "tool_call", "id": None, "name": "get_time", "arguments": {"place": "Paris"}},
    ]
    assert recorder.json("gen_ai.tool.definitions")[0]["name"] == "get_weather"


def test_conversation(server: ProviderServer, recorder: SpanRecorder) -> None:
    """An image, an earlier tool call and its result are recorded; bytes are described, not copied."""
    picture = b"\x89PNG\x00"
    messages: Any = [
        {"role": "user", "content": QUESTION, "images": [picture]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "get_weather", "arguments": {}}}]},
        {"role": "tool", "content": "21 degrees", "tool_name": "get_weather"},
    ]
    server.replies(json_reply(chatted()))
    instrument("ollama", tracer_provider=recorder.provider)
    client = _client(server)
    client.chat(model=MODEL, messages=messages)
    client._client.close()
    user, assistant, tool = recorder.json("gen_ai.input.messages")
    assert [part["type"] for part in user["parts"]] == ["text", "blob"]
    assert user["parts"][1]["bytes"] == len(picture)
    assert base64.b64encode(picture).decode() not in recorder.attributes()["gen_ai.input.messages"]
    assert assistant["parts"] == [{"type": "tool_call", "id": None, "name": "get_weather", "arguments": {}}]
    assert tool["parts"][0]["response"] == "21 degrees"


def test_embeddings(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Both embedding methods record the texts and the length of the vectors, but not the vectors."""
    counted = {"model": "e", "embeddings": [[0.5, 0.25], [0.1, 0.2]], "prompt_eval_count": 8}
    server.replies(json_reply(counted), json_reply({"embedding": [0.5, 0.25]}))
    instrument("ollama", tracer_provider=recorder.provider)
    client = _client(server)
    client.embed(model="e", input=["one", "two"])
    client.embeddings(model="e", prompt="one")
    client._client.close()
    assert recorder.names == ["embeddings e"] * 2
    for span in recorder.spans:
        assert (span.attributes or {})["gen_ai.embeddings.dimension.count"] == 2
        assert "one" in str((span.attributes or {})["gen_ai.input.messages"])
        assert "0.25" not in str(dict(span.attributes or {}))
    assert (recorder.spans[0].attributes or {})["gen_ai.usage.input_tokens"] == 8


async def test_refused_calls(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The app gets the client's exception, sync or async, streamed or not; the span has status ERROR and its text."""
    server.replies(json_reply({"error": "No."}, status=404))
    instrument("ollama", tracer_provider=recorder.provider)
    client, later = _client(server), _async_client(server)
    with pytest.raises(ollama.ResponseError):
        client.chat(**CHAT)
    with pytest.raises(ollama.ResponseError):
        list(client.chat(**CHAT, stream=True))
    with pytest.raises(ollama.ResponseError):
        await later.chat(**CHAT)
    with pytest.raises(ollama.ResponseError):
        [one async for one in await later.chat(**CHAT, stream=True)]
    client._client.close()
    await later._client.aclose()
    assert [span.status.status_code for span in recorder.spans] == [StatusCode.ERROR] * 4
    assert all("No." in str(span.status.description) for span in recorder.spans)


def test_error_in_the_middle_of_a_stream(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The app gets its exception, and the span has the error and the text before the error."""
    server.replies(lines_reply([*chat_lines()[:2], {"error": "out of memory"}]))
    instrument("ollama", tracer_provider=recorder.provider)
    client = _client(server)
    with pytest.raises(ollama.ResponseError, match="out of memory"):
        list(client.chat(**CHAT, stream=True))
    client._client.close()
    assert recorder.one().status.description == "out of memory"
    assert answer_text(recorder.attributes()) == "Sunny and"


@pytest.mark.parametrize("stream", [False, True])
def test_unreachable_service(stream: bool, recorder: SpanRecorder) -> None:
    """Without a server, the app gets the client's own exception, and one span has it."""
    instrument("ollama", tracer_provider=recorder.provider)
    client: Any = ollama.Client(host="http://127.0.0.1:9")
    with pytest.raises(Exception, match=r"refused|[Cc]onnect"):
        list(client.chat(**CHAT, stream=stream))
    client._client.close()
    assert "Connect" in recorder.attributes()["error.type"]


def test_functions_of_the_module(
    server: ProviderServer, recorder: SpanRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ollama.chat` and similar functions are recorded, although their client was made before instrumenting."""
    server.replies(json_reply(chatted()), lines_reply(chat_lines()))
    default: Any = ollama.chat.__self__  # type: ignore[attr-defined]
    client = _client(server)
    monkeypatch.setattr(default, "_client", client._client)
    instrument("ollama", tracer_provider=recorder.provider)
    ollama.chat(**CHAT)
    list(ollama.chat(**CHAT, stream=True))
    client._client.close()
    assert recorder.names == [f"chat {MODEL}"] * 2


def test_other_requests_are_no_calls(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Listing and pulling models make no span."""
    server.replies(json_reply({"models": []}), lines_reply([{"status": "success"}]))
    instrument("ollama", tracer_provider=recorder.provider)
    client = _client(server)
    client.list()
    list(client.pull(MODEL, stream=True))
    client._client.close()
    assert recorder.spans == []


def test_wrapped_client(server: ProviderServer, recorder: SpanRecorder) -> None:
    """`wrap_ollama` returns the client itself and records only its calls."""
    instrument("ollama", tracer_provider=recorder.provider, only_watched_clients=True)
    server.replies(lines_reply(chat_lines()))
    mine, other = _client(server), _client(server)
    assert wrap_ollama(mine) is mine
    for client in (mine, other):
        list(client.chat(**CHAT, stream=True))
        client._client.close()
    assert len(recorder.spans) == 1
