"""Live sessions of the openai client: tasks that the speaking model delegates are calls; its speech is not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import openai
import pytest
from opentelemetry.trace import StatusCode

from library_members import skip_without
from openai_sockets import socket_server
from openai_traffic import ANSWER, ANSWERED_BY, QUESTION, RESPONSE_USAGE, WORDS, response_events
from pandaprobe_otel.registry import instrument
from span_recorder import SpanRecorder

websockets = pytest.importorskip("websockets.exceptions")
# The client does not follow the newest version of `websockets` yet.
pytestmark = pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning")
DELEGATION = {"type": "responses", "responses": {"model": "gpt-6", "instructions": "Look it up.", "tools": []}}
STARTED = {"type": "session.started", "session": {"id": "s1", "model": "gpt-live-1", "delegation": DELEGATION}}
TRANSCRIPT = [{"type": "session.input_transcript.delta", "delta": QUESTION[:4]}]
TRANSCRIPT += [{"type": "session.input_transcript.delta", "delta": QUESTION[4:]}]
SOUND = {"type": "session.output_audio.delta", "delta": "UklGRg" * 100}
CLOSE: Any = {"type": "session.close"}
KINDS = ("live", "live.forks", "live.sideband")


def _task(name: str = "d1", response_id: str = "resp_1") -> list[Any]:
    """Return the events of a task whose snapshots have no output."""
    events = [
        {**event, "response": {**event["response"], "id": response_id, "output": []}} if "response" in event else event
        for event in response_events()
    ]
    return [{"type": "response.event", "delegation_id": name, "event": event} for event in events]


def _client(url: str) -> openai.OpenAI:
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    skip_without(client, "live.connect")
    return client


def _connect(client: Any, kind: str) -> Any:
    owner = client
    for name in kind.split("."):
        owner = getattr(owner, name)
    return owner.connect() if kind == "live" else owner.connect(session_id="s1")


def _attributes(recorder: SpanRecorder) -> list[dict[str, Any]]:
    return [dict(span.attributes or {}) for span in recorder.spans]


def _texts(attributes: dict[str, Any], name: str = "gen_ai.output.messages") -> str:
    return "".join(part["content"] for message in json.loads(attributes[name]) for part in message["parts"])


def _read(connection: Any, events: Sequence[Any]) -> list[Any]:
    return [connection.recv() for _ in events]


@pytest.mark.parametrize("kind", KINDS)
def test_task_for_another_model(kind: str, recorder: SpanRecorder) -> None:
    """The app gets the same events as without us; a delegated response is one span with its transcript."""
    seen: list[Any] = []
    events = [STARTED, *TRANSCRIPT, SOUND, *_task("d1", f"resp_{kind}"), SOUND]
    with socket_server(lambda _: events) as url, _client(url) as client:
        for on in (False, True):
            if on:
                instrument("openai", tracer_provider=recorder.provider)
            with _connect(client, kind) as connection:
                connection.send(CLOSE)
                seen.append((type(connection), _read(connection, events)))
    assert seen[0] == seen[1]
    (attributes,) = _attributes(recorder)
    assert recorder.names == [f"chat {ANSWERED_BY}"]
    assert _texts(attributes, "gen_ai.input.messages") == QUESTION
    assert json.loads(attributes["gen_ai.system_instructions"]) == [{"type": "text", "content": "Look it up."}]
    assert _texts(attributes) == ANSWER
    assert attributes["gen_ai.usage.output_tokens"] == RESPONSE_USAGE["output_tokens"]
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)


@pytest.mark.parametrize("kind", KINDS)
async def test_asynchronously(kind: str, recorder: SpanRecorder) -> None:
    """The asynchronous client passes the checks of the synchronous one, and two parallel tasks do not mix."""
    one, two = (_task(name, f"resp_{name}_{kind}") for name in ("a", "b"))
    events = [STARTED, *(event for pair in zip(one, two, strict=True) for event in pair)]
    instrument("openai", tracer_provider=recorder.provider)
    with socket_server(lambda _: events) as url:
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            skip_without(client, "live.connect")
            connection = await _connect(client, kind).enter()
            await connection.send(CLOSE)
            assert [(await connection.recv()).type for _ in events] == [event["type"] for event in events]
            await connection.close()
    assert [_texts(attributes) for attributes in _attributes(recorder)] == [ANSWER] * 2


def test_decisions(recorder: SpanRecorder) -> None:
    """A decision is one span with its answers, its model and its tokens."""
    usage = {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11}
    decision = {"model": "gpt-6-luna", "answers": [{"type": "predicate", "score": 0.9}], "usage": usage}
    event = {"type": "decision.event", "event": {"type": "decision.completed", "decision": decision}}
    instrument("openai", tracer_provider=recorder.provider)
    with (
        socket_server(lambda _: (*TRANSCRIPT, event)) as url,
        _client(url) as client,
        client.live.connect() as connection,
    ):
        connection.send(CLOSE)
        _read(connection, [*TRANSCRIPT, event])
    attributes = recorder.attributes("generate_content gpt-6-luna")
    assert _texts(attributes, "gen_ai.input.messages") == QUESTION
    assert json.loads(_texts(attributes)) == decision["answers"]
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (9, 2)


@pytest.mark.parametrize("how", ["closed", "lost"])
def test_connection_that_ends_in_a_task(how: str, recorder: SpanRecorder) -> None:
    """The received part is kept; a connection that breaks is a failure, one that the app closes is not."""
    began = _task("d1", f"resp_{how}")[:5]
    instrument("openai", tracer_provider=recorder.provider)
    with (
        socket_server(lambda _: [*began, *([None] if how == "lost" else [])]) as url,
        _client(url) as client,
        client.live.connect() as connection,
    ):
        connection.send(CLOSE)
        _read(connection, began)
        if how == "lost":
            with pytest.raises(websockets.ConnectionClosed):
                connection.recv()
    assert _texts(recorder.attributes()) == WORDS[0]
    assert (recorder.one().status.status_code is StatusCode.ERROR) == (how == "lost")


def test_a_session_that_two_connections_listen_to(recorder: SpanRecorder) -> None:
    """A response that two connections to one session receive is one call."""
    events = _task("d1", "resp_shared")
    instrument("openai", tracer_provider=recorder.provider)
    with socket_server(lambda _: events) as url, _client(url) as client:
        for kind in ("live", "live.sideband"):
            with _connect(client, kind) as connection:
                connection.send(CLOSE)
                _read(connection, events)
    assert recorder.names == [f"chat {ANSWERED_BY}"]


def test_a_connection_that_is_never_opened(recorder: SpanRecorder) -> None:
    """A manager that is never opened makes no span; an exception while opening reaches the app unchanged."""
    seen: list[str] = []
    with _client("http://127.0.0.1:9/v1") as client:
        for on in (False, True):
            if on:
                instrument("openai", tracer_provider=recorder.provider)
            for connect in (client.live.connect, client.realtime.connect, client.responses.connect):
                manager = connect()
                with pytest.raises(OSError, match="refused") as raised:
                    manager.enter()
                seen.append(repr(raised.value))
    assert seen[:3] == seen[3:]
    assert recorder.spans == []
