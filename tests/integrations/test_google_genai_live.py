"""Live sessions of the google-genai client: each turn of the model is one span."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from gemini_sockets import live_client
from gemini_traffic import ANSWER, MODEL, QUESTION, WORDS
from pandaprobe_otel.registry import instrument, uninstrument
from span_recorder import SpanRecorder

USAGE = {"promptTokenCount": 120, "responseTokenCount": 34, "totalTokenCount": 154}
TURN: Sequence[Any] = (
    *({"serverContent": {"modelTurn": {"role": "model", "parts": [{"text": word}]}}} for word in WORDS),
    {"serverContent": {"generationComplete": True}},
    {"serverContent": {"turnComplete": True}, "usageMetadata": USAGE},
)
CALL: Sequence[Any] = (
    {"toolCall": {"functionCalls": [{"id": "c1", "name": "get_weather", "args": {"place": "Paris"}}]}},
)
ASKED: Any = {"role": "user", "parts": [{"text": QUESTION}]}


@pytest.fixture(autouse=True)
def off_again() -> Iterator[None]:
    """Uninstrument after each test."""
    yield
    uninstrument("google_genai")


async def _ask(session: Any) -> None:
    await session.send_client_content(turns=ASKED, turn_complete=True)


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


async def test_function_calls(recorder: SpanRecorder) -> None:
    """A turn ends with the model's tool call, and the function's result begins the next turn."""
    tool: Any = {"function_declarations": [{"name": "get_weather", "description": "Weather"}]}
    instrument("google_genai", tracer_provider=recorder.provider)
    async with (
        live_client([CALL, TURN]) as client,
        client.aio.live.connect(model=MODEL, config={"tools": [tool]}) as session,
    ):
        await _ask(session)
        await anext(session.receive())
        answer: Any = {"id": "c1", "name": "get_weather", "response": {"result": "21"}}
        await session.send_tool_response(function_responses=answer)
        await _read_turn(session)
    asks, says = recorder.spans
    (asked,) = json.loads(str((asks.attributes or {})["gen_ai.output.messages"]))
    assert asked["finish_reason"] == "tool_call"
    assert asked["parts"] == [{"type": "tool_call", "id": "c1", "name": "get_weather", "arguments": {"place": "Paris"}}]
    assert json.loads(str((asks.attributes or {})["gen_ai.tool.definitions"]))[0]["name"] == "get_weather"
    (answered,) = json.loads(str((says.attributes or {})["gen_ai.input.messages"]))
    told = {"type": "tool_call_response", "id": "c1", "response": {"result": "21"}, "name": "get_weather"}
    assert answered["parts"] == [told]
    assert _text(dict(says.attributes or {})) == ANSWER


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
    blob, said = message["parts"]
    assert (blob["type"], blob["mime_type"], blob["bytes"]) == ("blob", "audio/pcm", 100)
    assert said == {"type": "text", "content": ANSWER}


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


async def test_sources_and_settings_of_a_turn_are_recorded(recorder: SpanRecorder) -> None:
    """The answer's sources are on the message; session settings without an attribute are among the parameters."""
    found = {"webSearchQueries": ["weather in Paris"], "groundingChunks": [{"web": {"uri": "https://found.test"}}]}
    turn = [*TURN[:-1], {"serverContent": {"groundingMetadata": found}}, TURN[-1]]
    instrument("google_genai", tracer_provider=recorder.provider)
    config: Any = {"response_modalities": ["TEXT"], "thinking_config": {"thinking_budget": 7}, "temperature": 0.5}
    async with live_client([turn]) as client, client.aio.live.connect(model=MODEL, config=config) as session:
        await _ask(session)
        await _read_turn(session)
    attributes: Any = dict(recorder.one().attributes or {})
    (said,) = json.loads(attributes["gen_ai.output.messages"])
    assert said["groundingMetadata"] == found
    told = json.loads(attributes["pandaprobe.model_parameters"])
    assert told == {"response_modalities": ["TEXT"], "thinking_config": {"thinking_budget": 7}}
