"""The cache's key: the content of a trace, without the ids, times and counts that differ in each run."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI

from pandaprobe_otel.evals import evaluate
from pandaprobe_otel.evals.traces import TraceRecord
from provider_server import ProviderServer, Reply, json_reply
from span_recorder import recording


def trace(*, call: str, response: str, at: int = 0, tokens: int = 7, **changed: Any) -> TraceRecord:
    """Return a trace of a model call, a tool and a second model call, with ids wherever model providers put them."""
    said = {"query": "kettle", "answer": "39.00", "tool": "look_up", "model": "gpt"} | changed
    asked = [
        {"role": "user", "content": said["query"]},
        {
            "role": "assistant",
            "id": response,
            "content": None,
            "tool_calls": [{"id": call, "type": "function", "function": {"name": said["tool"], "arguments": {}}}],
        },
    ]
    answered = [{"role": "tool", "tool_call_id": call, "content": said["answer"]}]
    usage = {"prompt_tokens": tokens, "completion_tokens": tokens}

    def span(number: int, kind: str, **fields: Any) -> dict[str, Any]:
        times = {"started_at": f"2026-01-01T00:00:{at + number:02}Z", "ended_at": f"2026-01-01T00:00:{at + number:02}Z"}
        return {"span_id": f"{response}{number}", "name": kind, "kind": kind, "metadata": {}, **times, **fields}

    spans = [
        span(1, "LLM", model=said["model"], output={"messages": asked[1:]}, token_usage=usage, cost={"total": tokens}),
        span(2, "TOOL", name=said["tool"], output=said["answer"], metadata={"tool_call_id": call}),
        span(
            3,
            "LLM",
            input={"messages": asked + answered},
            metadata={"response_id": response, "attributes": {"openai.response.system_fingerprint": response}},
            output=f"done (see {call})" if len(call) > 7 else "done",
        ),
    ]
    return TraceRecord({"trace_id": response, "name": "t", "started_at": "2026-01-01T00:00:00Z", "spans": spans})


@settings(max_examples=50)
@given(
    ids=st.lists(st.uuids().map(lambda one: f"call_{one.hex}"), min_size=4, max_size=4, unique=True),
    at=st.integers(0, 50),
)
def test_ids_times_and_counts_are_no_behaviour(ids: list[str], at: int) -> None:
    """The same answers with other ids, times and token counts have the same key."""
    one = trace(call=ids[0], response=ids[1])
    assert one.content_hash == trace(call=ids[2], response=ids[3], at=at, tokens=9).content_hash


@pytest.mark.parametrize("changed", [{"query": "lamp"}, {"answer": "call_1"}, {"tool": "find"}, {"model": "other"}])
def test_different_content_is_different_behaviour(changed: dict[str, Any]) -> None:
    """Different content has a different key, even if the content looks like an id."""
    assert trace(call="call_2", response="r").content_hash != trace(call="call_2", response="r", **changed).content_hash
    same = trace(call="call_2", response="r", answer="call_2").content_hash
    assert same != trace(call="call_1", response="r", answer="call_1").content_hash


def test_links_between_calls_and_results_are_behaviour() -> None:
    """The key contains which result belongs to which call, but not the spelling of the ids."""

    def two(first: str, second: str) -> str:
        calls = [
            {"id": name, "type": "function", "function": {"name": name[0], "arguments": {}}} for name in ("a1", "b1")
        ]
        results = [{"role": "tool", "tool_call_id": name, "content": "x"} for name in (first, second)]
        span = {
            "span_id": "1",
            "kind": "LLM",
            "input": {"messages": [{"role": "assistant", "tool_calls": calls}, *results]},
        }
        return TraceRecord({"trace_id": "t", "spans": [{**span, "started_at": "2026-01-01T00:00:00Z"}]}).content_hash

    assert two("a1", "b1") != two("b1", "a1")


def test_a_client_of_openai_gives_the_same_key_each_time() -> None:
    """Two runs with OpenAI's client have one key, although the model service returns new ids each time."""

    def reply(**message: Any) -> Reply:
        return json_reply(
            {
                "id": f"chatcmpl-{uuid.uuid4().hex}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": "gpt-4o",
                "system_fingerprint": uuid.uuid4().hex,
                "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11},
            }
        )

    def calls() -> list[Any]:
        function = {"name": "look_up", "arguments": '{"number": "17"}'}
        return [{"id": f"call_{uuid.uuid4().hex}", "type": "function", "function": function}]

    with ProviderServer() as server, recording():
        replies = [(reply(content=None, tool_calls=calls()), reply(content="it is 39.00")) for _ in range(2)]
        server.replies(*replies[0], *replies[1])
        client = OpenAI(base_url=server.url, api_key="none", max_retries=0)

        def task(question: str) -> str | None:
            messages: list[Any] = [{"role": "user", "content": question}]
            answer = client.chat.completions.create(model="gpt-4o", messages=messages).choices[0].message
            for call in answer.tool_calls or ():
                messages += [
                    answer.model_dump(exclude_none=True),
                    {"role": "tool", "tool_call_id": call.id, "content": "39"},
                ]
            return client.chat.completions.create(model="gpt-4o", messages=messages).choices[0].message.content

        traces = [evaluate(["17?"], task).cases[0].traces[0] for _ in range(2)]
    texts = [json.dumps(one) for one in traces]
    assert all(text.count("call_") >= 2 for text in texts), texts
    assert len({TraceRecord(one).content_hash for one in traces}) == 1
