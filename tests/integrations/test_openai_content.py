"""Content of the span for every kind of answer: messages, tools, tool calls, media and parameters."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from opentelemetry.trace import StatusCode

from conformance.libraries.openai import HTTP
from library_members import skip_without
from openai_traffic import (
    MODEL,
    QUESTION,
    TOOL,
    chunk,
    completion,
    delta,
    message_item,
    response,
)
from pandaprobe_otel_integrations.openai import OpenAIInstrumentor
from provider_server import ProviderServer, Reply, events_reply, json_reply
from span_recorder import SpanRecorder

PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
PIXEL_URL = "data:image/png;base64," + base64.b64encode(PIXEL).decode()


@pytest.fixture
def client(server: ProviderServer, recorder: SpanRecorder) -> Iterator[openai.OpenAI]:
    """Yield an instrumented client of the scripted provider."""
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made
    instrumentor.uninstrument()


def _chat(client: openai.OpenAI, *, stream: bool = False, **more: Any) -> None:
    request: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], **more}
    answer: Any = client.chat.completions.create(**request, stream=stream)
    if stream:
        list(answer)


def _call(index: int | None, id: str | None = None, name: str | None = None, arguments: str = "") -> dict[str, Any]:
    fragment: dict[str, Any] = {"function": {"name": name, "arguments": arguments}}
    if index is not None:
        fragment["index"] = index
    if id is not None:
        fragment.update(id=id, type="function")
    return fragment


STREAMED_CALLS: dict[str, list[dict[str, Any]]] = {
    "by index": [
        _call(0, "a", "get_weather"),
        _call(1, "b", "get_time"),
        _call(0, arguments='{"place": '),
        _call(1, arguments='{"zone": 1}'),
        _call(0, arguments='"Paris"}'),
    ],
    "index always 0": [
        _call(0, "a", "get_weather", '{"place": '),
        _call(0, None, None, '"Paris"}'),
        _call(0, "b", "get_time", '{"zone": 1}'),
    ],
    "no index": [
        _call(None, "a", "get_weather", '{"place":'),
        _call(None, None, None, ' "Paris"}'),
        _call(None, "b", "get_time", '{"zone": 1}'),
    ],
    "id on every fragment": [
        _call(0, "a", "get_weather", '{"place": '),
        _call(1, "b", "get_time", '{"zone": '),
        _call(0, "a", None, '"Paris"}'),
        _call(1, "b", None, "1}"),
    ],
    "name on every fragment": [
        _call(0, "a", "get_weather", '{"place": '),
        _call(0, None, "get_weather", '"Paris"}'),
        _call(1, "b", "get_time", '{"zone": 1}'),
    ],
}


@pytest.mark.parametrize("case", STREAMED_CALLS)
def test_streamed_tool_calls_are_put_together(
    case: str, client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """Fragments of tool calls are joined correctly, even from services that repeat or omit index and id."""
    pieces = [chunk(delta(tool_calls=[fragment])) for fragment in STREAMED_CALLS[case]]
    server.replies(events_reply([*pieces, chunk(delta(finish_reason="tool_calls"))]))
    _chat(client, stream=True, tools=[TOOL])
    (message,) = recorder.json("gen_ai.output.messages")
    assert message["parts"] == [
        {"type": "tool_call", "id": "a", "name": "get_weather", "arguments": {"place": "Paris"}},
        {"type": "tool_call", "id": "b", "name": "get_time", "arguments": {"zone": 1}},
    ]
    assert message["finish_reason"] == "tool_call"
    assert recorder.attributes()["gen_ai.response.finish_reasons"] == ("tool_calls",)


def test_whole_calls_without_ids(client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Two complete tool calls with index 0 and no ids stay two calls."""
    calls = [_call(0, "", "get_weather", '{"place": "Paris"}'), _call(0, "", "get_weather", '{"place": "Rome"}')]
    server.replies(events_reply([chunk(delta(tool_calls=calls))]))
    _chat(client, stream=True)
    (message,) = recorder.json("gen_ai.output.messages")
    assert [part["arguments"] for part in message["parts"]] == [{"place": "Paris"}, {"place": "Rome"}]


def test_several_choices(client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Interleaved choices are recorded separately, in the order of their index."""
    pieces = [
        chunk(delta(1, content="No")),
        chunk(delta(0, content="Yes"), delta(1, content=", never")),
        chunk(delta(1, "length"), delta(0, "stop")),
    ]
    server.replies(events_reply(pieces))
    _chat(client, stream=True, n=2)
    messages = recorder.json("gen_ai.output.messages")
    assert [message["parts"][0]["content"] for message in messages] == ["Yes", "No, never"]
    assert recorder.attributes()["gen_ai.response.finish_reasons"] == ("stop", "length")
    assert recorder.attributes()["gen_ai.request.choice.count"] == 2


def test_cumulative_usage_is_not_summed(client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Cumulative usage, sent with every chunk, is not added up: the last one counts."""
    counts = [{"prompt_tokens": 9, "completion_tokens": count, "total_tokens": 9 + count} for count in (1, 2, 3)]
    server.replies(events_reply([chunk(delta(content="x"), usage=usage) for usage in counts]))
    _chat(client, stream=True)
    attributes = recorder.attributes()
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (9, 3)


def test_no_usage_is_no_zero(client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder) -> None:
    """A stream without usage has no token attributes, and the app's request is unchanged."""
    server.replies(events_reply([chunk(delta(content="x")), chunk(delta(finish_reason="stop"))]))
    _chat(client, stream=True)
    assert not any(name.startswith("gen_ai.usage") for name in recorder.attributes())
    assert "stream_options" not in server.received[0].json


SPOKEN = base64.b64encode(b"RIFF-wave").decode()
ANSWERS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "reasoning": (
        {"reasoning_content": "Hm.", "content": "Yes"},
        [{"type": "reasoning", "content": "Hm."}, {"type": "text", "content": "Yes"}],
    ),
    "reasoning of OpenRouter": (
        {"reasoning": "Hm.", "content": "Yes"},
        [{"type": "reasoning", "content": "Hm."}, {"type": "text", "content": "Yes"}],
    ),
    "refusal": ({"refusal": "I will not."}, [{"type": "text", "content": "I will not."}]),
    "function call": (
        {"function_call": {"name": "get_weather", "arguments": '{"place": "Paris"}'}},
        [{"type": "tool_call", "id": None, "name": "get_weather", "arguments": {"place": "Paris"}}],
    ),
    "broken arguments": (
        {"tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"place": '}}]},
        [{"type": "tool_call", "id": "a", "name": "f", "arguments": '{"place": '}],
    ),
    "custom tool": (
        {"tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "shell", "input": "ls"}}]},
        [{"type": "tool_call", "id": "a", "name": "shell", "arguments": "ls"}],
    ),
    "speech": (
        {"audio": {"id": "audio_1", "data": SPOKEN, "transcript": "Hello", "expires_at": 1}},
        [
            {"type": "text", "content": "Hello"},
            {
                "type": "blob",
                "modality": "audio",
                "mime_type": None,
                "bytes": 9,
                "sha256": hashlib.sha256(b"RIFF-wave").hexdigest(),
            },
        ],
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ANSWERS)
def test_kinds_of_answers(
    name: str, stream: bool, client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """Each kind of answer has its parts, streamed or not."""
    message, expected = ANSWERS[name]
    server.replies(events_reply([chunk(delta(**message))]) if stream else json_reply(completion(message)))
    _chat(client, stream=stream)
    assert recorder.json("gen_ai.output.messages")[0]["parts"] == expected


def test_conversation(client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Every role of a conversation with a tool is recorded, even if passed as the client's own objects."""
    server.replies(
        json_reply(
            completion({"tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]})
        ),
        json_reply(completion()),
    )
    messages: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": QUESTION}], "name": "ada"},
    ]
    first = client.chat.completions.create(model=MODEL, messages=messages, tools=[TOOL])
    messages += [first.choices[0].message, {"role": "tool", "tool_call_id": "a", "content": "21 degrees"}]
    client.chat.completions.create(model=MODEL, messages=messages)
    messages.clear()
    second = json.loads(str((recorder.spans[1].attributes or {})["gen_ai.input.messages"]))
    assert second == [
        {"role": "developer", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": QUESTION}], "name": "ada"},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "a", "name": "f", "arguments": {}}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "a", "response": "21 degrees"}]},
    ]
    (definition,) = json.loads(str((recorder.spans[0].attributes or {})["gen_ai.tool.definitions"]))
    assert definition["name"] == "get_weather"
    assert definition["parameters"]["required"] == ["place"]


REASONED = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Think."}, {"type": "summary_text", "text": "Again."}],
    "encrypted_content": "gAAAA",
}
CALLED = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "get_weather",
    "arguments": '{"place": "Paris"}',
    "status": "completed",
}
SEARCHED = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
DRAWN = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": SPOKEN}


def test_items_of_a_response(client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Reasoning summaries, both kinds of tool calls, text and images of one response are parts of one message."""
    skip_without(client, "responses")
    server.replies(json_reply(response(REASONED, SEARCHED, message_item("Look:"), CALLED, DRAWN)))
    client.responses.create(model=MODEL, input=QUESTION, instructions="Be brief.", tools=[{"type": "web_search"}])
    (message,) = recorder.json("gen_ai.output.messages")
    assert [part["type"] for part in message["parts"]] == [
        "reasoning",
        "reasoning",
        "server_tool_call",
        "text",
        "tool_call",
        "blob",
    ]
    assert message["parts"][4] == {
        "type": "tool_call",
        "id": "call_1",
        "name": "get_weather",
        "arguments": {"place": "Paris"},
    }
    assert message["parts"][2]["name"] == "web_search"
    assert message["finish_reason"] == "tool_call"
    assert "gAAAA" not in str(recorder.attributes())
    assert recorder.json("gen_ai.system_instructions") == [{"type": "text", "content": "Be brief."}]
    assert recorder.json("gen_ai.tool.definitions") == [{"type": "web_search", "name": "web_search"}]


def test_items_sent_back(client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Items of a response that the app sends back are one assistant message; the tool result is another message."""
    skip_without(client, "responses")
    server.replies(json_reply(response()))
    sent: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": QUESTION}, _input_image()]},
        REASONED,
        CALLED,
        {"type": "function_call_output", "call_id": "call_1", "output": "21 degrees"},
    ]
    client.responses.create(model=MODEL, input=sent, conversation="conv_1", previous_response_id="resp_0")
    user, assistant, tool = recorder.json("gen_ai.input.messages")
    assert [part["type"] for part in user["parts"]] == ["text", "blob"]
    assert [part["type"] for part in assistant["parts"]] == ["reasoning", "reasoning", "tool_call"]
    assert tool["parts"] == [{"type": "tool_call_response", "id": "call_1", "response": "21 degrees"}]
    assert recorder.attributes()["gen_ai.conversation.id"] == "conv_1"
    assert recorder.attributes()["gen_ai.request.previous_response.id"] == "resp_0"


def _input_image() -> dict[str, Any]:
    return {"type": "input_image", "image_url": PIXEL_URL, "detail": "auto"}


def test_incomplete_and_failed_responses(client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder) -> None:
    """A response that ends at its token limit counts as an answer; a failed one has status ERROR despite HTTP 200."""
    skip_without(client, "responses")
    server.replies(
        json_reply(response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})),
        json_reply(response(status="failed", error={"code": "server_error", "message": "It broke."}, output=[])),
    )
    client.responses.create(model=MODEL, input=QUESTION)
    client.responses.create(model=MODEL, input=QUESTION)
    cut, failed = recorder.spans
    assert (cut.attributes or {})["gen_ai.response.finish_reasons"] == ("length",)
    assert cut.status.status_code is StatusCode.UNSET
    assert (failed.attributes or {})["error.type"] == "server_error"
    assert failed.status.description == "It broke."


def test_response_stream_without_its_end(client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder) -> None:
    """A response stream without a final event still has its text, reasoning summary and arguments, from the deltas."""
    skip_without(client, "responses")
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response(status="in_progress", output=[], usage=None)},
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "Hm"},
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "."},
        {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "So"},
        {"type": "response.output_item.added", "output_index": 2, "item": {**CALLED, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"place": '},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '"Rome"}'},
    ]
    server.replies(events_reply(events, named=True, done=False, breaks_off=True))
    with pytest.raises((openai.APIConnectionError, HTTP.TransportError)):
        list(client.responses.create(model=MODEL, input=QUESTION, stream=True))
    (message,) = recorder.json("gen_ai.output.messages")
    thought, text, called = message["parts"]
    assert thought == {"type": "reasoning", "content": "Hm."}
    assert text == {"type": "text", "content": "So"}
    assert called["arguments"] == {"place": "Rome"}
    assert message["finish_reason"] == "incomplete"
    assert recorder.one().status.status_code is StatusCode.ERROR


def test_compressed_stream(client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder) -> None:
    """A stream that the server compresses is recorded like any other."""
    import gzip

    plain = b"".join(events_reply([chunk(delta(content=word)) for word in ("So ", "what")]).chunks)
    packed = gzip.compress(plain)
    halves = (packed[:40], packed[40:])
    server.replies(Reply(chunks=halves, content_type="text/event-stream", headers={"Content-Encoding": "gzip"}))
    _chat(client, stream=True)
    assert recorder.json("gen_ai.output.messages")[0]["parts"][0]["content"] == "So what"
    assert recorder.attributes()["gen_ai.response.time_to_first_chunk"] > 0


@pytest.mark.parametrize("odd", [{"status": ["completed"]}, {"status": {"of": 1}}, {"output": [{"type": ["message"]}]}])
def test_a_response_with_odd_kinds_keeps_its_counts(
    odd: dict[str, Any], client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """An answer with a list or object in place of a type name still has its counts and the rest of its content."""
    skip_without(client, "responses")
    server.replies(json_reply({**response(message_item()), **odd}))
    client.responses.create(model=MODEL, input=QUESTION)
    assert recorder.attributes()["gen_ai.usage.output_tokens"] == 34


def test_an_event_with_an_odd_kind_is_passed_over(
    client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """A stream event with a list or object in place of a type name is skipped, and the rest is recorded."""
    skip_without(client, "responses")
    odd = {"type": ["response.completed"], "response": {"model": "m"}}
    server.replies(
        events_reply([odd, {"type": "response.completed", "response": response(message_item())}], done=False)
    )
    list(client.responses.create(model=MODEL, input=QUESTION, stream=True))
    assert recorder.attributes()["gen_ai.usage.output_tokens"] == 34


def test_media_are_named_not_carried(client: openai.OpenAI, server: ProviderServer, recorder: SpanRecorder) -> None:
    """An image, a sound and a file are recorded as type, size and hash, a URL as it is."""
    server.replies(json_reply(completion()))
    content: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": PIXEL_URL}},
        {"type": "image_url", "image_url": {"url": "https://example.test/cat.png"}},
        {"type": "input_audio", "input_audio": {"data": SPOKEN, "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"}},
    ]
    _chat(client, messages=[{"role": "user", "content": content}])
    image, address, sound, file, document = recorder.json("gen_ai.input.messages")[0]["parts"]
    assert image == {
        "type": "blob",
        "modality": "image",
        "mime_type": "image/png",
        "bytes": len(PIXEL),
        "sha256": hashlib.sha256(PIXEL).hexdigest(),
    }
    assert address == {"type": "uri", "modality": "image", "uri": "https://example.test/cat.png"}
    assert (sound["mime_type"], sound["bytes"]) == ("audio/wav", 9)
    assert file == {"type": "file", "modality": "document", "file_id": "file-1"}
    assert (document["mime_type"], document["bytes"]) == ("application/pdf", 4)
    assert "iVBOR" not in recorder.attributes()["gen_ai.input.messages"]
