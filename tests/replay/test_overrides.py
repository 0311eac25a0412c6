"""Another model or prompt in the requests of a fork: for every protocol and every HTTP library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import boto3
import httpx
import httpx2
import pytest
import requests

from conformance.libraries import bedrock as bedrock_wire
from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.fork.forked_run import ForkedRecording, ForkOptions
from pandaprobe_otel.replay.fork.overrides import Override, prompt_of
from pandaprobe_otel.replay.fork.recording_cut import cut_from
from pandaprobe_otel.replay.interactions import Cassette, Interaction, RecordedAnswer, RecordedRequest
from pandaprobe_otel.replay.request_keys import read_request
from provider_server import ProviderServer, Reply, json_reply
from recorded_conversations import BY_NAME, PROTOCOLS, Protocol, request_of, shop_talk

CHAT = BY_NAME["chat"]
BODY = CHAT.body(shop_talk(1), 0)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda one: one.name)
def test_model_and_prompt_of_each_protocol(protocol: Protocol) -> None:
    """Model and prompt are replaced, everything else is unchanged, and the protocol can be read again."""
    request = request_of(protocol, protocol.body(shop_talk(1), 1))
    if protocol.name == "converse":
        request = replace(request, headers={"authorization": "Bearer key"})
    before = read_request(request)

    sent = Override(model="model-9", prompt="Be brief.", like=request).applied(request)

    assert sent is not None
    after = read_request(sent)
    assert after.model == "model-9"
    of_parts = {"gemini": {"parts": [{"text": "Be brief."}]}, "converse": [{"text": "Be brief."}]}
    assert prompt_of(after) == of_parts.get(protocol.name, "Be brief.")
    same = [name for name in before.fields if name not in ("system", "systemInstruction", "instructions", "messages")]
    assert {name: after.fields[name] for name in same} == {name: before.fields[name] for name in same}
    assert len(after.pieces) == len(before.pieces)
    assert (after.protocol, after.operation) == (before.protocol, before.operation)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}, "messages"),
        ("/v1/responses", {"input": "Hi"}, "instructions"),
        ("/v1/messages", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}, "system"),
        ("/v1beta/models/m:generateContent", {"contents": []}, "systemInstruction"),
    ],
)
def test_a_prompt_where_there_was_none(path: str, body: dict[str, Any], field: str) -> None:
    """A new prompt is added at the protocol's place for prompts."""
    request = RecordedRequest("POST", f"https://x.example{path}", {}, json.dumps(body).encode())

    sent = Override(prompt="Be brief.", like=request).applied(request)

    assert sent is not None
    found = json.loads(sent.body)[field]
    assert "Be brief." in json.dumps(found[0] if isinstance(found, list) else found)


def test_azure_names_the_model_in_the_path_as_well() -> None:
    """For Azure, the model is replaced in the path, which decides, and in the body."""
    request = replace(request_of(CHAT, BODY), uri="https://x.example/openai/deployments/mine/chat/completions?v=1")

    sent = Override(model="other", like=request).applied(request)

    assert sent is not None
    assert sent.uri == "https://x.example/openai/deployments/other/chat/completions?v=1"
    assert json.loads(sent.body)["model"] == "other"


def test_requests_that_are_not_like_the_one_at_the_cut_stay() -> None:
    """Requests with another model, prompt or protocol, and those without JSON, are unchanged."""
    like = request_of(CHAT, BODY)
    override = Override(model="model-9", prompt="Be brief.", like=like)
    other = request_of(CHAT, {**BODY, "model": "small", "messages": BODY["messages"][1:]})

    assert override.applied(other) is None
    assert override.applied(RecordedRequest("GET", "https://x.example/v1/models")) is None
    assert Override(like=like).applied(like) is None


@pytest.mark.parametrize(
    ("protocol", "model"), [("chat", "claude-5"), ("chat", "gemini-4"), ("anthropic", "gpt-6"), ("gemini", "gpt-6")]
)
def test_a_model_of_another_protocol_is_refused(protocol: str, model: str) -> None:
    """A model of another protocol is refused, because the program could not read its answers."""
    request = request_of(BY_NAME[protocol], BY_NAME[protocol].body(shop_talk(1), 0))

    with pytest.raises(RecordingError, match=model):
        Override(model=model, like=request).applied(request)


def test_a_signed_request_is_refused() -> None:
    """A signed request is refused, because the signature would not match."""
    protocol = BY_NAME["converse"]
    request = request_of(protocol, protocol.body(shop_talk(1), 0))
    signed = replace(request, headers={"authorization": "AWS4-HMAC-SHA256 Credential=x"})

    with pytest.raises(RecordingError, match="signed"):
        Override(model="m", like=request).applied(signed)


@pytest.mark.parametrize("streamed", [False, True])
def test_botocore_with_an_api_key_sends_what_the_fork_asks(
    streamed: bool, server: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an API key, which signs nothing, Bedrock's model is replaced in the path and the prompt in the body."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "key")
    server.received.clear()
    wire = bedrock_wire.ADAPTERS[0].answer
    body, kind = (wire.chunks, wire.stream_type) if streamed else ((wire.whole,), "application/json")
    server.script = lambda _: Reply(chunks=body, content_type=kind)
    converse = BY_NAME["converse"]
    like = request_of(converse, converse.body(shop_talk(1), 1 if streamed else 0))
    model = str(read_request(like).model)
    cut = cut_from(Cassette((Interaction(1, like, RecordedAnswer(200)),)), None)
    options = ForkOptions(cut=cut, override=Override(model="nova-9", prompt="Be brief.", like=like))
    client: Any = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=server.url)
    sent = json.loads(like.body)

    with ForkedRecording(tmp_path / "fork.yaml", options) as recording:
        if streamed:
            assert len(list(client.converse_stream(modelId=model, **sent)["stream"])) > 1
        else:
            assert client.converse(modelId=model, **sent)["output"]
    client.close()

    (received,) = server.received
    assert received.path.split("/")[2] == "nova-9"
    assert received.json == {**sent, "system": [{"text": "Be brief."}]}
    assert received.headers["authorization"] == "Bearer key"
    assert int(received.headers["content-length"]) == len(received.body)
    assert [call.played for call in recording.calls] == [False]


def _requests(url: str) -> Any:
    return requests.post(url, json=BODY, timeout=20).json()


def _httpx(url: str) -> Any:
    return httpx.post(url, json=BODY).json()


def _httpx2(url: str) -> Any:
    return httpx2.post(url, json=BODY).json()


def _httpx_async(url: str) -> Any:
    async def ask() -> Any:
        async with httpx.AsyncClient() as client:
            return (await client.post(url, json=BODY)).json()

    return asyncio.run(ask())


def _aiohttp(url: str) -> Any:
    async def ask() -> Any:
        async with aiohttp.ClientSession() as session, session.post(url, json=BODY) as answer:
            return await answer.json()

    return asyncio.run(ask())


def _aiohttp_with_text(url: str) -> Any:
    async def ask() -> Any:
        text, headers = json.dumps(BODY), {"content-type": "application/json"}
        async with aiohttp.ClientSession() as session, session.post(url, data=text, headers=headers) as answer:
            return await answer.json()

    return asyncio.run(ask())


@pytest.mark.parametrize("ask", [_httpx, _httpx_async, _httpx2, _requests, _aiohttp, _aiohttp_with_text])
def test_each_library_sends_what_the_fork_asks(
    server: ProviderServer, tmp_path: Path, ask: Callable[[str], Any]
) -> None:
    """With each library, the server gets the changed request once, and the program gets its answer."""
    server.received.clear()
    server.script = lambda received: json_reply({"model": received.json["model"]})
    like = request_of(CHAT, BODY)
    cut = cut_from(Cassette((Interaction(1, like, RecordedAnswer(200)),)), None)
    options = ForkOptions(cut=cut, override=Override(model="model-9", prompt="Be brief.", like=like))

    with ForkedRecording(tmp_path / "fork.yaml", options) as recording:
        answer = ask(f"{server.url}/v1/chat/completions")

    assert answer == {"model": "model-9"}
    (received,) = server.received
    assert received.json["messages"][0] == {"role": "system", "content": "Be brief."}
    assert received.json["messages"][1:] == BODY["messages"][1:]
    assert received.headers["content-type"] == "application/json"
    assert [call.played for call in recording.calls] == [False]
