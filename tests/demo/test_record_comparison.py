"""The demonstration's comparison, which accepts exactly the traces of what was done."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from pandaprobe_otel.demo.completions import Reply, ToolCall, completion
from pandaprobe_otel.demo.record_comparison import check_session
from pandaprobe_otel.demo.recorded_turns import ToolRun, Turn, turns_of
from pandaprobe_otel.demo.scripted_endpoint import Exchange, Message, ScriptedEndpoint

SESSION = "s-1"
FAILED = ToolCall(name="add", arguments={"a": "x"})
WORKED = ToolCall(name="add", arguments={"a": "1"})


def exchanges() -> tuple[Exchange, ...]:
    """Return two turns: the first with a failed and a good tool call, the second streamed."""
    replies = iter(
        [Reply(tool_calls=(FAILED, WORKED)), Reply(text="It is two."), Reply(text="It is two, so to speak.")]
    )
    messages: list[Message] = [{"role": "user", "content": "One and one?"}]
    endpoint = ScriptedEndpoint(lambda _: next(replies))
    first = endpoint.answer({"model": "m", "messages": list(messages)})
    messages.append(_answer_message(first))
    ids = [call["id"] for call in messages[-1]["tool_calls"]]
    messages.append({"role": "tool", "tool_call_id": ids[0], "content": "error: x is no number"})
    messages.append({"role": "tool", "tool_call_id": ids[1], "content": '{"sum": 2}'})
    messages.append(_answer_message(endpoint.answer({"model": "m", "messages": list(messages)})))
    messages.append({"role": "user", "content": "Longer, please."})
    endpoint.answer({"model": "m", "messages": list(messages), "stream": True})
    with endpoint:
        return endpoint.exchanges


def _answer_message(exchange: Exchange) -> dict[str, Any]:
    body = completion(
        response_id=exchange.response_id, model=exchange.model, reply=exchange.reply, usage=exchange.usage
    )
    message: dict[str, Any] = body["choices"][0]["message"]
    return message


def faithful(turns: list[Turn]) -> list[dict[str, Any]]:
    """Return the traces of these turns as PandaProbe should return them."""
    return [_trace(number, turn) for number, turn in enumerate(turns)]


def _trace(number: int, turn: Turn) -> dict[str, Any]:
    root = {"span_id": f"{number}-root", "parent_span_id": None, "name": "agent", "kind": "AGENT", "status": "OK"}
    below = [_model_span(exchange) for exchange in turn.exchanges] + [_tool_span(tool) for tool in turn.tools]
    spans = [root, *({**span, "parent_span_id": root["span_id"]} for span in below)]
    return {
        "trace_id": f"trace-{number}",
        "name": "agent",
        "session_id": SESSION,
        "status": "COMPLETED",
        "started_at": f"2026-01-01T00:00:0{number}+00:00",
        "input": {"messages": [{"role": "user", "content": turn.question}]},
        "output": turn.answer,
        "spans": [
            {**span, "span_id": span.get("span_id", f"{number}-{position}"), "started_at": f"2026-01-01T{position:02}"}
            for position, span in enumerate(spans)
        ],
    }


def _model_span(exchange: Exchange) -> dict[str, Any]:
    return {
        "name": "chat m",
        "kind": "LLM",
        "status": "OK",
        "model": exchange.model,
        "input": {"messages": copy.deepcopy(exchange.request["messages"])},
        "output": {"messages": [_answer_message(exchange)]},
        "token_usage": exchange.usage.as_dict(),
        "completion_start_time": "2026-01-01T00:00:01+00:00" if exchange.streamed else None,
    }


def _tool_span(tool: ToolRun) -> dict[str, Any]:
    return {
        "name": tool.name,
        "kind": "TOOL",
        "status": "ERROR" if tool.error else "OK",
        "error": f"ValueError: {tool.error}" if tool.error else None,
        "input": dict(tool.arguments),
        "output": tool.result,
    }


def of_kind(trace: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return the spans of one kind."""
    return [span for span in trace["spans"] if span["kind"] == kind]


def test_turns_are_read_from_the_exchanges() -> None:
    """A turn begins with a user's message, and has the agent's tool calls with their results."""
    first, second = turns_of(exchanges())

    assert (first.question, first.answer, len(first.exchanges)) == ("One and one?", "It is two.", 2)
    assert first.tools == (
        ToolRun(name="add", arguments={"a": "x"}, result=None, error="x is no number"),
        ToolRun(name="add", arguments={"a": "1"}, result={"sum": 2}, error=None),
    )
    assert (second.question, second.tools, second.exchanges[0].streamed) == ("Longer, please.", (), True)


def test_faithful_traces_are_accepted() -> None:
    """Faithful traces pass every check, even if values are JSON text."""
    turns = turns_of(exchanges())
    traces = faithful(turns)
    for span in of_kind(traces[0], "TOOL"):
        span["input"] = json.dumps(span["input"])

    checks = check_session(turns, traces, SESSION)

    assert [check.wrong for check in checks] == [()] * 6


def _set(kind: str, position: int, /, **fields: Any) -> Callable[[list[dict[str, Any]]], None]:
    def change(traces: list[dict[str, Any]]) -> None:
        spans = [span for trace in traces for span in of_kind(trace, kind)]
        spans[position].update(fields)

    return change


def _set_trace(**fields: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda traces: traces[1].update(fields)


def _without_a(kind: str) -> Callable[[list[dict[str, Any]]], None]:
    return lambda traces: traces[0]["spans"].remove(of_kind(traces[0], kind)[0])


@pytest.mark.parametrize(
    ("change", "statement"),
    [
        (lambda traces: traces.pop(), "2 traces in session"),
        (lambda traces: traces.append(traces[0]), "2 traces in session"),
        (_set_trace(session_id=None), "carries the session"),
        (_set_trace(status="ERROR"), "carries the session"),
        (_set_trace(input=None), "its question"),
        (_set_trace(output=""), "its answer"),
        (_set("AGENT", 0, kind="CHAIN"), "root is an AGENT"),
        (_set("LLM", 0, parent_span_id="lost"), "below it"),
        (_set("TOOL", 0, parent_span_id=None), "root is an AGENT"),
        (_without_a("LLM"), "LLM spans"),
        (_set("LLM", 1, model="other"), "LLM spans with model"),
        (_set("LLM", 1, input={"messages": []}), "messages"),
        (_set("LLM", 0, output={"messages": [{"role": "assistant", "content": "no"}]}), "messages"),
        (_set("LLM", 2, completion_start_time=None), "first-token time"),
        (_set("LLM", 2, token_usage={"prompt_tokens": 1, "completion_tokens": 1}), "completion tokens"),
        (_set("LLM", 2, token_usage=None), "completion tokens"),
        (_set("AGENT", 0, token_usage={"prompt_tokens": 1, "completion_tokens": 1}), "completion tokens"),
        (_without_a("TOOL"), "TOOL spans"),
        (_set("TOOL", 0, name="subtract"), "TOOL spans"),
        (_set("TOOL", 0, input={"a": "y"}), "TOOL spans with arguments"),
        (_set("TOOL", 1, output={"sum": 3}), "results"),
        (_set("TOOL", 1, status="ERROR"), "ERROR"),
        (_set("TOOL", 0, status="OK"), "ERROR"),
        (_set("TOOL", 0, error="another one"), "ERROR"),
    ],
)
def test_anything_else_is_refused(change: Callable[[list[dict[str, Any]]], Any], statement: str) -> None:
    """If one field of a trace is different, the check of this field fails."""
    turns = turns_of(exchanges())
    traces = faithful(turns)
    change(traces)

    wrong = [check for check in check_session(turns, traces, SESSION) if not check.ok]

    assert any(statement in check.statement for check in wrong)


def test_nothing_at_all_is_refused() -> None:
    """A session without a trace fails the check of its number of traces."""
    (check,) = check_session(turns_of(exchanges()), [], SESSION)

    assert check.wrong == ("0 traces came back",)
