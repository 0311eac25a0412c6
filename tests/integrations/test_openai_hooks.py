"""Instrumenting and uninstrumenting openai, alone and beside other instrumentations."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import openai
import pytest
from openai import _base_client
from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.instrumentation.dependencies import DependencyConflictError
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from conformance.libraries.openai import HTTP
from openai_traffic import ANSWER, MODEL, QUESTION, chat_chunks, completion
from pandaprobe_otel.registry import instrument, uninstrument
from pandaprobe_otel_integrations._spans import llm_span, with_llm_span, without_llm_span
from pandaprobe_otel_integrations._streams import open_bodies
from pandaprobe_otel_integrations.openai import OpenAIInstrumentor
from provider_server import ProviderServer, Received, Reply, events_reply, json_reply
from span_recorder import SpanRecorder

MESSAGES: Any = [{"role": "user", "content": QUESTION}]


@pytest.fixture
def client(server: ProviderServer) -> Iterator[openai.OpenAI]:
    """Yield a client of the scripted provider, which gives the same answer to every request."""
    server.replies(json_reply(completion()))
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def _ask(client: openai.OpenAI) -> str | None:
    return client.chat.completions.create(model=MODEL, messages=MESSAGES).choices[0].message.content


def test_twice_on_is_one_span(client: openai.OpenAI, recorder: SpanRecorder) -> None:
    """Instrumenting again, through the registry or the class, changes nothing."""
    instrument("openai", tracer_provider=recorder.provider)
    OpenAIInstrumentor().instrument(tracer_provider=recorder.provider)
    _ask(client)
    assert len(recorder.spans) == 1


def test_methods_kept_by_the_app_pass_through_when_off(client: openai.OpenAI, recorder: SpanRecorder) -> None:
    """A bound method that the client cached while instrumented still works afterwards, unrecorded."""
    instrument("openai", tracer_provider=recorder.provider)
    raw = client.chat.completions.with_raw_response
    request = client.request
    raw.create(model=MODEL, messages=MESSAGES)
    uninstrument("openai")
    assert raw.create(model=MODEL, messages=MESSAGES).parse().choices[0].message.content == ANSWER
    assert request.__name__ == "request"
    assert len(recorder.spans) == 1


def test_another_wrapper_on_top_stays(client: openai.OpenAI, recorder: SpanRecorder) -> None:
    """Another vendor's wrapper around ours stays, and our wrapper passes calls through after uninstrumenting."""
    instrument("openai", tracer_provider=recorder.provider)
    owner: Any = _base_client.SyncAPIClient
    ours = owner.request
    calls: list[int] = []

    def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return ours(self, *args, **kwargs)

    original = owner.__dict__["request"].__wrapped__
    owner.request = theirs
    try:
        uninstrument("openai")
        assert owner.__dict__["request"] is theirs
        assert _ask(client) == ANSWER
    finally:
        owner.request = original
    assert calls == [1]
    assert recorder.spans == []


def test_stream_that_outlives_uninstrument_ends_its_span(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A stream that began while instrumented is recorded to its end."""
    server.replies(events_reply(chat_chunks()))
    instrument("openai", tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        uninstrument("openai")
        list(stream)
    assert recorder.attributes()["gen_ai.usage.output_tokens"] == 34


class _TheirInstrumentor:
    _instance: Any = None
    _is_instrumented_by_opentelemetry = True


def test_alongside_others_on_request(client: openai.OpenAI, recorder: SpanRecorder) -> None:
    """With `beside_others=True`, our integration records beside a rival."""
    stand_in: Any = ModuleType("opentelemetry.instrumentation.openai_v2")
    stand_in.OpenAIInstrumentor = _TheirInstrumentor
    _TheirInstrumentor._instance = _TheirInstrumentor()
    sys.modules[stand_in.__name__] = stand_in
    try:
        assert instrument("openai", tracer_provider=recorder.provider, beside_others=True).state == "hooked"
        _ask(client)
    finally:
        del sys.modules[stand_in.__name__]
    assert len(recorder.spans) == 1


def test_one_llm_span_per_call(client: openai.OpenAI, recorder: SpanRecorder) -> None:
    """A call makes no span inside a framework's LLM span, but makes one inside a tool that the model calls."""
    instrument("openai", tracer_provider=recorder.provider)
    with recorder.tracer.start_as_current_span("framework") as span:
        token = attach(with_llm_span(span))
        _ask(client)
        assert recorder.spans == []
        inner = attach(without_llm_span())
        _ask(client)
        detach(inner)
        detach(token)
    assert recorder.names == [f"chat {MODEL}", "framework"]


@pytest.mark.parametrize("key", ["suppress_language_model_instrumentation", None])
def test_suppressed(key: str | None, client: openai.OpenAI, recorder: SpanRecorder) -> None:
    """The suppression of OpenTelemetry, and that of OpenLLMetry's frameworks, is respected."""
    from opentelemetry.context import set_value

    instrument("openai", tracer_provider=recorder.provider)
    if key is None:
        with suppress_instrumentation():
            _ask(client)
    else:
        token = attach(set_value(key, True))
        _ask(client)
        detach(token)
    assert recorder.spans == []


def test_span_is_current_during_the_request(server: ProviderServer, recorder: SpanRecorder) -> None:
    """During the request, the call's span is current and below the app's span, which is current again afterwards."""
    seen: list[Any] = []

    def note(_: Any) -> None:
        seen.append((trace.get_current_span(), llm_span()))

    server.replies(json_reply(completion()))
    instrument("openai", tracer_provider=recorder.provider)
    http_client = HTTP.Client(event_hooks={"request": [note]})
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", http_client=http_client) as client,
        recorder.tracer.start_as_current_span("app") as app,
    ):
        _ask(client)
        assert trace.get_current_span() is app
    ((current, in_progress),) = seen
    assert current is in_progress
    assert recorder.tree() == {f"chat {MODEL}": "app", "app": None}
    assert current.get_span_context() == recorder.spans[0].get_span_context()


def test_call_inside_a_call(server: ProviderServer, recorder: SpanRecorder) -> None:
    """If an HTTP hook itself calls the model, the inner answer is not recorded as the outer one."""
    inner_done: list[str | None] = []

    def ask_inside(request: Any) -> None:
        if not inner_done:
            inner_done.append("running")
            inner_done.append(_ask(asking))

    def script(received: Received) -> Reply:
        return json_reply(completion({"content": f"answer {len(server.received)}"}))

    server.script = script
    instrument("openai", tracer_provider=recorder.provider)
    http_client = HTTP.Client(event_hooks={"request": [ask_inside]})
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", http_client=http_client) as asking:
        assert _ask(asking) == "answer 2"
    assert inner_done[1] == "answer 1"
    assert recorder.json("gen_ai.output.messages")[0]["parts"][0]["content"] == "answer 2"


@pytest.mark.parametrize(
    ("value", "captured"),
    [
        (None, True),
        ("", True),
        ("true", True),
        ("SPAN_ONLY", True),
        ("span_and_event", True),
        ("false", False),
        ("NO_CONTENT", False),
        ("event_only", False),
    ],
)
def test_content_switch(
    value: str | None,
    captured: bool,
    server: ProviderServer,
    recorder: SpanRecorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OpenTelemetry's variable decides whether messages, tools and error texts are recorded; tokens always are."""
    name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    server.replies(json_reply(completion()), json_reply({"error": {"message": "about cats"}}, status=400))
    instrument("openai", tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model=MODEL, messages=MESSAGES)
    answered, refused = recorder.spans
    attributes = dict(answered.attributes or {})
    assert ("gen_ai.input.messages" in attributes) is captured
    assert ("gen_ai.output.messages" in attributes) is captured
    assert ("about cats" in str(refused.status.description)) is captured
    assert attributes["gen_ai.usage.input_tokens"] == 120


ADDRESSES = {
    "https://api.openai.com/v1": "openai",
    "https://eu.api.openai.com/v1": "openai",
    "https://my.openai.azure.com/openai/v1": "azure.ai.openai",
    "https://my.services.ai.azure.com/models": "azure.ai.inference",
    "https://api.deepseek.com": "deepseek",
    "https://openrouter.ai/api/v1": "openrouter",
    "https://api.x.ai/v1": "x_ai",
    "https://api.groq.com/openai/v1": "groq",
    "https://api.together.xyz/v1": "together_ai",
    "https://api.mistral.ai/v1": "mistral_ai",
    "https://api.perplexity.ai": "perplexity",
    "https://api.fireworks.ai/inference/v1": "fireworks_ai",
    "https://api.cohere.ai/compatibility/v1": "cohere",
    "https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1": "aws.bedrock",
    "https://generativelanguage.googleapis.com/v1beta/openai/": "gcp.gemini",
    "http://localhost:11434/v1": "openai",
    "https://notopenai.com.example.org/v1": "openai",
    "https://gateway.example.org/v1": "openai",
}


def _forwarding(server: ProviderServer) -> Callable[[Any], Any]:
    """Return an HTTP function that sends requests for every address to the scripted provider."""

    def forward(request: Any) -> Any:
        with HTTP.Client() as inner:
            answer = inner.post(f"{server.url}{request.url.path}", content=request.content)
        return HTTP.Response(answer.status_code, json=answer.json())

    return forward


def _check_place(recorder: SpanRecorder, base_url: str) -> None:
    attributes = recorder.attributes(f"chat {MODEL}")
    assert attributes["gen_ai.provider.name"] == ADDRESSES[base_url]
    assert attributes["server.address"] in base_url
    assert attributes.get("server.port") == (11434 if "11434" in base_url else None)
    assert attributes["gen_ai.usage.output_tokens"] == 34


@pytest.mark.parametrize("base_url", ADDRESSES)
def test_provider_by_address(base_url: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The address determines the provider's name, also with the app's HTTP client or a subclass of the client."""

    class TheirClient(openai.OpenAI):
        """A client class derived by the app."""

    server.replies(json_reply(completion()))
    instrument("openai", tracer_provider=recorder.provider)
    http_client = HTTP.Client(transport=HTTP.MockTransport(_forwarding(server)))
    with TheirClient(base_url=base_url, api_key="none", max_retries=0, http_client=http_client) as client:
        assert _ask(client.copy(timeout=5)) == ANSWER
    _check_place(recorder, base_url)


def test_legacy_http_client(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A client with an HTTP client of an older library, passed in by the app, is recorded too."""
    import httpx

    server.replies(json_reply(completion()), events_reply(chat_chunks()))
    instrument("openai", tracer_provider=recorder.provider)
    with httpx.Client() as http_client:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", http_client=http_client)  # type: ignore[arg-type]
        _ask(client)
        stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        assert type(stream) is openai.Stream
        list(stream)
        assert stream.response.elapsed.total_seconds() > 0
    assert [(span.attributes or {})["gen_ai.usage.output_tokens"] for span in recorder.spans] == [34, 34]


def test_request_of_an_unexpected_shape_harms_nothing(client: openai.OpenAI, recorder: SpanRecorder) -> None:
    """A request of an unexpected shape is sent unchanged, and the span ends."""
    instrument("openai", tracer_provider=recorder.provider)
    odd: Any = [{"role": 7, "content": 8}, {"content": [1, {"type": "image_url"}, {"type": 5}]}, {}]
    client.chat.completions.create(model=MODEL, messages=odd, tools=[{"type": "function"}])  # type: ignore[list-item]
    assert len(recorder.spans) == 1


def test_processor_that_raises_does_not_reach_the_app(client: openai.OpenAI, recorder: SpanRecorder) -> None:
    """A span processor that raises does not fail the model call."""
    from opentelemetry.sdk.trace import SpanProcessor

    class Broken(SpanProcessor):
        def on_end(self, span: Any) -> None:
            raise RuntimeError("broken")

    recorder.provider.add_span_processor(Broken())
    instrument("openai", tracer_provider=recorder.provider)
    assert _ask(client) == ANSWER


def test_many_threads(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Calls of many threads, streamed or not, each have their own span with their own answer."""

    def script(received: Received) -> Reply:
        request = received.json
        text = request["messages"][0]["content"]
        if request.get("stream"):
            return events_reply(chat_chunks([text]))
        return json_reply(completion({"content": text}))

    server.script = script
    instrument("openai", tracer_provider=recorder.provider)
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        for turn in range(6):
            messages: Any = [{"role": "user", "content": f"{number}-{turn}"}]
            answer: Any = busy.chat.completions.create(model=MODEL, messages=messages, stream=turn % 2 == 0)
            if turn % 2 == 0:
                list(answer)

    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as busy, ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(recorder.spans) == 48
    for span in recorder.spans:
        attributes = dict(span.attributes or {})
        question = str(attributes["gen_ai.input.messages"]).split('"content":"')[1].split('"')[0]
        assert f'"content":"{question}"' in str(attributes["gen_ai.output.messages"])


def test_error_for_the_launcher_if_the_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`opentelemetry-instrument` gets the error that it expects for a missing library, and continues silently."""
    monkeypatch.setattr(OpenAIInstrumentor, "requirements", ("no-such-distribution >= 1",))
    with pytest.raises(DependencyConflictError, match="no-such-distribution") as raised:
        OpenAIInstrumentor().instrument(skip_dep_check=True)
    assert raised.value.conflict.found is None
    assert not OpenAIInstrumentor().is_instrumented_by_opentelemetry


@pytest.mark.parametrize("skip_dep_check", [True, False])
def test_class_and_launcher_take_an_older_library(
    skip_dep_check: bool, client: openai.OpenAI, recorder: SpanRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older library is recorded through the class and through the launcher, which skips the class's check."""
    monkeypatch.setattr(OpenAIInstrumentor, "requirements", ("openai >= 99",))
    OpenAIInstrumentor().instrument(skip_dep_check=skip_dep_check, tracer_provider=recorder.provider)
    _ask(client)
    assert len(recorder.spans) == 1


def test_unsampled_call_is_not_read(server: ProviderServer) -> None:
    """A call without a recording span buffers nothing, and its stream is not wrapped."""
    server.replies(events_reply(chat_chunks()))
    recorder = SpanRecorder(ALWAYS_OFF)
    instrument("openai", tracer_provider=recorder.provider)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        assert open_bodies.open_count() == 0
        assert type(stream.response.stream).__name__ != "ObservedByteStream"
        stream.close()
    assert recorder.spans == []
