"""Live sessions of the google-genai client: each turn of the model is one span."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import pytest
import trustme
from google import genai
from opentelemetry.trace import StatusCode
from websockets.asyncio.server import serve

from gemini_traffic import ANSWER, MODEL, QUESTION, WORDS
from pandaprobe_otel.budgets import BudgetExceeded, budget
from pandaprobe_otel.mapping import map_trace
from pandaprobe_otel.registry import instrument
from planted.rows import Plants
from span_recorder import SpanRecorder

Script = Sequence[Sequence[Any]]
"""The server's messages, one batch after each message of the app."""


@cache
def _certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return TLS contexts for the server, and for the client that trusts it."""
    authority = trustme.CA()
    here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(here)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return here, trust


@asynccontextmanager
async def live_client(script: Script, *, leaves: bool = False) -> AsyncIterator[genai.Client]:
    """Yield a client whose server follows the script; with `leaves`, the server then breaks the connection off."""
    here, trust = _certificates()

    async def handle(connection: Any) -> None:
        await connection.recv()
        await connection.send(json.dumps({"setupComplete": {}}))
        for batch in script:
            await connection.recv()
            for message in batch:
                await connection.send(json.dumps(message))
        if leaves:
            connection.transport.abort()
        else:
            await connection.wait_closed()

    async with serve(handle, "localhost", 0, ssl=here) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        options: Any = {
            "base_url": f"https://localhost:{port}",
            "client_args": {"verify": trust},
            "async_client_args": {"verify": trust, "ssl": trust},
        }
        client = genai.Client(api_key="none", vertexai=False, http_options=options)
        yield client
        await client.aio.aclose()
        client.close()


USAGE = {"promptTokenCount": 120, "responseTokenCount": 34, "totalTokenCount": 154}
TURN: Sequence[Any] = (
    *({"serverContent": {"modelTurn": {"role": "model", "parts": [{"text": word}]}}} for word in WORDS),
    {"serverContent": {"generationComplete": True}},
    {"serverContent": {"turnComplete": True}, "usageMetadata": USAGE},
)
CONTENT: Any = {"role": "user", "parts": [{"text": QUESTION}]}


async def _ask(session: Any) -> None:
    await session.send_client_content(turns=CONTENT, turn_complete=True)


async def _read_turn(session: Any) -> list[Any]:
    return [message async for message in session.receive()]


def _text(attributes: dict[str, Any]) -> str:
    messages = json.loads(attributes.get("gen_ai.output.messages", "[]"))
    return "".join(part.get("content", "") for message in messages for part in message["parts"])


async def test_turns(recorder: SpanRecorder) -> None:
    """The app sees the same as without us; two turns are two spans, each with question, answer and counts."""
    config: Any = {"temperature": 0.5, "system_instruction": "Be brief.", "response_modalities": ["TEXT"]}
    seen: list[Any] = []
    for on in (False, True):
        if on:
            instrument("google_genai", tracer_provider=recorder.provider)
        async with live_client([TURN, TURN]) as client:
            connecting = client.aio.live.connect(model=MODEL, config=config)
            async with connecting as session:
                await _ask(session)
                first = await _read_turn(session)
                await session.send_realtime_input(text="And now?")
                second = await _read_turn(session)
                seen.append((type(connecting), type(session), type(session._ws), first, second))
    assert seen[0] == seen[1]
    assert recorder.names == [f"generate_content {MODEL}"] * 2
    for span, question in zip(recorder.spans, (QUESTION, "And now?"), strict=True):
        attributes: dict[str, Any] = dict(span.attributes or {})
        assert span.status.status_code is StatusCode.UNSET
        assert attributes["gen_ai.provider.name"] == "gcp.gemini"
        assert attributes["gen_ai.request.temperature"] == 0.5
        assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
        assert attributes["gen_ai.usage.input_tokens"] == 120
        assert attributes["gen_ai.usage.output_tokens"] == 34
        assert attributes["gen_ai.response.time_to_first_chunk"] > 0
        assert _text(attributes) == ANSWER
        (message,) = json.loads(attributes["gen_ai.input.messages"])
        assert message == {"role": "user", "parts": [{"type": "text", "content": question}]}
        assert json.loads(attributes["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]


async def test_a_budget_refuses_a_turn_before_it_is_requested(recorder: SpanRecorder) -> None:
    """The second question of a session raises and is a span with the reason; the tokens of the first count."""
    instrument("google_genai", tracer_provider=recorder.provider)
    async with live_client([TURN, TURN]) as client, client.aio.live.connect(model=MODEL) as session:
        with budget(tokens=100) as block:
            await _ask(session)
            await _read_turn(session)
            with pytest.raises(BudgetExceeded, match="100 tokens is used up"):
                await _ask(session)
        assert block.used.tokens == 154
        await _ask(session)
        await _read_turn(session)
    codes = [span.status.status_code for span in recorder.spans]
    assert codes == [StatusCode.UNSET, StatusCode.ERROR, StatusCode.UNSET]


async def test_speech(recorder: SpanRecorder) -> None:
    """Transcripts of spoken questions and answers are recorded as text, the sound by its size and name."""
    sound = [b"\xff\xfe" * 20, b"\x01\x02" * 30]
    data = [{"mimeType": "audio/pcm", "data": base64.b64encode(one).decode()} for one in sound]
    turn = [
        {"serverContent": {"inputTranscription": {"text": QUESTION}}},
        *({"serverContent": {"modelTurn": {"parts": [{"inlineData": one}]}}} for one in data),
        {"serverContent": {"outputTranscription": {"text": ANSWER}}},
        {"serverContent": {"turnComplete": True}},
    ]
    instrument("google_genai", tracer_provider=recorder.provider)
    async with live_client([turn]) as client, client.aio.live.connect(model=MODEL) as session:
        await session.send_realtime_input(audio={"data": b"hello", "mime_type": "audio/pcm"})
        await _read_turn(session)
    attributes = recorder.attributes()
    assert QUESTION in attributes["gen_ai.input.messages"]
    (message,) = json.loads(attributes["gen_ai.output.messages"])
    blob, text = message["parts"]
    assert (blob["type"], blob["mime_type"], blob["bytes"]) == ("blob", "audio/pcm", 100)
    assert text == {"type": "text", "content": ANSWER}


async def test_interrupted_turn(recorder: SpanRecorder) -> None:
    """A turn that the app interrupts by speaking has no error."""
    turn = [TURN[0], {"serverContent": {"interrupted": True}}, {"serverContent": {"turnComplete": True}}]
    instrument("google_genai", tracer_provider=recorder.provider)
    async with live_client([turn]) as client, client.aio.live.connect(model=MODEL) as session:
        await _ask(session)
        await _read_turn(session)
    assert recorder.attributes()["gen_ai.response.finish_reasons"] == ("interrupted",)
    assert recorder.one().status.status_code is StatusCode.UNSET


async def _leave(session: Any) -> None:
    """Leave the session by returning; its context manager closes the connection."""


async def _close(session: Any) -> None:
    await session.close()


async def _cancel(session: Any) -> None:
    task = asyncio.create_task(_read_turn(session))
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait({task})


@pytest.mark.parametrize("leave", [_leave, _close, _cancel])
async def test_turn_that_is_left(leave: Callable[[Any], Awaitable[None]], recorder: SpanRecorder) -> None:
    """A turn that the app leaves early is one span with the received part and no error."""
    instrument("google_genai", tracer_provider=recorder.provider)
    async with live_client([TURN[:3]]) as client, client.aio.live.connect(model=MODEL) as session:
        await _ask(session)
        stream: Any = session.receive()
        for _ in range(3):
            await anext(stream)
        await stream.aclose()
        await leave(session)
        del stream, session
    gc.collect()
    assert recorder.one().status.status_code is StatusCode.UNSET
    assert _text(recorder.attributes()) == "Sunny and mild"


async def test_connection_that_breaks(recorder: SpanRecorder) -> None:
    """If the connection breaks, the app gets the client's exception; the span has the error and the received part."""
    instrument("google_genai", tracer_provider=recorder.provider)
    async with live_client([TURN[:2]], leaves=True) as client, client.aio.live.connect(model=MODEL) as session:
        await _ask(session)
        with pytest.raises(Exception, match=r"[Cc]lose|1006"):  # the client's own since 1.51, else the connection's
            await _read_turn(session)
    gc.collect()
    assert recorder.one().status.status_code is StatusCode.ERROR
    assert ANSWER.startswith(_text(recorder.attributes()))


async def test_all_is_recorded(recorder: SpanRecorder) -> None:
    """A mark at each place of the settings and the turns that can hold content is in the trace."""
    plants = Plants()
    config = plants.fill(
        {
            "system_instruction": "~",
            "response_modalities": ["TEXT"],
            "speech_config": {"language_code": "~"},
            "thinking_config": {"thinking_budget": "#"},
            "tools": [{"function_declarations": [{"name": "get_weather", "description": "~"}]}],
        },
        "config",
    )
    call = plants.fill({"id": "c1", "name": "get_weather", "args": {"place": "~"}}, "call")
    parts = [{"text": "~"}, {"text": "~", "thought": True}, {"executableCode": {"language": "PYTHON", "code": "~"}}]
    sources = {"webSearchQueries": ["~"], "groundingChunks": [{"web": {"uri": "~"}}]}
    turn = plants.fill(
        [
            {"serverContent": {"inputTranscription": {"text": "~"}}},
            {"serverContent": {"modelTurn": {"role": "model", "parts": parts}}},
            {"serverContent": {"outputTranscription": {"text": "~"}}},
            {"serverContent": {"groundingMetadata": sources}},
            {"serverContent": {"generationComplete": True}},
            {"serverContent": {"turnComplete": True}, "usageMetadata": {**USAGE, "toolUsePromptTokenCount": "#"}},
        ],
        "turn",
    )
    result = plants.fill({"id": "c1", "name": "get_weather", "response": {"result": "~"}}, "result")
    picture = plants.fill(b"%", "picture")
    instrument("google_genai", tracer_provider=recorder.provider)
    async with (
        live_client([[{"toolCall": {"functionCalls": [call]}}], [], turn]) as client,
        client.aio.live.connect(model=MODEL, config=config) as session,
    ):
        await session.send_client_content(turns=plants.fill({**CONTENT, "parts": [{"text": "~"}]}, "question"))
        await anext(session.receive())
        await session.send_realtime_input(video={"data": picture, "mime_type": "image/png"})
        await session.send_tool_response(function_responses=result)
        await _read_turn(session)
    assert len(recorder.spans) == 2  # the function's result begins the second turn
    assert plants.missing([dict(span.attributes or {}) for span in recorder.spans]) == []
    assert plants.missing(map_trace(recorder.spans)) == []
