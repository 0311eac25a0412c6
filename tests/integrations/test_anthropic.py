"""The anthropic client: the app sees the same as without us, and each call is one span with all of its content."""

from __future__ import annotations

import base64
import gc
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import pytest
from anthropic import _base_client
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from anthropic_traffic import (
    ANSWER,
    ANSWERED_BY,
    MODEL,
    QUESTION,
    REQUEST,
    TOOL,
    USAGE,
    error,
    events,
    message,
)
from library_members import skip_without
from pandaprobe_otel.registry import instrument, uninstrument, wrap_anthropic
from pandaprobe_otel_integrations._streams.body import ObservedBody
from pandaprobe_otel_integrations._streams.tee import observed
from pandaprobe_otel_integrations.anthropic import AnthropicInstrumentor
from provider_server import ProviderServer, Reply, events_reply, json_reply
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

PAUSE_S = 0.002
HAS_OWN_SPANS = hasattr(_base_client.BaseClient, "_tracer")


def _create(client: anthropic.Anthropic, seen: Sighting) -> Opened:
    stream = seen.saw(client.messages.create(**REQUEST, stream=True))
    return Opened(stream, stream.close)


async def _create_async(client: anthropic.AsyncAnthropic, seen: Sighting) -> AsyncOpened:
    stream = seen.saw(await client.messages.create(**REQUEST, stream=True))
    return AsyncOpened(stream, stream.close)


@pytest.fixture(autouse=True)
def off_again() -> Iterator[None]:
    """Uninstrument after each test."""
    yield
    uninstrument("anthropic")


@pytest.fixture(autouse=True)
def global_provider(recorder: SpanRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the recorder's provider as the global one, which gets the client's own spans."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", recorder.provider)


def _client(server: ProviderServer, **more: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, **more)


def _traffic() -> Reply:
    return events_reply(events(), named=True, done=False, pause_s=PAUSE_S)


def _check(span: ReadableSpan) -> None:
    attributes: dict[str, Any] = dict(span.attributes or {})
    assert span.name == f"chat {MODEL}"
    assert span.status.status_code is StatusCode.UNSET
    assert attributes["gen_ai.provider.name"] == "anthropic"
    assert QUESTION in str(attributes["gen_ai.input.messages"])
    assert attributes["gen_ai.response.model"] == ANSWERED_BY
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 64
    assert attributes["gen_ai.usage.output_tokens"] == 34
    assert answer_text(attributes) == ANSWER
    assert attributes["gen_ai.response.time_to_first_chunk"] > PAUSE_S


def test_synchronous_stream(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The app sees the same as without us; one span has every detail of a stream that came chunk by chunk."""
    server.replies(_traffic())
    with _client(server) as client:
        without = look(read_to_the_end, _create, client)
        recorder.clear()
        instrument("anthropic", tracer_provider=recorder.provider)
        assert look(read_to_the_end, _create, client) == without
    _check(recorder.one())


async def test_asynchronous_stream(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The asynchronous client passes the checks of the synchronous one."""
    server.replies(_traffic())
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        without = await look_async(read_to_the_end_async, _create_async, client)
        recorder.clear()
        instrument("anthropic", tracer_provider=recorder.provider)
        assert await look_async(read_to_the_end_async, _create_async, client) == without
    _check(recorder.one())


CALLS: dict[str, Callable[[anthropic.Anthropic], Any]] = {
    "create": lambda client: client.messages.create(**REQUEST),
    "with_options": lambda client: client.with_options(timeout=9).messages.create(**REQUEST),
}


@pytest.mark.parametrize("name", CALLS)
def test_answered_call(name: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Cached tokens are recorded, even for a client made from another with `with_options`."""
    server.replies(json_reply(message()))
    with _client(server) as client:
        without = CALLS[name](client)
        recorder.clear()
        instrument("anthropic", tracer_provider=recorder.provider)
        result = CALLS[name](client)
    assert (type(result), repr(result)) == (type(without), repr(without))
    attributes = recorder.attributes()
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert attributes["gen_ai.usage.cache_creation.input_tokens"] == 20
    assert attributes["gen_ai.usage.output_tokens"] == 34
    assert answer_text(attributes) == ANSWER


@pytest.mark.parametrize(("status", "kind"), [(429, "RateLimitError"), (529, "OverloadedError")])
def test_refused_call(status: int, kind: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The provider's error reaches the app unchanged; the span has status ERROR with the error's type and text."""
    server.replies(json_reply(error(), status=status))
    instrument("anthropic", tracer_provider=recorder.provider)
    with _client(server) as client, pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**REQUEST)
    assert recorder.one().status.status_code is StatusCode.ERROR
    assert recorder.one().status.description == str(caught.value)
    assert recorder.attributes()["error.type"].endswith(type(caught.value).__name__)
    assert kind in ("OverloadedError", type(caught.value).__name__)


def test_error_in_the_middle_of_a_stream(server: ProviderServer, recorder: SpanRecorder) -> None:
    """For an error event after some text, the app gets its exception, and the span has the text and the error."""
    server.replies(events_reply([*events()[:5], error("overloaded_error", "Busy")], named=True, done=False))
    instrument("anthropic", tracer_provider=recorder.provider)
    with _client(server) as client, pytest.raises(anthropic.APIStatusError):
        list(client.messages.create(**REQUEST, stream=True))
    gc.collect()
    assert recorder.attributes()["error.type"] == "overloaded_error"
    assert recorder.one().status.description == "Busy"
    assert ANSWER.startswith(answer_text(recorder.attributes()))


BLOCKS: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
    (
        {"type": "thinking", "thinking": "", "signature": ""},
        [{"type": "thinking_delta", "thinking": "Hm"}, {"type": "thinking_delta", "thinking": "."}],
    ),
    (
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}},
        [
            {"type": "input_json_delta", "partial_json": '{"place": '},
            {"type": "input_json_delta", "partial_json": '"Paris"}'},
        ],
    ),
    (
        {"type": "tool_use", "id": "toolu_2", "name": "get_time", "input": {}},
        [{"type": "input_json_delta", "partial_json": "{}"}],
    ),
]


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_and_tool_calls(stream: bool, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Thoughts and parallel tool calls are recorded as the same parts, whether streamed or not."""
    whole: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "Hm.", "signature": "abc"},
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"place": "Paris"}},
        {"type": "tool_use", "id": "toolu_2", "name": "get_time", "input": {}},
    ]
    streamed = events_reply(events(*BLOCKS, stop_reason="tool_use"), named=True, done=False)
    server.replies(streamed if stream else json_reply(message(*whole, stop_reason="tool_use")))
    instrument("anthropic", tracer_provider=recorder.provider)
    with _client(server) as client:
        answer: Any = client.messages.create(**REQUEST, tools=[TOOL], stream=stream)
        if stream:
            list(answer)
    (said,) = recorder.json("gen_ai.output.messages")
    assert said == {
        "role": "assistant",
        "parts": [
            {"type": "reasoning", "content": "Hm."},
            {"type": "tool_call", "id": "toolu_1", "name": "get_weather", "arguments": {"place": "Paris"}},
            {"type": "tool_call", "id": "toolu_2", "name": "get_time", "arguments": {}},
        ],
        "finish_reason": "tool_call",
    }
    (tool,) = recorder.json("gen_ai.tool.definitions")
    assert (tool["type"], tool["name"], tool["parameters"]["required"]) == ("function", "get_weather", ["place"])


def test_thinking_that_only_the_service_can_read(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Redacted thinking leaves its length as reasoning, in the request and in the answer."""
    redacted: Any = {"type": "redacted_thinking", "data": "R" * 300}
    marker = {"type": "reasoning", "content": "[300 characters that only the service can read]"}
    server.replies(json_reply(message(redacted, {"type": "text", "text": ANSWER})))
    instrument("anthropic", tracer_provider=recorder.provider)
    earlier: Any = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": [redacted]}]
    with _client(server) as client:
        client.messages.create(**{**REQUEST, "messages": [*earlier, {"role": "user", "content": "And now?"}]})
    (said,) = recorder.json("gen_ai.output.messages")
    assert said["parts"] == [marker, {"type": "text", "content": ANSWER}]
    assert recorder.json("gen_ai.input.messages")[1]["parts"] == [marker]


def test_conversation(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A system prompt, an image, an earlier call and its result are recorded."""
    image = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"png").decode()}
    asked: Any = [
        {"role": "user", "content": [{"type": "text", "text": QUESTION}, {"type": "image", "source": image}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "get_weather", "input": {}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "21 degrees"}]},
                {"type": "text", "text": "And now?"},
            ],
        },
    ]
    server.replies(json_reply(message()))
    instrument("anthropic", tracer_provider=recorder.provider)
    with _client(server) as client:
        client.messages.create(
            **{**REQUEST, "messages": asked},
            system=[{"type": "text", "text": "Be brief."}],
            extra_body={"temperature": 1, "top_k": 5},  # not accepted by newer models or the newer client's method
            stop_sequences=["END"],
            metadata={"user_id": "somebody"},
        )
    user, assistant, tool, rest = recorder.json("gen_ai.input.messages")
    assert [part["type"] for part in user["parts"]] == ["text", "blob"]
    assert user["parts"][1]["bytes"] == 3
    assert assistant["parts"] == [{"type": "tool_call", "id": "t1", "name": "get_weather", "arguments": {}}]
    assert tool == {
        "role": "tool",
        "parts": [{"type": "tool_call_response", "id": "t1", "response": "21 degrees"}],
    }
    assert rest == {"role": "user", "parts": [{"type": "text", "content": "And now?"}]}
    assert recorder.json("gen_ai.system_instructions") == [{"type": "text", "content": "Be brief."}]
    attributes = recorder.attributes()
    assert (attributes["gen_ai.request.temperature"], attributes["gen_ai.request.top_k"]) == (1.0, 5.0)
    assert attributes["gen_ai.request.stop_sequences"] == ("END",)
    assert recorder.json("pandaprobe.model_parameters") == {"metadata": {"user_id": "somebody"}}


def test_other_requests_are_no_calls(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Counting tokens and listing models make no span of ours, and the client's own spans stay."""
    server.replies(json_reply({"input_tokens": 7, "data": [], "has_more": False}))
    instrument("anthropic", tracer_provider=recorder.provider)
    with _client(server) as client:
        skip_without(client, "models", "messages.count_tokens")
        list(client.models.list())
        client.messages.count_tokens(model=MODEL, messages=REQUEST["messages"])
    assert not [span for span in recorder.spans if span.name.startswith("chat")]
    assert bool(recorder.spans) is HAS_OWN_SPANS


@pytest.mark.skipif(not HAS_OWN_SPANS, reason="this version of anthropic makes no spans of its own")
def test_own_spans_come_back(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The client's own span is replaced while we record, and returns after uninstrumenting."""
    server.replies(json_reply(message()))
    with _client(server) as client:
        for _ in range(2):
            client.messages.create(**REQUEST)
            instrument("anthropic", tracer_provider=recorder.provider)
            client.messages.create(**REQUEST)
            uninstrument("anthropic")
    own, ours = "anthropic.messages.create", f"chat {MODEL}"
    assert recorder.names == [own, ours, own, ours]


@pytest.mark.parametrize("stream", [False, True])
def test_the_request_says_which_trace_it_belongs_to(
    stream: bool, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """If the client writes trace headers, they name our span while we record the call."""
    server.replies(events_reply(events(), named=True, done=False) if stream else json_reply(message()))
    with _client(server) as client:
        for _ in range(2):
            answer: Any = client.messages.create(**{**REQUEST, "stream": stream})
            assert not stream or list(answer)
            instrument("anthropic", tracer_provider=recorder.provider)
    without, with_us = (request.headers.get("traceparent") for request in server.received)
    span = recorder.one(f"chat {MODEL}").get_span_context()
    assert span is not None
    assert with_us == (
        f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}" if without is not None else None
    )


@pytest.mark.skipif(not HAS_OWN_SPANS, reason="this version of anthropic makes no spans of its own")
def test_own_spans_into_another_pipeline_stay(server: ProviderServer, recorder: SpanRecorder) -> None:
    """If the app sends the client's own spans to another pipeline, these stay, and ours go to our pipeline."""
    elsewhere = SpanRecorder()
    server.replies(json_reply(message()))
    instrument("anthropic", tracer_provider=recorder.provider)
    with _client(server, open_telemetry={"tracer_provider": elsewhere.provider}) as client:
        client.messages.create(**REQUEST)
    assert recorder.names == [f"chat {MODEL}"]
    assert elsewhere.names == ["anthropic.messages.create"]
    elsewhere.provider.shutdown()


@pytest.mark.skipif(not HAS_OWN_SPANS, reason="this version of anthropic makes no spans of its own")
def test_client_without_a_pipeline_asks_as_it_would_without_us(server: ProviderServer, recorder: SpanRecorder) -> None:
    """If the client's own spans go nowhere, our instrumentation adds no trace context to the request."""
    server.replies(json_reply(message()))
    with _client(server, open_telemetry={"tracer_provider": trace.NoOpTracerProvider()}) as client:
        client.messages.create(**REQUEST)
        instrument("anthropic", tracer_provider=recorder.provider)
        client.messages.create(**REQUEST)
    assert recorder.names == [f"chat {MODEL}"]
    without, with_us = (sorted(name.lower() for name in received.headers) for received in server.received)
    assert with_us == without


def test_wrapped_client_alone(server: ProviderServer, recorder: SpanRecorder) -> None:
    """`wrap_anthropic` returns the client itself and records only its calls."""
    server.replies(json_reply(message()))
    AnthropicInstrumentor().instrument(tracer_provider=recorder.provider, only_watched_clients=True)
    with _client(server) as mine, _client(server) as other:
        assert wrap_anthropic(mine) is mine
        mine.messages.create(**REQUEST)
        other.messages.create(**REQUEST)
    assert recorder.names.count(f"chat {MODEL}") == 1


PLATFORMS: dict[str, tuple[str, dict[str, str]]] = {
    "AnthropicBedrock": (
        "aws.bedrock",
        {"aws_access_key": "none", "aws_secret_key": "none", "aws_region": "us-east-1"},
    ),
    "AnthropicVertex": ("gcp.vertex_ai", {"region": "l", "project_id": "p", "access_token": "none"}),
    "AnthropicFoundry": ("azure.ai.inference", {"api_key": "none"}),
}


def _made(platform: str, server: ProviderServer) -> Any:
    if not hasattr(anthropic, platform.removeprefix("Async")):
        pytest.skip(f"this version of anthropic has no {platform}")
    given = PLATFORMS[platform.removeprefix("Async")][1]
    return getattr(anthropic, platform)(base_url=server.url, max_retries=0, **given)


def _check_platform(recorder: SpanRecorder, platform: str) -> None:
    attributes = recorder.attributes(f"chat {MODEL}")
    assert attributes["gen_ai.provider.name"] == PLATFORMS[platform][0]
    assert attributes["gen_ai.usage.output_tokens"] == USAGE["output_tokens"]
    assert ANSWER in attributes["gen_ai.output.messages"]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_platform(platform: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Clients of cloud platforms make one span with the platform's name; the app gets the same as without us."""
    server.replies(json_reply(message()))
    with _made(platform, server) as client:
        without = client.messages.create(**REQUEST)
        instrument("anthropic", tracer_provider=recorder.provider)
        assert client.messages.create(**REQUEST) == without
    _check_platform(recorder, platform)


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_platform_asynchronously(platform: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The asynchronous clients pass the checks of the synchronous ones."""
    server.replies(json_reply(message()))
    instrument("anthropic", tracer_provider=recorder.provider)
    async with _made(f"Async{platform}", server) as client:
        await client.messages.create(**REQUEST)
    _check_platform(recorder, platform)


def test_observer_on_a_body() -> None:
    """The client looks for an observer on the body at every event; our body always has this attribute."""
    module: Any = _base_client
    http = getattr(module, "httpx2", None) or module.httpx
    body = type("Body", (http.SyncByteStream,), {})
    watched, plain = body(), body()
    watched.stream_observer = observer = object()
    assert observed(watched, ObservedBody(lambda record: None)).stream_observer is observer
    assert vars(observed(plain, ObservedBody(lambda record: None)))["stream_observer"] is None
