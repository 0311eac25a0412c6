"""The demonstration's comparison, which accepts exactly the traces of what was done."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

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


def test_faithful_traces_are_accepted() -> None:
    """Faithful traces pass every check, even if values are JSON text."""
    turns = turns_of(exchanges())
    traces = faithful(turns)
    for span in of_kind(traces[0], "TOOL"):
        span["input"] = json.dumps(span["input"])

    checks = check_session(turns, traces, SESSION)

    assert [check.wrong for check in checks] == [()] * 6


TOKENS = {"prompt_tokens": 1, "completion_tokens": 1}
COMPARED = {
    "AGENT": ("kind",),
    "LLM": ("kind", "parent_span_id", "model", "input", "output", "token_usage", "completion_start_time"),
    "TOOL": ("parent_span_id", "kind", "name", "input", "output", "status", "error"),
}
"""Fields of spans that the comparison covers, by kind."""


def changed(traces: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the traces with one trace or span missing or doubled, or with one field changed."""
    yield "a missing trace", traces[1:]
    yield "a doubled trace", [*traces, traces[0]]
    for at, trace in enumerate(traces):
        for name in ("session_id", "status", "input", "output"):
            yield name, [*traces[:at], {**trace, name: _wrong(trace[name])}, *traces[at + 1 :]]
        for position, span in enumerate(trace["spans"]):
            before, after = trace["spans"][:position], trace["spans"][position + 1 :]
            known = [name for name in COMPARED[span["kind"]] if span.get(name) is not None]
            others = [{**span, name: _wrong(span[name])} for name in known]
            others += [{**span, "token_usage": TOKENS}] if span["kind"] == "AGENT" else []
            for spans in ([], *([other] for other in others)):
                whole = {**trace, "spans": [*before, *spans, *after]}
                yield f"{spans} for {span}", [*traces[:at], whole, *traces[at + 1 :]]


def _wrong(value: Any) -> Any:
    """Return another value of a field."""
    if value in ("OK", "ERROR"):
        return "ERROR" if value == "OK" else "OK"
    return "other" if isinstance(value, str) and not value.startswith("2026") else None


def test_any_other_trace_is_refused() -> None:
    """If anything of the traces is different, a check fails."""
    turns = turns_of(exchanges())

    for change, traces in changed(faithful(turns)):
        assert not all(check.ok for check in check_session(turns, traces, SESSION)), change


def test_nothing_at_all_is_refused() -> None:
    """A session without a trace fails the check of its number of traces."""
    (check,) = check_session(turns_of(exchanges()), [], SESSION)

    assert check.wrong == ("0 traces came back",)
