"""Runs of the Assistants API, compacted conversations and decisions."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from opentelemetry.trace import StatusCode

from library_members import skip_without
from openai_traffic import ANSWER, MODEL, QUESTION, RESPONSE_USAGE, WORDS
from pandaprobe_otel.registry import instrument
from provider_server import ProviderServer, Reply, json_reply
from span_recorder import SpanRecorder

# The client says that the Assistants API is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
USAGE = {"prompt_tokens": 120, "completion_tokens": 34, "total_tokens": 154}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}


def _run(run_id: str, status: str, **more: Any) -> dict[str, Any]:
    known = {"object": "thread.run", "thread_id": "thread_1", "assistant_id": "asst_1", "model": MODEL}
    return {"id": run_id, "status": status, "created_at": 1, "tools": [], "instructions": "", **known, **more}


def _message(*words: str, kind: str = "thread.message.delta") -> dict[str, Any]:
    content = [{"index": 0, "type": "text", "text": {"value": "".join(words), "annotations": []}}]
    held = {"delta": {"content": content}} if kind.endswith("delta") else {"content": content, "role": "assistant"}
    return {"id": "msg_1", "object": kind, **held}


def _stream(run_id: str, *last: tuple[str, Any]) -> Reply:
    events: list[tuple[str, Any]] = [("thread.run.created", _run(run_id, "queued"))]
    events += [("thread.message.created", {**_message(kind="thread.message"), "content": []})]
    events += [("thread.message.delta", _message(word)) for word in WORDS]
    events += last
    chunks = [f"event: {name}\ndata: {json.dumps(data)}\n\n".encode() for name, data in events]
    return Reply(chunks=[*chunks, b"event: done\ndata: [DONE]\n\n"], content_type="text/event-stream")


def _whole(run_id: str) -> Reply:
    message = _message(ANSWER, kind="thread.message")
    return _stream(
        run_id,
        ("thread.message.completed", message),
        ("thread.run.completed", _run(run_id, "completed", usage=USAGE)),
    )


def _client(server: ProviderServer) -> openai.OpenAI:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    skip_without(client, "beta.threads.runs.stream")
    return client


def _parts(attributes: dict[str, Any], name: str = "gen_ai.output.messages") -> Any:
    return [part for message in json.loads(attributes[name]) for part in message["parts"]]


def _check(attributes: dict[str, Any]) -> None:
    assert _parts(attributes) == [{"type": "text", "content": ANSWER}]
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (120, 34)
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert (attributes["gen_ai.agent.id"], attributes["gen_ai.conversation.id"]) == ("asst_1", "thread_1")
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0


def test_streamed_run(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The app gets the same events as without us; one span has the thread's messages, the answer and the tokens."""
    server.replies(_whole("run_1"))
    request: Any = {
        "assistant_id": "asst_1",
        "stream": True,
        "thread": {"messages": [{"role": "user", "content": "Hi"}]},
    }
    with _client(server) as client:
        without = list(client.beta.threads.create_and_run(**request))
        instrument("openai", tracer_provider=recorder.provider)
        assert list(client.beta.threads.create_and_run(**request)) == without
    attributes = recorder.attributes(f"chat {MODEL}")
    _check(attributes)
    assert _parts(attributes, "gen_ai.input.messages") == [{"type": "text", "content": "Hi"}]


def test_run_that_wants_a_tool(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A tool call that a run waits for ends one span, and the tool's result begins the next."""
    wanted = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [CALL]}}
    waiting = _run("run_3", "requires_action", required_action=wanted)
    server.replies(_stream("run_3", ("thread.run.requires_action", waiting)), _whole("run_3"))
    instrument("openai", tracer_provider=recorder.provider)
    with _client(server) as client:
        runs = client.beta.threads.runs
        list(runs.create("thread_1", assistant_id="asst_1", stream=True))
        results: Any = [{"tool_call_id": "call_1", "output": "Sunny"}]
        list(runs.submit_tool_outputs("run_3", thread_id="thread_1", tool_outputs=results, stream=True))
    first, second = (dict(span.attributes or {}) for span in recorder.spans)
    assert first["gen_ai.response.finish_reasons"] == ("tool_calls",)
    called = {"type": "tool_call", "id": "call_1", "name": "get_weather", "arguments": {"city": "Paris"}}
    assert _parts(first) == [{"type": "text", "content": ANSWER}, called]
    given = {"type": "tool_call_response", "id": "call_1", "response": "Sunny"}
    assert _parts(second, "gen_ai.input.messages") == [given]
    _check(second)


def test_run_that_is_waited_for(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Beginning a run makes one span; only the first poll that finds the run done makes one, with the tokens."""
    done = _run("run_4", "completed", usage=USAGE)
    server.replies(*map(json_reply, (_run("run_4", "queued"), _run("run_4", "in_progress"), done, done)))
    instrument("openai", tracer_provider=recorder.provider)
    with _client(server) as client:
        runs = client.beta.threads.runs
        runs.create("thread_1", assistant_id="asst_1")
        seen = [runs.retrieve("run_4", thread_id="thread_1").status for _ in range(3)]
    assert seen == ["in_progress", "completed", "completed"]
    assert recorder.names == [f"chat {MODEL}", f"fetch_run {MODEL}"]
    begun, fetched = (dict(span.attributes or {}) for span in recorder.spans)
    assert "gen_ai.usage.input_tokens" not in begun
    assert fetched["gen_ai.usage.input_tokens"] == 120
    assert recorder.spans[1].parent == recorder.spans[0].context


@pytest.mark.parametrize("ending", ["left", "failed"])
def test_run_that_ends_otherwise(ending: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """The received part is kept; a failed run is an error, and a run that the app leaves early is not."""
    failed = _run("run_5", "failed", last_error={"code": "server_error", "message": "Oh"})
    server.replies(_stream("run_5", ("thread.run.failed", failed)))
    instrument("openai", tracer_provider=recorder.provider)
    with (
        _client(server) as client,
        client.beta.threads.runs.create("thread_1", assistant_id="asst_1", stream=True) as stream,
    ):
        events = iter(stream)
        [next(events) for _ in range(3)]
        if ending == "failed":
            list(events)
    (part,) = _parts(recorder.attributes())
    assert part["content"] == (ANSWER if ending == "failed" else WORDS[0])
    assert (recorder.one().status.status_code is StatusCode.ERROR) == (ending == "failed")
    assert recorder.attributes().get("pandaprobe.outcome") == (None if ending == "failed" else "partial")


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("cancelled", "cancelled"), ("expired", "timed_out"), ("incomplete", "partial"), ("requires_action", None)],
)
def test_run_that_neither_succeeds_nor_fails(
    status: str, outcome: str | None, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """A run that neither succeeds nor fails has the status that the service reports as its outcome."""
    server.replies(json_reply(_run(f"run_{status}", status)))
    instrument("openai", tracer_provider=recorder.provider)
    with _client(server) as client:
        client.beta.threads.runs.create("thread_1", assistant_id="asst_1")
    assert recorder.attributes().get("pandaprobe.outcome") == outcome
    assert recorder.one().status.status_code is StatusCode.UNSET


def test_compacted_conversation(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The answer of a compacted conversation is the model's short form, and not the user's words."""
    user = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]}
    made = {"type": "compaction", "id": "cmp_1", "encrypted_content": "secret"}
    compacted = {"id": "resp_1", "object": "response.compaction", "created_at": 1, "output": [user, made]}
    server.replies(json_reply({**compacted, "usage": RESPONSE_USAGE}))
    with _client(server) as client:
        skip_without(client, "responses.compact")
        without = client.responses.compact(model=MODEL, input=QUESTION)
        instrument("openai", tracer_provider=recorder.provider)
        assert client.responses.compact(model=MODEL, input=QUESTION) == without
    attributes = recorder.attributes(f"chat {MODEL}")
    assert _parts(attributes, "gen_ai.input.messages") == [{"type": "text", "content": QUESTION}]
    assert QUESTION not in attributes["gen_ai.output.messages"]
    assert attributes["gen_ai.usage.output_tokens"] == RESPONSE_USAGE["output_tokens"]
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)


def test_decisions(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Decisions about an input are recorded as questions, with the answers as one text."""
    answers = [{"type": "predicate", "name": "sunny", "score": 0.9}]
    server.replies(json_reply({"model": "gpt-6-luna", "answers": answers, "usage": RESPONSE_USAGE}))
    question: Any = {"type": "predicate", "name": "sunny", "instructions": "Is it sunny?"}
    with _client(server) as client:
        skip_without(client, "decisions")
        without = client.decisions.create(model="gpt-6-luna", input=QUESTION, questions=[question])
        instrument("openai", tracer_provider=recorder.provider)
        assert client.decisions.create(model="gpt-6-luna", input=QUESTION, questions=[question]) == without
    attributes = recorder.attributes("generate_content gpt-6-luna")
    assert _parts(attributes, "gen_ai.input.messages") == [{"type": "text", "content": QUESTION}]
    (text,) = _parts(attributes)
    assert json.loads(text["content"]) == answers
    (instruction,) = json.loads(attributes["gen_ai.system_instructions"])
    assert json.loads(instruction["content"]) == question
    assert attributes["gen_ai.usage.output_tokens"] == RESPONSE_USAGE["output_tokens"]
