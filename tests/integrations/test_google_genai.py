"""The google-genai client: the app sees the same as without us, and each call is one span with all of its content."""

from __future__ import annotations

import base64
import gc
import json
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import _api_client, errors, models
from opentelemetry.trace import StatusCode

from gemini_traffic import (
    ANSWER,
    ANSWERED_BY,
    MODEL,
    QUESTION,
    SPOKEN,
    answer,
    call,
    called,
    chunks,
    error,
    interaction,
    interaction_events,
    said,
)
from library_members import skip_without
from pandaprobe_otel.registry import instrument, uninstrument, wrap_gemini
from provider_server import ProviderServer, Reply, events_reply, json_reply
from span_recorder import SpanRecorder, answer_text
from streamed_forms import (
    ASYNC_ENDINGS,
    ENDINGS,
    AsyncForm,
    AsyncOpened,
    Form,
    Opened,
    Sighting,
    look,
    look_async,
)

# aiohttp warns of the client's use of it at the first asynchronous call of a process
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

PAUSE_S = 0.002
SOME_ENDINGS = ("read to the end", "break and close", "drop", "never iterate")
"""Endings tested here with the form `function`; the conformance suite tests all endings with the other forms."""
_VERIFY = {"verify": ssl.create_default_context()}
"""One TLS context for all clients, since each client would load the system's certificates again."""
KNOWS_LEVELS = "thinking_level" in genai.types.ThinkingConfig.model_fields
NAME = f"generate_content {MODEL}"
NO_REQUEST = ("never iterate", "close at once")
"""Endings without a request: the client's streams are generators, which send nothing before they are iterated."""


@pytest.fixture(autouse=True)
def off_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Uninstrument after each test, and stop the client's one-time advice about tools."""
    monkeypatch.setattr(models.Models, "_logged_afc_warning", True, raising=False)
    monkeypatch.setattr(models.AsyncModels, "_logged_afc_warning", True, raising=False)
    yield
    uninstrument("google_genai")


@pytest.fixture(params=["aiohttp", "httpx"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the asynchronous client's transport: aiohttp if it is installed, else httpx."""
    monkeypatch.setattr(_api_client, "has_aiohttp", request.param == "aiohttp")
    return str(request.param)


def _client(server: ProviderServer) -> genai.Client:
    options: Any = {"base_url": server.url, "client_args": _VERIFY, "async_client_args": _VERIFY}
    return genai.Client(api_key="none", vertexai=False, http_options=options)


def _traffic(ending: str) -> Reply:
    if ending == "cancelled":
        return events_reply(chunks()[:4], done=False, hangs_s=60.0)
    return events_reply(chunks(), done=False, pause_s=PAUSE_S)


def _models(client: genai.Client, seen: Sighting) -> Opened:
    stream: Any = seen.saw(client.models.generate_content_stream(model=MODEL, contents=QUESTION))
    return Opened(stream, stream.close)


def _with_function(client: genai.Client, seen: Sighting) -> Opened:
    config: Any = {"tools": [get_weather]}
    stream: Any = seen.saw(client.models.generate_content_stream(model=MODEL, contents=QUESTION, config=config))
    return Opened(stream, stream.close)


FORMS: dict[str, Form] = {"models": _models, "function": _with_function}


async def _models_async(client: genai.Client, seen: Sighting) -> AsyncOpened:
    stream: Any = seen.saw(await client.aio.models.generate_content_stream(model=MODEL, contents=QUESTION))
    return AsyncOpened(stream, stream.aclose)


async def _with_function_async(client: genai.Client, seen: Sighting) -> AsyncOpened:
    config: Any = {"tools": [get_weather]}
    asked = client.aio.models.generate_content_stream(model=MODEL, contents=QUESTION, config=config)
    stream: Any = seen.saw(await asked)
    return AsyncOpened(stream, stream.aclose)


ASYNC_FORMS: dict[str, AsyncForm] = {
    "models": _models_async,
    "function": _with_function_async,
}


def get_weather(place: str) -> str:
    """Weather at a place."""
    return f"21 degrees in {place}"


# Before 2.0, the client does not resolve annotations that are strings.
get_weather.__annotations__.update(place=str, **{"return": str})


def _check(recorder: SpanRecorder, form: str, ending: str) -> None:
    if ending in NO_REQUEST:
        assert recorder.spans == []
        return
    assert sorted(recorder.names) == ([NAME, f"invoke_agent {MODEL}"] if form == "function" else [NAME])
    attributes = recorder.attributes(NAME)
    assert recorder.one(NAME).status.status_code is StatusCode.UNSET
    assert attributes["gen_ai.provider.name"] == "gcp.gemini"
    assert attributes["gen_ai.request.stream"] is True
    assert QUESTION in attributes["gen_ai.input.messages"]
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert attributes["gen_ai.response.time_to_first_chunk"] >= (0 if ending == "cancelled" else PAUSE_S)
    if ending == "read to the end":
        _check_answer(attributes)
    else:
        assert "gen_ai.usage.output_tokens" not in attributes
        assert ANSWER.startswith(answer_text(attributes))


def _check_answer(attributes: dict[str, Any]) -> None:
    assert attributes["gen_ai.response.model"] == ANSWERED_BY
    assert attributes["gen_ai.response.id"] == "resp-1"
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert attributes["gen_ai.usage.output_tokens"] == 34
    assert attributes["gen_ai.usage.reasoning.output_tokens"] == 12
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 64
    assert answer_text(attributes) == ANSWER


@pytest.mark.parametrize(
    ("form", "ending"), [("models", "read to the end"), *(("function", one) for one in SOME_ENDINGS)]
)
def test_synchronous_stream(form: str, ending: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """In every form and with every end, the app sees the same as without us, and one span has what the app read."""
    server.replies(_traffic(ending))
    client = _client(server)
    without = look(ENDINGS[ending], FORMS[form], client)
    instrument("google_genai", tracer_provider=recorder.provider)
    assert look(ENDINGS[ending], FORMS[form], client) == without
    client.close()
    _check(recorder, form, ending)


@pytest.mark.parametrize(
    ("form", "ending"),
    [
        *(("models", one) for one in ("read to the end", "drop", "cancelled")),
        *(("function", one) for one in (*SOME_ENDINGS, "cancelled")),
    ],
)
async def test_asynchronous_stream(
    form: str, ending: str, transport: str, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """The asynchronous client passes the checks of the synchronous one, over either of its transports."""
    server.replies(_traffic(ending))
    client = _client(server)
    without = await look_async(ASYNC_ENDINGS[ending], ASYNC_FORMS[form], client)
    instrument("google_genai", tracer_provider=recorder.provider)
    assert await look_async(ASYNC_ENDINGS[ending], ASYNC_FORMS[form], client) == without
    assert len(without.items) >= (3 if ending not in NO_REQUEST else 0)
    await client.aio.aclose()
    client.close()
    _check(recorder, form, ending)


async def test_answered_call(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The synchronous and asynchronous calls give the app the same as without us, and each is one span."""
    server.replies(json_reply(answer()))
    client = _client(server)
    config: Any = {
        "temperature": 0.5,
        "top_k": 5,
        "max_output_tokens": 9,
        "seed": 7,
        "stop_sequences": ["END"],
        "system_instruction": "Be brief.",
        "response_mime_type": "application/json",
        "thinking_config": {"thinking_level": "HIGH"} if KNOWS_LEVELS else None,
        "tools": [{"google_search": {}}],
    }
    without = client.models.generate_content(model=MODEL, contents=QUESTION, config=config)
    instrument("google_genai", tracer_provider=recorder.provider)
    result = client.models.generate_content(model=MODEL, contents=QUESTION, config=config)
    later = await client.aio.models.generate_content(model=MODEL, contents=QUESTION)
    chat = client.chats.create(model=f"models/{MODEL}")
    chat.send_message(QUESTION)
    await client.aio.aclose()
    client.close()
    for found in (result, later):
        assert (type(found), found.candidates, found.usage_metadata) == (
            type(without),
            without.candidates,
            without.usage_metadata,
        )
    assert recorder.names == [NAME] * 3
    for span in recorder.spans:
        _check_answer(dict(span.attributes or {}))
    attributes: dict[str, Any] = dict(recorder.spans[0].attributes or {})
    assert (attributes["gen_ai.request.temperature"], attributes["gen_ai.request.top_k"]) == (0.5, 5.0)
    assert (attributes["gen_ai.request.max_tokens"], attributes["gen_ai.request.seed"]) == (9, 7)
    assert attributes["gen_ai.request.stop_sequences"] == ("END",)
    assert attributes.get("gen_ai.request.reasoning.level") == ("high" if KNOWS_LEVELS else None)
    assert attributes["gen_ai.output.type"] == "json"
    assert json.loads(attributes["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    assert json.loads(attributes["gen_ai.tool.definitions"]) == [{"type": "googleSearch", "name": "googleSearch"}]


def _ask(client: genai.Client, stream: bool) -> None:
    if stream:
        list(client.models.generate_content_stream(model=MODEL, contents=QUESTION))
    else:
        client.models.generate_content(model=MODEL, contents=QUESTION)


async def _ask_async(client: genai.Client, stream: bool) -> None:
    if stream:
        [one async for one in await client.aio.models.generate_content_stream(model=MODEL, contents=QUESTION)]
    else:
        await client.aio.models.generate_content(model=MODEL, contents=QUESTION)


@pytest.mark.parametrize("stream", [False, True])
async def test_refused_call(stream: bool, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The app gets the client's exception, sync and async; the span has status ERROR with its type and text."""
    server.replies(json_reply(error(429, "RESOURCE_EXHAUSTED"), status=429))
    client = _client(server)
    instrument("google_genai", tracer_provider=recorder.provider)
    with pytest.raises(errors.APIError) as caught:
        _ask(client, stream)
    with pytest.raises(errors.APIError):
        await _ask_async(client, stream)
    await client.aio.aclose()
    client.close()
    assert recorder.names == [NAME] * 2
    assert {span.status.status_code for span in recorder.spans} == {StatusCode.ERROR}
    assert recorder.spans[0].status.description == str(caught.value)
    kind = type(caught.value)
    assert (recorder.spans[0].attributes or {})["error.type"] == f"{kind.__module__}.{kind.__qualname__}"


def test_error_in_the_middle_of_a_stream(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The span ends with the error and the text before the error, even while the app keeps the exception."""
    server.replies(events_reply([*chunks()[:2], error(503, "UNAVAILABLE", "Busy")], done=False))
    client = _client(server)
    instrument("google_genai", tracer_provider=recorder.provider)
    with pytest.raises(errors.APIError) as caught:
        list(client.models.generate_content_stream(model=MODEL, contents=QUESTION))
    assert caught.value.code == 503
    assert recorder.attributes()["error.type"] == "UNAVAILABLE"
    assert recorder.one().status.description == "Busy"
    assert answer_text(recorder.attributes()) == "Sunny and"
    client.close()
    del caught
    gc.collect()


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_calls_and_candidates(stream: bool, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Thoughts, parallel tool calls and several candidates are recorded as the same parts, whether streamed or not."""
    thoughts = [{"text": "H", "thought": True}, {"text": "m.", "thought": True}]
    calls = [call("get_weather", place="Paris"), {**call("get_time"), "thoughtSignature": "c2ln"}]
    other = said("Or so", finish="MAX_TOKENS", index=1)
    pieces = [
        answer(said(thoughts[0], finish=None)),
        answer(said(thoughts[1], finish=None), said("Or", finish=None, index=1)),
        answer(said(*calls), said(" so", finish="MAX_TOKENS", index=1)),
    ]
    server.replies(events_reply(pieces, done=False) if stream else json_reply(answer(said(*thoughts, *calls), other)))
    client = _client(server)
    instrument("google_genai", tracer_provider=recorder.provider)
    if stream:
        list(client.models.generate_content_stream(model=MODEL, contents=QUESTION, config={"candidate_count": 2}))
    else:
        client.models.generate_content(model=MODEL, contents=QUESTION, config={"candidate_count": 2})
    client.close()
    first, second = recorder.json("gen_ai.output.messages")
    assert first["parts"] == [
        {"type": "reasoning", "content": "Hm."},
        {"type": "tool_call", "id": None, "name": "get_weather", "arguments": {"place": "Paris"}},
        {"type": "tool_call", "id": None, "name": "get_time", "arguments": {}},
    ]
    assert (first["finish_reason"], second["finish_reason"]) == ("tool_call", "length")
    assert second["parts"] == [{"type": "text", "content": "Or so"}]
    assert recorder.attributes()["gen_ai.request.choice.count"] == 2


def test_conversation(server: ProviderServer, recorder: SpanRecorder) -> None:
    """An image, a file, an earlier tool call and its result are recorded; bytes are described, not copied."""
    picture = b"\x89PNG\xfb\xff\xfe"
    asked: Any = [
        {
            "role": "user",
            "parts": [
                {"text": QUESTION},
                {"inline_data": {"mime_type": "image/png", "data": picture}},
                {"file_data": {"mime_type": "video/mp4", "file_uri": "gs://bucket/film.mp4"}},
            ],
        },
        {"role": "model", "parts": [{"function_call": {"name": "get_weather", "args": {"place": "Paris"}}}]},
        {"role": "user", "parts": [{"function_response": {"name": "get_weather", "response": {"result": "21"}}}]},
    ]
    server.replies(json_reply(answer()))
    client = _client(server)
    instrument("google_genai", tracer_provider=recorder.provider)
    client.models.generate_content(model=MODEL, contents=asked)
    client.close()
    user, assistant, tool = recorder.json("gen_ai.input.messages")
    assert [part["type"] for part in user["parts"]] == ["text", "blob", "uri"]
    assert user["parts"][1]["bytes"] == len(picture)
    assert user["parts"][2] == {
        "type": "uri",
        "modality": "video",
        "uri": "gs://bucket/film.mp4",
        "mime_type": "video/mp4",
    }
    assert assistant["role"] == "assistant"
    assert tool["parts"] == [{"type": "tool_call_response", "id": "get_weather", "response": {"result": "21"}}]
    assert base64.b64encode(picture).decode() not in recorder.attributes()["gen_ai.input.messages"]


def test_blocked_prompt(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A blocked prompt, whose answer has no candidate, has the filter as its finish reason."""
    server.replies(json_reply({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}))
    client = _client(server)
    instrument("google_genai", tracer_provider=recorder.provider)
    client.models.generate_content(model=MODEL, contents=QUESTION)
    client.close()
    assert recorder.attributes()["gen_ai.response.finish_reasons"] == ("content_filter",)
    assert "gen_ai.output.messages" not in recorder.attributes()


LOOPS = ["models", "chat", "models stream", "chat stream"]


def _ask_with(client: genai.Client, form: str, function: Any) -> None:
    config: Any = {"tools": [function]}
    if form == "models":
        client.models.generate_content(model=MODEL, contents=QUESTION, config=config)
    elif form == "chat":
        client.chats.create(model=MODEL, config=config).send_message(QUESTION)
    elif form == "models stream":
        list(client.models.generate_content_stream(model=MODEL, contents=QUESTION, config=config))
    else:
        list(client.chats.create(model=MODEL, config=config).send_message_stream(QUESTION))


async def _ask_with_async(client: genai.Client, form: str, function: Any) -> None:
    config: Any = {"tools": [function]}
    if form == "models":
        await client.aio.models.generate_content(model=MODEL, contents=QUESTION, config=config)
        return
    if form == "chat":
        await client.aio.chats.create(model=MODEL, config=config).send_message(QUESTION)
        return
    if form == "models stream":
        stream = await client.aio.models.generate_content_stream(model=MODEL, contents=QUESTION, config=config)
    else:
        stream = await client.aio.chats.create(model=MODEL, config=config).send_message_stream(QUESTION)
    [one async for one in stream]


def _loop_replies(form: str) -> list[Reply]:
    asks = answer(said(call("get_weather", place="Paris")))
    if form.endswith("stream"):
        return [events_reply([asks], done=False), events_reply(chunks(), done=False)]
    return [json_reply(asks), json_reply(answer())]


def _check_loop(recorder: SpanRecorder) -> None:
    loop, first, tool, last = sorted(recorder.spans, key=lambda span: span.start_time or 0)
    assert [span.name for span in (loop, first, tool, last)] == [
        f"invoke_agent {MODEL}",
        NAME,
        "execute_tool get_weather",
        NAME,
    ]
    assert {recorder.parent_of(span) for span in (first, tool, last)} == {f"invoke_agent {MODEL}"}
    assert (tool.attributes or {})["gen_ai.tool.call.arguments"] == '{"place":"Paris"}'
    assert (tool.attributes or {})["gen_ai.tool.call.result"] == "21 degrees in Paris"
    around: Any = dict(loop.attributes or {})
    assert QUESTION in around["gen_ai.input.messages"]
    assert "tool_call_response" not in around["gen_ai.input.messages"]
    assert answer_text(around) == ANSWER
    assert not any(name.startswith("gen_ai.usage") for name in around)
    _check_answer(dict(last.attributes or {}))


@pytest.mark.parametrize("form", LOOPS)
def test_automatic_function_calling(form: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """A call with automatic function calling is one agent span, with every model call and function call below it."""
    instrument("google_genai", tracer_provider=recorder.provider)
    server.replies(*_loop_replies(form))
    client = _client(server)
    _ask_with(client, form, get_weather)
    client.close()
    _check_loop(recorder)


@pytest.mark.parametrize("form", LOOPS)
@pytest.mark.parametrize("kind", ["function", "coroutine"])
async def test_automatic_function_calling_async(
    form: str, kind: str, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """The asynchronous client, whose functions may be asynchronous, passes the checks of the synchronous one."""

    async def later(place: str) -> str:
        """Weather at a place."""
        return get_weather(place)

    later.__name__ = "get_weather"
    later.__annotations__.update(get_weather.__annotations__)
    instrument("google_genai", tracer_provider=recorder.provider)
    server.replies(*_loop_replies(form))
    client = _client(server)
    await _ask_with_async(client, form, get_weather if kind == "function" else later)
    await client.aio.aclose()
    client.close()
    _check_loop(recorder)


def test_function_that_fails(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A failed function's span has status ERROR; the client tells the model and continues."""

    def get_weather(place: str) -> str:
        """Weather at a place."""
        raise LookupError(f"no {place}")

    get_weather.__annotations__.update(place=str, **{"return": str})
    instrument("google_genai", tracer_provider=recorder.provider)
    server.replies(*_loop_replies("models"))
    client = _client(server)
    _ask_with(client, "models", get_weather)
    client.close()
    assert recorder.one("execute_tool get_weather").status.status_code is StatusCode.ERROR
    assert "no Paris" in str(recorder.one("execute_tool get_weather").status.description)
    assert recorder.one(f"invoke_agent {MODEL}").status.status_code is StatusCode.UNSET


def _interact(client: genai.Client, seen: Sighting) -> Opened:
    stream: Any = seen.saw(client.interactions.create(model=MODEL, input=QUESTION, stream=True))
    return Opened(stream, stream.close)


async def _interact_async(client: genai.Client, seen: Sighting) -> AsyncOpened:
    stream: Any = seen.saw(await client.aio.interactions.create(model=MODEL, input=QUESTION, stream=True))
    return AsyncOpened(stream, stream.close)


def _interaction_traffic(ending: str) -> Reply:
    thought = {"type": "thought_summary", "content": {"type": "text", "text": "Hm."}}
    steps = ({"type": "thought"}, [thought]), SPOKEN, called("get_weather", place="Paris")
    events = interaction_events(*steps, status="requires_action")
    cut, hangs_s = (7, 60.0) if ending == "cancelled" else (len(events), 0.0)
    return events_reply(events[:cut], named=True, done=not hangs_s, hangs_s=hangs_s)


def _check_interaction(recorder: SpanRecorder, ending: str) -> None:
    attributes = recorder.attributes(NAME)
    assert recorder.one().status.status_code is StatusCode.UNSET
    assert attributes["gen_ai.request.stream"] is True
    if ending == "read to the end":
        assert attributes["gen_ai.usage.output_tokens"] == 34
        assert attributes["gen_ai.response.status"] == "requires_action"
        (message,) = json.loads(attributes["gen_ai.output.messages"])
        assert message["parts"] == [
            {"type": "reasoning", "content": "Hm."},
            {"type": "text", "content": ANSWER},
            {"type": "tool_call", "id": "get_weather", "name": "get_weather", "arguments": {"place": "Paris"}},
        ]
    else:
        assert "gen_ai.usage.output_tokens" not in attributes


@pytest.mark.parametrize("ending", ["read to the end", "drop"])
def test_interaction_stream(ending: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Streams of interactions are recorded."""
    server.replies(_interaction_traffic(ending))
    client = _client(server)
    skip_without(client, "interactions")
    without = look(ENDINGS[ending], _interact, client)
    instrument("google_genai", tracer_provider=recorder.provider)
    assert look(ENDINGS[ending], _interact, client) == without
    client.close()
    _check_interaction(recorder, ending)


@pytest.mark.parametrize("ending", ["read to the end", "cancelled"])
async def test_asynchronous_interaction_stream(ending: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The asynchronous client passes the checks of the synchronous one."""
    server.replies(_interaction_traffic(ending))
    client = _client(server)
    skip_without(client, "interactions")
    without = await look_async(ASYNC_ENDINGS[ending], _interact_async, client)
    instrument("google_genai", tracer_provider=recorder.provider)
    assert await look_async(ASYNC_ENDINGS[ending], _interact_async, client) == without
    await client.aio.aclose()
    client.close()
    _check_interaction(recorder, ending)


def test_interactions(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Interactions are recorded: an answer in one piece, a conversation by id, and a refusal."""
    failed = json_reply(error(400, "INVALID_ARGUMENT"), status=400)
    server.replies(json_reply(interaction()), json_reply(interaction()), failed)
    client = _client(server)
    skip_without(client, "interactions")
    instrument("google_genai", tracer_provider=recorder.provider)
    client.interactions.create(model=MODEL, input=QUESTION, system_instruction="Be brief.")
    client.interactions.create(
        model=MODEL,
        previous_interaction_id="v1_1",
        input=[{"type": "function_result", "call_id": "c1", "name": "get_weather", "result": "21"}],
    )
    with pytest.raises(Exception, match="No"):
        client.interactions.create(model=MODEL, input=QUESTION)
    client.close()
    first, second, refused = recorder.spans
    attributes: Any = dict(first.attributes or {})
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (120, 34)
    assert answer_text(attributes) == ANSWER
    assert QUESTION in attributes["gen_ai.input.messages"]
    assert json.loads(attributes["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    (tool,) = json.loads(str((second.attributes or {})["gen_ai.input.messages"]))
    assert tool["parts"] == [{"type": "tool_call_response", "id": "c1", "response": "21", "name": "get_weather"}]
    assert (second.attributes or {})["gen_ai.request.previous_response.id"] == "v1_1"
    assert refused.status.status_code is StatusCode.ERROR


def test_embeddings(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The texts and the length of the vectors are recorded, but not the vectors."""
    server.replies(json_reply({"embeddings": [{"values": [0.5, 0.25]}, {"values": [0.1, 0.2]}]}))
    client = _client(server)
    instrument("google_genai", tracer_provider=recorder.provider)
    client.models.embed_content(model="gemini-embedding-001", contents=["one", "two"])
    client.close()
    attributes = recorder.attributes("embeddings gemini-embedding-001")
    assert attributes["gen_ai.embeddings.dimension.count"] == 2
    assert [part["content"] for part in json.loads(attributes["gen_ai.input.messages"])[0]["parts"]] == ["one", "two"]
    assert "0.25" not in str(attributes)


def test_other_requests_are_no_calls(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Counting tokens and listing models make no span."""
    server.replies(json_reply({"totalTokens": 3, "models": []}))
    client = _client(server)
    instrument("google_genai", tracer_provider=recorder.provider)
    client.models.count_tokens(model=MODEL, contents=QUESTION)
    list(client.models.list())
    client.close()
    assert recorder.spans == []


def test_content_can_be_left_out(server: ProviderServer, recorder: SpanRecorder) -> None:
    """With `capture_content=False`, no span has a question, answer, argument or result."""
    instrument("google_genai", tracer_provider=recorder.provider, capture_content=False)
    server.replies(*_loop_replies("models"))
    client = _client(server)
    _ask_with(client, "models", get_weather)
    client.close()
    assert len(recorder.spans) == 4
    everything = "".join(str(dict(span.attributes or {})) for span in recorder.spans)
    assert not any(word in everything for word in (QUESTION, ANSWER, "Paris", "21 degrees"))


def test_wrapped_client(server: ProviderServer, recorder: SpanRecorder) -> None:
    """`wrap_gemini` returns the client itself and records only its calls."""
    instrument("google_genai", tracer_provider=recorder.provider, only_watched_clients=True)
    server.replies(json_reply(answer()))
    mine, other = _client(server), _client(server)
    assert wrap_gemini(mine) is mine
    mine.chats.create(model=MODEL).send_message(QUESTION)
    other.models.generate_content(model=MODEL, contents=QUESTION)
    mine.close()
    other.close()
    assert recorder.names == [NAME]
