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
from botocore.exceptions import EventStreamError
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from aws_events import chunk, exception, stream_reply
from bedrock_traffic import (
    ANSWER,
    CONVERSE,
    COUNTED,
    FAMILIES,
    OLD,
    QUESTION,
    WORDS,
    Family,
    converse_events,
)
from pandaprobe_otel.registry import instrument
from provider_server import ProviderServer, Reply
from span_recorder import SpanRecorder, answer_text

# botocore leaves a dropped stream's connection to the garbage collector, with or without us
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

CLAUDE = FAMILIES["anthropic"]
SESSION = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
AIO_SESSION = get_session()
AIO_CONFIG = AioConfig(retries={"max_attempts": 0}, read_timeout=5)
CONFIG = Config(retries={"max_attempts": 0}, read_timeout=5)


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


def test_an_error_in_the_middle_of_a_stream(server: ProviderServer, recorder: SpanRecorder) -> None:
    """An error among the events ends the span at once with the text before it, while the app keeps the stream."""
    server.replies(stream_reply([*converse_events()[:3], exception("throttlingException", "Slow down.")], hangs_s=60))
    instrument("bedrock", tracer_provider=recorder.provider)
    with _client(server) as client:
        stream = client.converse_stream(**CONVERSE)["stream"]
        with pytest.raises(EventStreamError, match="Slow down"):
            list(stream)
        assert recorder.one().status.description == "Slow down."
        assert recorder.attributes()["error.type"] == "throttlingException"
        assert answer_text(recorder.attributes()) == "".join(WORDS[:2])
        stream.close()


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[1]", b'{"odd": true}'])
def test_odd_bodies_harm_nobody(body: bytes, server: ProviderServer, recorder: SpanRecorder) -> None:
    """For a body of an unknown model or without JSON, the app gets the answer, and the span has what can be read."""
    server.replies(Reply(chunks=(b"not json",)), stream_reply([chunk({"odd": 1}), chunk([])]))
    instrument("bedrock", tracer_provider=recorder.provider)
    with _client(server) as client:
        assert client.invoke_model(modelId="custom", body=body)["body"].read() == b"not json"
        assert len(list(client.invoke_model_with_response_stream(modelId="custom", body=body)["body"])) == 2
    assert [span.status.status_code for span in recorder.spans] == [StatusCode.UNSET] * 2
