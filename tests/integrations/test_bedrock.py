"""Bedrock through boto3 and aiobotocore: the app sees the same as without us, and each call is one span."""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import boto3
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from aws_events import chunk, exception, stream_reply
from bedrock_traffic import (
    ANSWER,
    CONVERSE,
    COUNTED,
    FAMILIES,
    MODEL,
    OLD,
    QUESTION,
    Family,
    converse_events,
    conversed,
)
from pandaprobe_otel.registry import instrument, uninstrument, wrap_bedrock
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

# botocore leaves a dropped stream's connection to the garbage collector, with or without us
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

newer = pytest.mark.skipif(OLD, reason="botocore before 1.38 knows fewer members of the API")

PAUSE_S = 0.002
CLAUDE = FAMILIES["anthropic"]
SESSION = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
AIO_SESSION = get_session()
AIO_CONFIG = AioConfig(retries={"max_attempts": 0}, read_timeout=5)
CONFIG = Config(retries={"max_attempts": 0}, read_timeout=5)


@pytest.fixture(autouse=True)
def off_again() -> Iterator[None]:
    """Uninstrument after each test."""
    yield
    uninstrument("bedrock")


_clients: dict[tuple[str, Config], Any] = {}


@pytest.fixture(scope="module", autouse=True)
def closed_clients() -> Iterator[None]:
    """Close the clients of all tests after the last test, since making a client is slow."""
    yield
    while _clients:
        _clients.popitem()[1].close()


@contextmanager
def _client(server: ProviderServer, config: Config = CONFIG) -> Iterator[Any]:
    if (server.url, config) not in _clients:
        made: Any = SESSION.client("bedrock-runtime", endpoint_url=server.url, config=config)
        _clients[server.url, config] = made
    yield _clients[server.url, config]


@asynccontextmanager
async def _async_client(server: ProviderServer, config: AioConfig = AIO_CONFIG) -> AsyncIterator[Any]:
    keys: Any = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    made: Any = AIO_SESSION.create_client("bedrock-runtime", endpoint_url=server.url, config=config, **keys)
    async with made as client:
        yield client


def _converse(client: Any, seen: Sighting) -> Opened:
    stream = seen.saw(client.converse_stream(**CONVERSE)["stream"])
    return Opened(stream, stream.close)


def _invoke(client: Any, seen: Sighting) -> Opened:
    answer = client.invoke_model_with_response_stream(modelId=CLAUDE.model, body=CLAUDE.body)
    stream = seen.saw(answer["body"])
    return Opened(stream, stream.close)


FORMS: dict[str, Form] = {"converse_stream": _converse, "invoke_stream": _invoke}


async def _converse_async(client: Any, seen: Sighting) -> AsyncOpened:
    stream = seen.saw((await client.converse_stream(**CONVERSE))["stream"])
    return AsyncOpened(stream, lambda: _closed(stream))


async def _invoke_async(client: Any, seen: Sighting) -> AsyncOpened:
    answer = await client.invoke_model_with_response_stream(modelId=CLAUDE.model, body=CLAUDE.body)
    stream = seen.saw(answer["body"])
    return AsyncOpened(stream, lambda: _closed(stream))


async def _closed(stream: Any) -> None:
    stream.close()


ASYNC_FORMS: dict[str, AsyncForm] = {"converse_stream": _converse_async, "invoke_stream": _invoke_async}


def _traffic(form: str) -> Reply:
    return stream_reply(converse_events() if form == "converse_stream" else CLAUDE.events, pause_s=PAUSE_S)


def _check(span: ReadableSpan, form: str) -> None:
    attributes: dict[str, Any] = dict(span.attributes or {})
    model = MODEL if form == "converse_stream" else CLAUDE.model
    assert span.name == f"chat {model}"
    assert span.status.status_code is StatusCode.UNSET
    assert attributes["gen_ai.provider.name"] == "aws.bedrock"
    assert attributes["gen_ai.request.model"] == model
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.request.max_tokens"] == 300
    assert QUESTION in attributes["gen_ai.input.messages"]
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert attributes["gen_ai.usage.output_tokens"] == 34
    assert answer_text(attributes) == ANSWER
    assert attributes["gen_ai.response.time_to_first_chunk"] > PAUSE_S


@pytest.mark.parametrize("form", FORMS)
def test_synchronous_stream(form: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The app sees the same as without us; one span has every detail of a stream that came chunk by chunk."""
    server.replies(_traffic(form))
    with _client(server) as client:
        without = look(read_to_the_end, FORMS[form], client)
        instrument("bedrock", tracer_provider=recorder.provider)
        assert look(read_to_the_end, FORMS[form], client) == without
    _check(recorder.one(), form)


@pytest.mark.parametrize("form", ASYNC_FORMS)
async def test_asynchronous_stream(form: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """aiobotocore passes the checks of boto3."""
    server.replies(_traffic(form))
    async with _async_client(server) as client:
        without = await look_async(read_to_the_end_async, ASYNC_FORMS[form], client)
        instrument("bedrock", tracer_provider=recorder.provider)
        assert await look_async(read_to_the_end_async, ASYNC_FORMS[form], client) == without
    _check(recorder.one(), form)


def _without_times(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


@newer
async def test_conversation_in_one_piece(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The app gets the same from both clients as without us; each call is one span with question, answer and counts."""
    server.replies(json_reply(conversed()))
    with _client(server) as client:
        without = _without_times(client.converse(**CONVERSE))
        instrument("bedrock", tracer_provider=recorder.provider)
        assert _without_times(client.converse(**CONVERSE)) == without
    async with _async_client(server) as async_client:
        assert _without_times(await async_client.converse(**CONVERSE)) == without
    assert recorder.names == [f"chat {MODEL}"] * 2
    for span in recorder.spans:
        attributes: dict[str, Any] = dict(span.attributes or {})
        assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
        assert attributes["gen_ai.request.temperature"] == 0.5
        assert attributes["gen_ai.usage.input_tokens"] == 120
        assert attributes["gen_ai.usage.cache_read.input_tokens"] == 64
        assert attributes["gen_ai.usage.cache_creation.input_tokens"] == 20
        assert attributes["gen_ai.usage.output_tokens"] == 34
        assert answer_text(attributes) == ANSWER


def _lines(body: Any) -> Any:
    return list(body.iter_lines())


def _into(body: Any) -> Any:
    buffer = bytearray(4096)
    return bytes(buffer[: body.readinto(buffer)])


READINGS: dict[str, Callable[[Any], Any]] = {
    "read": lambda body: body.read(),
    "in pieces": lambda body: list(body.iter_chunks(7)),
    "lines": _lines,
    "iterated": list,
}

if not OLD:
    READINGS["into a buffer"] = _into


@pytest.mark.parametrize("reading", READINGS)
def test_body_in_one_piece(reading: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The app gets the body of `invoke_model`, however it is read, and the span has the content."""
    server.replies(Reply(chunks=(json.dumps(CLAUDE.answer).encode(),), headers=COUNTED))
    with _client(server) as client:
        answer = client.invoke_model(modelId=CLAUDE.model, body=CLAUDE.body)
        kind, without = type(answer["body"]), READINGS[reading](answer["body"])
        raw_kind = type(answer["body"]._raw_stream)
        instrument("bedrock", tracer_provider=recorder.provider)
        answer = client.invoke_model(modelId=CLAUDE.model, body=CLAUDE.body)
        assert (type(answer["body"]), type(answer["body"]._raw_stream)) == (kind, raw_kind)
        assert READINGS[reading](answer["body"]) == without
        del answer
        gc.collect()
    assert answer_text(recorder.attributes()) == ANSWER
    assert recorder.attributes()["gen_ai.response.finish_reasons"] == ("stop",)


@pytest.mark.parametrize("ending", ["closed", "dropped", "half read", "as a file"])
def test_body_that_is_not_read_to_its_end(ending: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """A body that is not read to its end makes one span without an answer; the token counts come from the headers."""
    server.replies(Reply(chunks=(json.dumps(CLAUDE.answer).encode(),), headers=COUNTED))
    instrument("bedrock", tracer_provider=recorder.provider)
    with _client(server) as client:
        body = client.invoke_model(modelId=CLAUDE.model, body=CLAUDE.body)["body"]
        if ending == "closed":
            body.close()
        elif ending == "half read":
            assert len(body.read(20)) == 20
        elif ending == "as a file":
            with body as raw:
                assert raw.read(5)
        del body
        gc.collect()
    assert recorder.one().status.status_code is StatusCode.UNSET
    assert recorder.attributes()["gen_ai.usage.input_tokens"] == 120
    assert recorder.attributes()["gen_ai.usage.output_tokens"] == 34
    assert "gen_ai.output.messages" not in recorder.attributes()


@pytest.mark.parametrize("reading", ["read", "in pieces", "as a file", "closed", "dropped"])
@pytest.mark.parametrize("backend", ["aiohttp", "httpx2"])
async def test_asynchronous_body(backend: str, reading: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """aiobotocore, whose body is read asynchronously, passes the checks of boto3 with every HTTP library."""
    content = json.dumps(CLAUDE.answer).encode()
    server.replies(Reply(chunks=(content,), headers=COUNTED))
    instrument("bedrock", tracer_provider=recorder.provider)
    async with _async_client(server, AIO_CONFIG if backend == "aiohttp" else _config_of_httpx()) as client:
        body = (await client.invoke_model(modelId=CLAUDE.model, body=CLAUDE.body))["body"]
        if reading == "read":
            assert await body.read() == content
        elif reading == "in pieces":
            assert b"".join([piece async for piece in body.iter_chunks(7)]) == content
        elif reading == "as a file":
            async with body as opened:
                assert await opened.read() == content
        elif reading == "closed":
            async with body:
                pass
            recorder.one()
        del body
        gc.collect()
    assert recorder.one().status.status_code is StatusCode.UNSET
    assert recorder.attributes()["gen_ai.usage.input_tokens"] == 120
    assert answer_text(recorder.attributes()) == ("" if reading in ("closed", "dropped") else ANSWER)


def _config_of_httpx() -> AioConfig:
    session = pytest.importorskip("aiobotocore.httpxsession", reason="older ones have aiohttp alone")
    return AioConfig(retries={"max_attempts": 0}, read_timeout=5, http_session_cls=session.HttpxSession)


def _check_family(span: ReadableSpan, family: Family) -> None:
    attributes: dict[str, Any] = dict(span.attributes or {})
    assert attributes["gen_ai.request.model"] == family.model
    assert attributes["gen_ai.request.max_tokens"] == 300
    assert QUESTION in attributes["gen_ai.input.messages"]
    assert attributes["gen_ai.response.finish_reasons"] == (family.finish_reason,)
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert attributes["gen_ai.usage.output_tokens"] == 34
    assert answer_text(attributes) == ANSWER
    assert not any(name.startswith("openai.") for name in attributes)


@pytest.mark.parametrize("name", FAMILIES)
def test_bodies_of_a_family(name: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Question, parameters, answer, finish reason and counts are recorded for each model family, streamed or not."""
    family = FAMILIES[name]
    whole = Reply(chunks=(json.dumps(family.answer).encode(),), headers=COUNTED)
    server.replies(whole, stream_reply(family.events if family.chunks else []))
    instrument("bedrock", tracer_provider=recorder.provider)
    with _client(server) as client:
        client.invoke_model(modelId=family.model, body=family.body)["body"].read()
        if family.chunks:
            list(client.invoke_model_with_response_stream(modelId=family.model, body=family.body)["body"])
    assert len(recorder.spans) == (2 if family.chunks else 1)
    for span in recorder.spans:
        _check_family(span, family)


@pytest.mark.parametrize("operation", ["converse", "converse_stream", "invoke_model"])
async def test_refused_call(operation: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The app gets the client's exception, sync and async; the span has status ERROR with its type and text."""
    kind = "ThrottlingException"
    server.replies(Reply(chunks=(b'{"message": "No."}',), status=429, headers={"x-amzn-ErrorType": kind}))
    instrument("bedrock", tracer_provider=recorder.provider)
    given = {"modelId": CLAUDE.model, "body": CLAUDE.body} if operation == "invoke_model" else CONVERSE
    with _client(server) as client, pytest.raises(ClientError) as caught:
        getattr(client, operation)(**given)
    async with _async_client(server) as client:
        with pytest.raises(ClientError):
            await getattr(client, operation)(**given)
    assert caught.value.response["Error"]["Code"] == kind
    assert len(recorder.spans) == 2
    for span in recorder.spans:
        assert span.status.status_code is StatusCode.ERROR
        assert str((span.attributes or {})["error.type"]).endswith(kind)
        assert str(span.status.description).endswith("No.")


@pytest.mark.parametrize("form", FORMS)
def test_error_in_the_middle_of_a_stream(form: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The span ends with the error and the text before the error, even while the app keeps the exception."""
    early = converse_events()[:3] if form == "converse_stream" else CLAUDE.events[:4]
    server.replies(stream_reply([*early, exception("modelStreamErrorException", "Broken")]))
    instrument("bedrock", tracer_provider=recorder.provider)
    with _client(server) as client, pytest.raises(EventStreamError) as caught:
        list(FORMS[form](client, Sighting()).items)
    assert "Broken" in str(caught.value)
    assert recorder.attributes()["error.type"] == "modelStreamErrorException"
    assert recorder.one().status.description == "Broken"
    assert answer_text(recorder.attributes()) == "Sunny and"
    del caught
    gc.collect()


@newer
@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_and_calls(stream: bool, server: ProviderServer, recorder: SpanRecorder) -> None:
    """Thoughts and parallel tool calls are recorded as the same parts, whether streamed or not."""
    thought = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}}
    first = {"toolUse": {"toolUseId": "t1", "name": "get_weather", "input": {"place": "Paris"}}}
    second = {"toolUse": {"toolUseId": "t2", "name": "get_time", "input": {}}}
    deltas = (
        [{"reasoningContent": {"text": "H"}}, {"reasoningContent": {"text": "m."}}],
        [
            {"start": {"toolUse": {"toolUseId": "t1", "name": "get_weather"}}},
            {"toolUse": {"input": '{"place": '}},
            {"toolUse": {"input": '"Paris"}'}},
        ],
        [{"start": {"toolUse": {"toolUseId": "t2", "name": "get_time"}}}, {"toolUse": {"input": ""}}],
    )
    server.replies(
        stream_reply(converse_events(*deltas, stop_reason="tool_use"))
        if stream
        else json_reply(conversed(thought, first, second, stop_reason="tool_use"))
    )
    instrument("bedrock", tracer_provider=recorder.provider)
    schema = {"type": "object", "properties": {"place": {"type": "string"}}}
    tool = {"toolSpec": {"name": "get_weather", "description": "Weather", "inputSchema": {"json": schema}}}
    asked = {**CONVERSE, "toolConfig": {"tools": [tool]}}
    with _client(server) as client:
        if stream:
            list(client.converse_stream(**asked)["stream"])
        else:
            client.converse(**asked)
    (said,) = recorder.json("gen_ai.output.messages")
    assert said == {
        "role": "assistant",
        "parts": [
            {"type": "reasoning", "content": "Hm."},
            {"type": "tool_call", "id": "t1", "name": "get_weather", "arguments": {"place": "Paris"}},
            {"type": "tool_call", "id": "t2", "name": "get_time", "arguments": {}},
        ],
        "finish_reason": "tool_call",
    }
    assert recorder.json("gen_ai.tool.definitions") == [
        {"type": "function", "name": "get_weather", "description": "Weather", "parameters": schema}
    ]


@newer
def test_conversation(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A system prompt, an image, a document, an earlier tool call and its result are recorded; bytes are left out."""
    messages: Any = [
        {
            "role": "user",
            "content": [
                {"text": QUESTION},
                {"image": {"format": "png", "source": {"bytes": b"png"}}},
                {"document": {"format": "pdf", "name": "d", "source": {"s3Location": {"uri": "s3://b/d.pdf"}}}},
                {"cachePoint": {"type": "default"}},
            ],
        },
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "get_weather", "input": {}}}]},
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "t1", "content": [{"json": {"degrees": 21}}]}},
                {"text": "And now?"},
            ],
        },
    ]
    server.replies(json_reply(conversed()))
    instrument("bedrock", tracer_provider=recorder.provider)
    profile = "arn:aws:bedrock:us-east-1:012345678901:inference-profile/us.amazon.nova-micro-v1:0"
    guardrail = {"guardrailIdentifier": "g1", "guardrailVersion": "1"}
    with _client(server) as client:
        client.converse(modelId=profile, messages=messages, system=[{"text": "Be brief."}], guardrailConfig=guardrail)
    user, assistant, tool, rest = recorder.json("gen_ai.input.messages")
    assert [part["type"] for part in user["parts"]] == ["text", "blob", "uri"]
    assert (user["parts"][1]["bytes"], user["parts"][1]["mime_type"]) == (3, "image/png")
    assert assistant["parts"] == [{"type": "tool_call", "id": "t1", "name": "get_weather", "arguments": {}}]
    assert tool["parts"] == [{"type": "tool_call_response", "id": "t1", "response": {"degrees": 21}}]
    assert rest == {"role": "user", "parts": [{"type": "text", "content": "And now?"}]}
    assert recorder.json("gen_ai.system_instructions") == [{"type": "text", "content": "Be brief."}]
    assert recorder.attributes()["gen_ai.request.model"] == "us.amazon.nova-micro-v1:0"
    assert recorder.attributes()["aws.bedrock.guardrail.id"] == "g1"


@pytest.mark.parametrize(
    ("model", "request_body", "answer"),
    [
        ("amazon.titan-embed-text-v2:0", {"inputText": "one"}, {"embedding": [0.5, 0.25], "inputTextTokenCount": 8}),
        ("cohere.embed-english-v3", {"texts": ["one", "two"]}, {"embeddings": [[0.5, 0.25], [0.1, 0.2]]}),
    ],
)
def test_embeddings(model: str, request_body: Any, answer: Any, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The texts and the length of the vectors are recorded, but not the vectors."""
    headers = {"x-amzn-bedrock-input-token-count": "8"}
    server.replies(Reply(chunks=(json.dumps(answer).encode(),), headers=headers))
    instrument("bedrock", tracer_provider=recorder.provider)
    with _client(server) as client:
        client.invoke_model(modelId=model, body=json.dumps(request_body))["body"].read()
    attributes = recorder.attributes(f"embeddings {model}")
    assert attributes["gen_ai.embeddings.dimension.count"] == 2
    assert attributes["gen_ai.usage.input_tokens"] == 8
    assert "one" in attributes["gen_ai.input.messages"]
    assert "0.25" not in str(attributes)


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[1]", b'{"odd": true}'])
def test_odd_bodies_harm_nobody(body: bytes, server: ProviderServer, recorder: SpanRecorder) -> None:
    """For a body of an unknown model or without JSON, the app gets the answer, and the span has what can be read."""
    server.replies(Reply(chunks=(b"not json",)), stream_reply([chunk({"odd": 1}), chunk([])]))
    instrument("bedrock", tracer_provider=recorder.provider)
    with _client(server) as client:
        assert client.invoke_model(modelId="custom", body=body)["body"].read() == b"not json"
        assert len(list(client.invoke_model_with_response_stream(modelId="custom", body=body)["body"])) == 2
    assert [span.status.status_code for span in recorder.spans] == [StatusCode.UNSET] * 2


@newer
def test_other_services_are_passed_on(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A call of another service, or a Bedrock call that runs no model, makes no span."""
    server.replies(json_reply({"usage": {}, "action": "NONE", "outputs": [], "assessments": []}))
    instrument("bedrock", tracer_provider=recorder.provider)
    with _client(server) as client:
        client.apply_guardrail(
            guardrailIdentifier="g", guardrailVersion="1", source="INPUT", content=[{"text": {"text": "x"}}]
        )
    bedrock: Any = SESSION.client("bedrock", endpoint_url=server.url, config=CONFIG)
    bedrock.list_foundation_models()
    bedrock.close()
    assert recorder.spans == []


def test_content_can_be_left_out(server: ProviderServer, recorder: SpanRecorder) -> None:
    """With `capture_content=False`, a span has neither question nor answer."""
    server.replies(stream_reply(converse_events()))
    instrument("bedrock", tracer_provider=recorder.provider, capture_content=False)
    with _client(server) as client:
        list(client.converse_stream(**CONVERSE)["stream"])
    assert recorder.attributes()["gen_ai.usage.output_tokens"] == 34
    assert not any(name.endswith("messages") for name in recorder.attributes())


async def test_wrapped_clients(server: ProviderServer, recorder: SpanRecorder) -> None:
    """`wrap_bedrock` returns the client itself and records only its calls."""
    instrument("bedrock", tracer_provider=recorder.provider, only_watched_clients=True)
    server.replies(json_reply(conversed()))
    with _client(server) as mine, _client(server, Config(read_timeout=6)) as other:
        assert wrap_bedrock(mine) is mine
        mine.converse(**CONVERSE)
        other.converse(**CONVERSE)
    async with _async_client(server) as later:
        assert wrap_bedrock(later) is later
        await later.converse(**CONVERSE)
    assert len(recorder.spans) == 2


def test_answer_that_goes_to_a_bucket(server: ProviderServer, recorder: SpanRecorder) -> None:
    """An asynchronous invocation, whose answer goes to a bucket, is a span without an answer."""
    server.replies(json_reply({"invocationArn": "arn:aws:bedrock:us-east-1:1:async-invoke/1"}))
    instrument("bedrock", tracer_provider=recorder.provider)
    with _client(server) as client:
        if not hasattr(client, "start_async_invoke"):
            pytest.skip("this version of boto3 has no start_async_invoke")
        made = client.start_async_invoke(
            modelId="amazon.nova-reel-v1:1",
            modelInput={"taskType": "TEXT_VIDEO"},
            outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://bucket/x"}},
        )
    assert made["invocationArn"].endswith("/1")
    assert recorder.one().name.endswith(" amazon.nova-reel-v1:1")
    assert "gen_ai.usage.output_tokens" not in recorder.attributes()
