"""Realtime sessions and responses over a WebSocket: the app notices no difference, and each response is one span."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import openai
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from library_members import skip_without
from openai_sockets import socket_server
from openai_traffic import ANSWER, MODEL, QUESTION, WORDS, response_events
from pandaprobe_otel.budgets import BudgetExceeded, budget
from pandaprobe_otel.mapping import map_trace
from pandaprobe_otel.registry import instrument, wrap
from pandaprobe_otel_integrations.openai import OpenAIInstrumentor
from planted.rows import Plants
from span_recorder import SpanRecorder

websockets = pytest.importorskip("websockets.exceptions")
# The client does not follow the newest version of `websockets` yet.
pytestmark = pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning")
USAGE = {
    "total_tokens": 154,
    "input_tokens": 120,
    "output_tokens": 34,
    "input_token_details": {"text_tokens": 20, "audio_tokens": 100, "cached_tokens": 64},
    "output_token_details": {"text_tokens": 4, "audio_tokens": 30},
}
SOUND = "UklGRg" * 400
SESSION = {"type": "session.created", "session": {"type": "realtime", "model": MODEL, "instructions": "Be brief."}}
ITEM: Any = {
    "type": "conversation.item.create",
    "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]},
}
LIMITS = ("max_lanes", "max_events_per_lane", "max_events", "max_bytes_per_lane", "max_bytes")
SPEAK: Any = {"type": "input_audio_buffer.append", "audio": SOUND}


def _done(*items: Any, status: str = "completed", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": "resp_1",
        "object": "realtime.response",
        "status": status,
        "output": list(items),
        **more,
    }
    return {"type": "response.done", "response": found}


def _spoken(text: str = ANSWER) -> dict[str, Any]:
    content = [{"type": "output_audio", "transcript": text}]
    return {"id": "item_9", "type": "message", "role": "assistant", "status": "completed", "content": content}


CREATED = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}}
PLACE = {"response_id": "resp_1", "item_id": "item_9", "output_index": 0, "content_index": 0}
TURN: Sequence[Any] = (
    CREATED,
    *(
        {**PLACE, **part}
        for word in WORDS
        for part in (
            {"type": "response.output_audio.delta", "delta": SOUND},
            {"type": "response.output_audio_transcript.delta", "delta": word},
        )
    ),
    _done(_spoken(), usage=USAGE),
)


def _talk(event: dict[str, Any]) -> Sequence[Any]:
    return TURN if event["type"] == "response.create" else ()


def _client(url: str) -> openai.OpenAI:
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    skip_without(client, "realtime")
    return client


def _events(connection: Any, last: str = "response.done") -> list[Any]:
    found: list[Any] = []
    while not found or found[-1].type != last:
        found.append(connection.recv())
    return found


def _ask(connection: Any) -> list[Any]:
    connection.send(ITEM)
    connection.response.create()
    return _events(connection)


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def _text(attributes: dict[str, Any], name: str = "gen_ai.output.messages") -> str:
    messages = json.loads(attributes.get(name, "[]"))
    return "".join(part.get("content", "") for message in messages for part in message["parts"])


def _check(span: ReadableSpan, question: str | None = QUESTION) -> None:
    attributes = _attributes(span)
    assert span.name == f"chat {MODEL}"
    assert span.status.status_code is StatusCode.UNSET
    assert attributes["gen_ai.provider.name"] == "openai"
    assert attributes["server.address"] == "127.0.0.1"
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 64
    assert attributes["gen_ai.usage.audio.output_tokens"] == 30
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert _text(attributes) == ANSWER
    if question is not None:
        assert _text(attributes, "gen_ai.input.messages") == question
    assert SOUND[:60] not in str(attributes)


def test_realtime(recorder: SpanRecorder) -> None:
    """Two questions on one connection are two spans; the app gets the same events as without us."""
    seen: list[Any] = []
    with socket_server(_talk, greeting=(SESSION,)) as url, _client(url) as client:
        for on in (False, True):
            if on:
                instrument("openai", tracer_provider=recorder.provider)
            with client.realtime.connect(model=MODEL) as connection:
                seen.append((type(connection), connection.recv(), _ask(connection), _ask(connection)))
    assert seen[0] == seen[1]
    assert len(recorder.spans) == 2
    for span in recorder.spans:
        _check(span)
        instructions = json.loads(str(_attributes(span)["gen_ai.system_instructions"]))
        assert instructions == [{"type": "text", "content": "Be brief."}]


def test_a_budget_refuses_a_response_before_it_is_requested(recorder: SpanRecorder) -> None:
    """The second request of a session and of a Responses connection raises, reaches nobody, and is a span."""
    instrument("openai", tracer_provider=recorder.provider)
    asked: list[str] = []

    def talk(event: dict[str, Any]) -> Sequence[Any]:
        asked.append(event["type"])
        return _talk(event)

    with (
        socket_server(talk, greeting=(SESSION,)) as url,
        _client(url) as client,
        client.realtime.connect(model=MODEL) as connection,
        budget(calls=1) as block,
    ):
        connection.recv()
        _ask(connection)
        with pytest.raises(BudgetExceeded, match="1 calls is used up"):
            connection.response.create()
        connection.send(ITEM)  # what asks for nothing is not refused
        assert (block.used.calls, block.used.tokens, block.used.unknown) == (1, 154, 0)
    assert asked.count("response.create") == 1
    assert [span.status.status_code for span in recorder.spans] == [StatusCode.UNSET, StatusCode.ERROR]


async def test_realtime_asynchronously(recorder: SpanRecorder) -> None:
    """The asynchronous client passes the checks of the synchronous one, entered without `with`."""
    seen: list[Any] = []
    with socket_server(_talk, greeting=(SESSION,)) as url:
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            skip_without(client, "realtime")
            for on in (False, True):
                if on:
                    instrument("openai", tracer_provider=recorder.provider)
                connection = await client.realtime.connect(model=MODEL).enter()
                await connection.send(ITEM)
                await connection.response.create()
                events = [await connection.recv() for _ in range(1 + len(TURN))]
                await connection.close()
                seen.append((type(connection), events))
    assert seen[0] == seen[1]
    _check(recorder.one())


def test_the_model_finds_that_it_is_its_turn(recorder: SpanRecorder) -> None:
    """If the model answers the app's sound without a request, the transcript of the sound is the question."""
    item = {"id": "item_1", "type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": None}]}
    transcript = {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": "item_1",
        "transcript": QUESTION,
    }
    answers = ({"type": "conversation.item.added", "item": item}, TURN[0], transcript, *TURN[1:])
    instrument("openai", tracer_provider=recorder.provider)
    with (
        socket_server(lambda _: answers, greeting=(SESSION,)) as url,
        _client(url) as client,
        client.realtime.connect(model=MODEL) as connection,
    ):
        connection.recv()
        connection.send(SPEAK)
        _events(connection)
    _check(recorder.one())


ENDS: dict[str, tuple[Sequence[Any], str, StatusCode, str]] = {
    "interrupted": (
        (*TURN[:3], _done(_spoken("Sunny"), status="cancelled", usage=USAGE)),
        "Sunny",
        StatusCode.UNSET,
        "cancelled",
    ),
    "too long": (
        (
            *TURN[:3],
            _done(_spoken("Sunny"), status="incomplete", status_details={"reason": "max_output_tokens"}),
        ),
        "Sunny",
        StatusCode.UNSET,
        "length",
    ),
    "failed": (
        (CREATED, _done(status="failed", status_details={"error": {"type": "server_error", "message": "Oh"}})),
        "",
        StatusCode.ERROR,
        "error",
    ),
    "refused": (
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "No"}},),
        "",
        StatusCode.ERROR,
        "",
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_turn_that_ends_otherwise(end: str, recorder: SpanRecorder) -> None:
    """A turn that ends early has the received part of the answer and the reason of its end."""
    answers, text, status, reason = ENDS[end]
    instrument("openai", tracer_provider=recorder.provider)
    with (
        socket_server(lambda event: answers if event["type"] == "response.create" else ()) as url,
        _client(url) as client,
        client.realtime.connect(model=MODEL) as connection,
    ):
        connection.response.create()
        _events(connection, answers[-1]["type"])
    attributes = recorder.attributes()
    assert (_text(attributes), recorder.one().status.status_code) == (text, status)
    assert attributes.get("gen_ai.response.finish_reasons", ("",)) == (reason,)


@pytest.mark.parametrize("how", ["closed", "lost"])
def test_connection_that_ends_in_a_turn(how: str, recorder: SpanRecorder) -> None:
    """A connection that breaks during a turn is a failure, one that the app closes is not."""
    answers = [*TURN[:3], *([None] if how == "lost" else [])]
    instrument("openai", tracer_provider=recorder.provider)
    with (
        socket_server(lambda event: answers if event["type"] == "response.create" else ()) as url,
        _client(url) as client,
        client.realtime.connect(model=MODEL) as connection,
    ):
        connection.response.create()
        for _ in range(3):
            connection.recv()
        if how == "lost":
            with pytest.raises(websockets.ConnectionClosed):
                connection.recv()
    assert _text(recorder.attributes()) == WORDS[0]
    assert (recorder.one().status.status_code is StatusCode.ERROR) == (how == "lost")


def _respond(event: dict[str, Any]) -> Sequence[Any]:
    lane = {"stream_id": event["stream_id"]} if "stream_id" in event else {}
    return [{**one, **lane} for one in response_events()] if event["type"] == "response.create" else ()


def _respond_to_sync(client: Any) -> Any:
    with client.responses.connect() as connection:
        for question in ("One?", "Two?"):
            connection.response.create(model=MODEL, input=question)
        return [_events(connection, "response.completed") for _ in range(2)]


def _check_responses(recorder: SpanRecorder) -> None:
    assert recorder.names == [f"chat {MODEL}"] * 2
    for span, question in zip(recorder.spans, ("One?", "Two?"), strict=True):
        attributes = _attributes(span)
        assert _text(attributes, "gen_ai.input.messages") == question
        assert _text(attributes) == ANSWER
        assert attributes["gen_ai.usage.output_tokens"] == 34


def test_responses(recorder: SpanRecorder) -> None:
    """Each response over a WebSocket is one call, even if the app requests two at once."""
    with socket_server(_respond) as url, _client(url) as client:
        skip_without(client, "responses.connect")
        without = _respond_to_sync(client)
        instrument("openai", tracer_provider=recorder.provider)
        assert _respond_to_sync(client) == without
    _check_responses(recorder)


def test_lanes(recorder: SpanRecorder) -> None:
    """Responses in lanes of one connection do not mix."""
    lanes = pytest.importorskip("openai.lib.responses_websocket")
    instrument("openai", tracer_provider=recorder.provider)
    limits = lanes.ResponsesWebSocketLimits(**dict.fromkeys(LIMITS, 1 << 20))
    with (
        socket_server(_respond) as url,
        _client(url) as client,
        client.responses.connect() as connection,
        lanes.ResponsesWebSocketSession(connection, limits=limits) as session,
    ):
        found = [session.lane(name) for name in ("a", "b")]
        for lane, question in zip(found, ("One?", "Two?"), strict=True):
            lane.send({"type": "response.create", "model": MODEL, "input": question})
        assert [lane.get_final_response().output_text for lane in found] == [ANSWER] * 2
    _check_responses(recorder)


def test_only_the_client_that_is_wrapped(recorder: SpanRecorder) -> None:
    """With `wrap`, connections of other clients are not recorded."""
    with socket_server(_talk) as url, _client(url) as client, _client(url) as other:
        OpenAIInstrumentor().instrument(tracer_provider=recorder.provider, only_watched_clients=True)
        wrap(other)
        for one in (client, other):
            with one.realtime.connect(model=MODEL) as connection:
                _ask(connection)
    _check(recorder.one())


def test_all_is_recorded(recorder: SpanRecorder) -> None:
    """A mark at each place of a session and a turn that can hold content is in the trace."""
    plants = Plants()
    session = plants.fill(
        {
            "type": "realtime",
            "model": MODEL,
            "instructions": "~",
            "tools": [{"type": "function", "name": "look_up", "description": "~", "parameters": {}}],
            "audio": {"output": {"voice": "~"}},
            "prompt": {"id": "~", "variables": {"city": "~"}},
        },
        "session",
    )
    items = plants.fill(
        [
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "~"}, {"type": "input_image", "image_url": "data:%"}],
            },
            {"type": "function_call", "name": "look_up", "call_id": "c0", "arguments": "~"},
            {"type": "function_call_output", "call_id": "c0", "output": "~"},
        ],
        "items",
    )
    done = plants.fill(
        _done(
            {**_spoken(), "content": [{"type": "output_text", "text": "~"}]},
            {"id": "i", "type": "function_call", "name": "look_up", "call_id": "c1", "arguments": "~"},
            id="~",
            conversation_id="~",
            usage={**USAGE, "seconds": "#"},
        ),
        "done",
    )
    begun = {"type": "response.created", "response": {"id": done["response"]["id"]}}
    greeting = ({"type": "session.created", "session": session},)
    instrument("openai", tracer_provider=recorder.provider)
    with (
        socket_server(
            lambda event: (begun, done) if event["type"] == "response.create" else (), greeting=greeting
        ) as url,
        _client(url) as client,
        client.realtime.connect(model=MODEL) as connection,
    ):
        connection.recv()
        for item in items:
            connection.conversation.item.create(item=item)
        connection.response.create(response=plants.fill({"metadata": {"deal": "~"}}, "response"))
        _events(connection)
    assert plants.missing(recorder.attributes()) == []
    assert plants.missing(map_trace(recorder.spans)) == []
