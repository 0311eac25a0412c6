"""Comparison of the traces read from PandaProbe with the scripted endpoint's own record, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pandaprobe_otel.demo.recorded_turns import ToolRun, Turn
from pandaprobe_otel.demo.scripted_endpoint import Exchange

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A statement about the traces. `wrong` lists the deviations, and is empty if the statement is true."""

    statement: str
    wrong: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if the statement is true."""
        return not self.wrong


def check_session(turns: Sequence[Turn], traces: Sequence[Fields], session_id: str) -> list[Check]:
    """Compare the traces of a session, as GET /traces/{id} returns them, with the recorded turns."""
    ordered = sorted(traces, key=lambda trace: str(trace["started_at"]))
    count = Check(
        statement=f"{len(turns)} traces in session {session_id}",
        wrong=() if len(ordered) == len(turns) else (f"{len(ordered)} traces came back",),
    )
    if not count.ok or not turns:
        return [count]
    pairs = list(zip(turns, ordered, strict=True))
    models = sum(len(turn.exchanges) for turn in turns)
    tools = [tool for turn in turns for tool in turn.tools]
    failed = sum(tool.error is not None for tool in tools)
    prompt, completion = _sums(turns)
    statements = (
        ("each trace carries the session, its question and its answer", _traces(pairs, session_id)),
        ("each root is an AGENT span, and all other spans are below it", _trees(pairs)),
        (f"{models} LLM spans with model, messages and first-token time", _models(pairs)),
        (f"{prompt} prompt and {completion} completion tokens, as the endpoint counted", _tokens(pairs)),
        (f"{len(tools)} TOOL spans with arguments and results, {failed} of them an ERROR", _tools(pairs)),
    )
    return [count, *(Check(statement=text, wrong=tuple(wrong)) for text, wrong in statements)]


def _sums(turns: Sequence[Turn]) -> tuple[int, int]:
    usages = [exchange.usage for turn in turns for exchange in turn.exchanges]
    return sum(usage.prompt_tokens for usage in usages), sum(usage.completion_tokens for usage in usages)


Pairs = Sequence[tuple[Turn, Fields]]


def _traces(pairs: Pairs, session_id: str) -> Iterator[str]:
    for turn, trace in pairs:
        if trace.get("session_id") != session_id:
            yield f"session_id is {trace.get('session_id')!r}"
        if trace.get("status") != "COMPLETED":
            yield f"trace status is {trace.get('status')}"
        if turn.question not in _text(trace.get("input")):
            yield f"trace input is {_text(trace.get('input'))}"
        if turn.answer not in _text(trace.get("output")):
            yield f"trace output is {_text(trace.get('output'))}"


def _trees(pairs: Pairs) -> Iterator[str]:
    for _, trace in pairs:
        roots = [span for span in trace["spans"] if span.get("parent_span_id") is None]
        if [root.get("kind") for root in roots] != ["AGENT"]:
            yield f"{trace['name']}: root spans {[(root.get('name'), root.get('kind')) for root in roots]}"
            continue
        for span in trace["spans"]:
            if span is not roots[0] and span.get("parent_span_id") != roots[0]["span_id"]:
                yield f"{span['name']} is not below {roots[0]['name']}"


def _models(pairs: Pairs) -> Iterator[str]:
    for turn, trace in pairs:
        spans = _of_kind(trace, "LLM")
        if len(spans) != len(turn.exchanges):
            yield f"{trace['name']}: {len(spans)} LLM spans for {len(turn.exchanges)} calls"
            continue
        for exchange, span in zip(turn.exchanges, spans, strict=True):
            yield from _model(exchange, span)


def _model(exchange: Exchange, span: Fields) -> Iterator[str]:
    if span.get("model") != exchange.model:
        yield f"model is {span.get('model')!r}, not {exchange.model!r}"
    wanted = [_content(message) for message in exchange.request["messages"]]
    found = [_content(message) for message in _messages(span.get("input"))]
    if found != wanted:
        yield f"input messages are {found}, not {wanted}"
    answered = [_content(message) for message in _messages(span.get("output"))]
    calls = [(call.name, dict(call.arguments)) for call in exchange.reply.tool_calls]
    if answered != [("assistant", exchange.reply.text or "", calls)]:
        yield f"output messages are {answered}"
    if exchange.streamed and not span.get("completion_start_time"):
        yield "a streamed answer has no completion_start_time"


def _tokens(pairs: Pairs) -> Iterator[str]:
    for turn, trace in pairs:
        wanted = [(exchange.usage.prompt_tokens, exchange.usage.completion_tokens) for exchange in turn.exchanges]
        spans = sorted(trace["spans"], key=lambda span: str(span["started_at"]))
        usages: list[Fields] = [span.get("token_usage") or {} for span in spans]
        found = [(usage.get("prompt_tokens"), usage.get("completion_tokens")) for usage in usages if usage]
        if found != wanted:
            yield f"{trace['name']}: {found}, not {wanted}"


def _tools(pairs: Pairs) -> Iterator[str]:
    for turn, trace in pairs:
        spans = _of_kind(trace, "TOOL")
        if len(spans) != len(turn.tools):
            yield f"{trace['name']}: {len(spans)} TOOL spans for {len(turn.tools)} calls"
            continue
        for tool, span in zip(turn.tools, spans, strict=True):
            yield from _tool(tool, span)


def _tool(tool: ToolRun, span: Fields) -> Iterator[str]:
    if span["name"] != tool.name:
        yield f"tool {span['name']}, not {tool.name}"
    if _value(span.get("input")) != dict(tool.arguments):
        yield f"{tool.name}: arguments {_text(span.get('input'))}, not {_text(dict(tool.arguments))}"
    if tool.error is not None:
        if span.get("status") != "ERROR" or tool.error not in str(span.get("error")):
            yield f"{tool.name}: {span.get('status')} {span.get('error')!r}, not the error {tool.error!r}"
    elif span.get("status") == "ERROR" or _value(span.get("output")) != tool.result:
        yield f"{tool.name}: {span.get('status')} {_text(span.get('output'))}, not {_text(tool.result)}"


def _of_kind(trace: Fields, kind: str) -> list[Fields]:
    spans = [span for span in trace["spans"] if span.get("kind") == kind]
    return sorted(spans, key=lambda span: str(span["started_at"]))


def _content(message: Fields) -> tuple[str, str, list[tuple[str, Any]]]:
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    content = message.get("content") or ""
    return (
        str(message.get("role")),
        content if isinstance(content, str) else _text(content),
        [(call["name"], _value(call["arguments"])) for call in calls],
    )


def _messages(value: Any) -> list[Fields]:
    return list(cast("Fields", value).get("messages") or ()) if isinstance(value, dict) else []


def _value(value: Any) -> Any:
    """Return a value, decoded if it was sent as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
