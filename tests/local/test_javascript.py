"""JavaScript and the local server: the official SDK sends to the API, the Vercel AI SDK sends OTLP; both unmodified."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from aws_events import stream_reply
from bedrock_traffic import ANSWER, MODEL, USAGE, converse_events, conversed
from local_http import traces_of
from node_programs import require_node, run_node
from pandaprobe_otel.demo.scripted_endpoint import Exchange, ScriptedEndpoint
from pandaprobe_otel.demo.scripts import parcel_script
from pandaprobe_otel.local import LocalServer
from provider_server import ProviderServer, Received, Reply, events_reply, json_reply

QUESTION, POLITE, WELCOME = "Where is my parcel?", "Thank you!", "You are welcome."
ARGUMENTS = {"parcel": "P-4711"}
SPENT = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """Yield a local server without limits."""
    with LocalServer(limit=None) as running:
        yield running


def all_traces(server: LocalServer) -> list[dict[str, Any]]:
    """Return the traces with their spans in the form of the API, oldest first."""
    server.services.otlp.close()  # closing the receivers delivers what has arrived
    return traces_of(server, "default")


def other_model(request: Received) -> Reply:
    """Answer as Amazon Bedrock and Mistral do, with the token counts in the last event of a stream."""
    if request.path.startswith("/model/"):
        streamed = request.path.endswith("-stream")
        return stream_reply(converse_events()) if streamed else json_reply(conversed())
    asked = request.json
    head = {"id": "m-1", "object": "chat.completion", "created": 1_760_000_000, "model": asked["model"]}
    if not asked.get("stream"):
        call = {"id": "call_1", "function": {"name": "track_parcel", "arguments": json.dumps(ARGUMENTS)}}
        message = {"role": "assistant", "content": "", "tool_calls": [call]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        return json_reply({**head, "choices": [choice], "usage": SPENT})
    begun = {"index": 0, "delta": {"role": "assistant", "content": "You are "}, "finish_reason": None}
    ended = {"index": 0, "delta": {"content": "welcome."}, "finish_reason": "stop"}
    return events_reply([{**head, "choices": [begun]}, {**head, "choices": [ended], "usage": SPENT}])


def counted(exchange: Exchange) -> tuple[int, int]:
    """Return the token counts of a request and of its answer."""
    return exchange.usage.prompt_tokens, exchange.usage.completion_tokens


@pytest.mark.outer
def test_the_five_wrappers_of_the_official_sdk(server: LocalServer) -> None:
    """Each wrapped client gives a trace with model, tokens, messages and tool calls, with and without streaming."""
    require_node("pandaprobe")
    with ScriptedEndpoint(parcel_script()) as model, ProviderServer() as other:
        other.script = other_model
        run_node("wrappers.cjs", model.url, other.url, variables=server.environment())
        asked = model.exchanges
    traces = all_traces(server)
    found = [trace["spans"] for trace in traces]

    assert [len(spans) for spans in found] == [1] * 10
    calls = [spans[0] for spans in found]
    assert [(call["name"], call["model"]) for call in calls] == [
        ("openai-chat", "gpt-5"),
        ("openai-chat", "gpt-5-mini"),
        ("anthropic-messages", "claude-opus"),
        ("anthropic-messages", "claude-haiku"),
        ("gemini-generate", "gemini-pro"),
        ("gemini-generate", "gemini-flash"),
        ("mistral-chat", "mistral-large"),
        ("mistral-chat", "mistral-small"),
        ("bedrock-converse", MODEL),
        ("bedrock-converse", MODEL),
    ]
    assert {(trace["status"], call["kind"], call["status"]) for trace, call in zip(traces, calls, strict=True)} == {
        ("COMPLETED", "LLM", "OK")
    }
    spent = [(call["token_usage"]["prompt_tokens"], call["token_usage"]["completion_tokens"]) for call in calls]
    assert spent == [*map(counted, asked), (7, 5), (7, 5), *[(USAGE["inputTokens"], USAGE["outputTokens"])] * 2]
    assert calls[0]["model_parameters"] == {"temperature": 0.5}
    assert [_texts(call["input"]) for call in calls] == [*[[QUESTION], [POLITE]] * 4, [QUESTION], [QUESTION]]
    assert [_texts(call["output"]) for call in calls[1:8:2]] == [[WELCOME]] * 4
    assert [_texts(call["output"]) for call in calls[8:]] == [[ANSWER]] * 2
    for call in calls[:8:2]:  # tool calls in each provider's format
        output = json.dumps(call["output"]).replace("\\", "")
        assert "track_parcel" in output
        assert json.dumps(ARGUMENTS) in output
    assert [call["time_to_first_token_ms"] is not None for call in calls] == [False, True] * 5


@pytest.mark.outer
def test_the_vercel_ai_sdk(server: LocalServer) -> None:
    """An agent with a tool is one trace, with and without streaming; model and tool spans have input and output."""
    require_node("ai")
    with ScriptedEndpoint(parcel_script()) as model:
        run_node("vercel_ai.cjs", "http/protobuf", f"{server.url}/v1/traces", model.url)
        asked = model.exchanges
    traces = all_traces(server)

    assert [trace["name"] for trace in traces] == ["whole: ai.generateText", "streamed: ai.streamText"]
    for trace, exchanges in zip(traces, (asked[:2], asked[2:]), strict=True):
        _assert_complete(trace, exchanges)
    assert [span["time_to_first_token_ms"] is not None for span in _model_calls(traces[1])] == [True, True]


def _assert_complete(trace: Mapping[str, Any], exchanges: Sequence[Exchange]) -> None:
    agent = next(span for span in trace["spans"] if span["parent_span_id"] is None)
    assert (agent["kind"], trace["status"], trace["user_id"], trace["session_id"]) == (
        "AGENT",
        "COMPLETED",
        "mira",
        "chat-1",
    )
    calls = _model_calls(trace)
    tools = [span for span in trace["spans"] if span["kind"] == "TOOL"]
    assert {span["parent_span_id"] for span in [*calls, *tools]} == {agent["span_id"]}
    assert len(trace["spans"]) == 4
    assert [(call["model"], *_spent(call)) for call in calls] == [("gpt-5", *counted(one)) for one in exchanges]
    assert trace["total_tokens"] == sum(map(sum, map(counted, exchanges))), "the agent's own sum was added"
    assert [(tool["name"], tool["input"]) for tool in tools] == [("track_parcel", ARGUMENTS)]
    assert tools[0]["output"] == {**ARGUMENTS, "state": "on its way"}
    first, second = calls
    assert _texts(first["input"]) == ["You help customers.", QUESTION]
    [call] = first["output"]["messages"][0]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("track_parcel", ARGUMENTS)
    assert [one["name"] for one in first["metadata"]["tools"]] == ["track_parcel"]
    assert [message["role"] for message in second["input"]["messages"]] == ["system", "user", "assistant", "tool"]
    assert second["input"]["messages"][-1]["tool_call_id"] == call["id"]
    answer = exchanges[1].reply.text
    assert answer is not None
    assert _texts(second["output"]) == _texts(trace["output"]) == [answer]


def _model_calls(trace: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = [span for span in trace["spans"] if span["kind"] == "LLM"]
    return sorted(found, key=lambda span: str(span["started_at"]))


def _spent(span: Mapping[str, Any]) -> tuple[int, int]:
    return span["token_usage"]["prompt_tokens"], span["token_usage"]["completion_tokens"]


def _texts(payload: Mapping[str, Any]) -> list[str]:
    """Return the texts of messages."""
    return [message["content"] for message in payload["messages"] if message.get("content")]
