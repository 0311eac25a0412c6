"""Traces that failed in different ways: for each way, several that belong to one group, and others that do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stored_traces import ROOT, call, identity, moment, span, tool

Body = dict[str, Any]
Scores = Sequence[Mapping[str, Any]]


def body(*spans: Body, status: str = "COMPLETED", name: str = "answer", **more: Any) -> Body:
    """Return a trace in the API's form, with these spans below its root."""
    root = {**span(name, "AGENT", 0, 50), "span_id": ROOT, "parent_span_id": None, **more.pop("root", {})}
    about = {"trace_id": identity(name), "name": name, "started_at": moment(0), "ended_at": moment(50)}
    return {**about, "status": status, "metadata": {}, "spans": [root, *spans], **more}


def failed_tool(name: str, error: str, start: float = 3, **more: Any) -> Body:
    """Return a tool call that raised an error."""
    arguments = more.pop("arguments", {})
    return tool(name, start, start + 1, arguments, **{"status": "ERROR", "error": error, "output": None, **more})


def said(text: str, start: float = 1, **more: Any) -> Body:
    """Return a model call whose answer is a text."""
    answer: Body = call(start, start + 1, said=text, **more)
    return answer


def stopped(reason: str, text: str = "It is") -> Body:
    """Return a model call with this finish reason."""
    return said(text, metadata={"finish_reasons": [reason]})


def score(name: str, value: float, reason: str) -> Mapping[str, Any]:
    """Return a score in the API's form."""
    return {"name": name, "value": str(value), "data_type": "NUMERIC", "status": "SUCCESS", "reason": reason}


def agents(*names: str, **more: Any) -> Body:
    """Return a trace in which each agent hands over to the next one."""
    spans: list[Body] = []
    for at, name in enumerate(names):
        agent = span(name, "AGENT", 2 * at + 1, 2 * at + 2.5)
        asks = call(
            2 * at + 1.1, 2 * at + 2, tools=[(f"transfer_to_{following}", {}) for following in names[at + 1 :][:1]]
        )
        spans += [agent, {**asks, "parent_span_id": agent["span_id"]}]
    return body(*spans, **more)


def searches(*texts: str) -> Body:
    """Return a trace whose agent searches for these texts."""
    return body(*(tool("search", at + 1, at + 1.5, {"query": text}) for at, text in enumerate(texts)))


def refunds(reason: str, ran: str = "look_up", **more: Any) -> tuple[Body, Scores]:
    """Return a trace in which the agent called another tool than the judge expected, and the judge's score."""
    return body(tool(ran, 1, 2, {}), tool("refund", 3, 4, {}), **more), [score("tool_correctness", 0.2, reason)]


def retrieved(retriever: str, reason: str) -> tuple[Body, Scores]:
    """Return a trace whose answer ignored a document, and the judge's score."""
    return body(span(retriever, "RETRIEVER", 1, 2, output=["Nine days."])), [score("faithfulness", 0.1, reason)]


@dataclass(frozen=True)
class Failure:
    """One kind of failure: traces that form one group, and traces that do not belong to it."""

    kind: str
    alike: Sequence[Any]
    others: Sequence[Any]


TYPE = {"exception_type": "builtins.LookupError"}
FAILURES: dict[str, Failure] = {
    "wrong tool": Failure(
        "judged",
        [
            refunds("The agent called `look_up` where it should have called `refund`."),
            refunds("refund was needed, and look_up is what came first (at 12:30)."),
        ],
        [refunds("It should not have called send_email.", ran="send_email"), searches("a")],
    ),
    "loop": Failure(
        "loop",
        [searches("a", "a", "a"), searches("z", *"a" * 7)],
        [searches(*"abcdefg"), searches("a", "a"), searches("a", "b", "a", "b")],
    ),
    "loop of two": Failure(
        "loop",
        [
            body(*(tool("ab"[at % 2], at + 1, at + 1.5, {}) for at in range(6))),
            body(*(tool("ab"[at % 2], at, at + 0.5, {}) for at in range(1, 12))),
        ],
        [searches("a", "a", "a")],
    ),
    "bad arguments": Failure(
        "bad arguments",
        [
            body(failed_tool("refund", "refund() missing 1 required positional argument: 'amount'",
                             arguments={"order": 17})),
            body(failed_tool("refund", "TypeError: refund() missing 1 required positional argument: 'amount'",
                             arguments={"order": 99}), status="ERROR"),
            body(failed_tool("refund", "1 validation error for Refund\namount\n  Field required [type=missing, "
                             "input_value={'order': 99}, input_type=dict]")),
            body(failed_tool("refund", "'amount' is a required property\n\nFailed validating 'required' in schema")),
        ],
        [
            body(failed_tool("refund", "refund() missing 1 required positional argument: 'currency'")),
            body(failed_tool("refund", "refund() got an unexpected keyword argument 'amount'")),
            body(failed_tool("refund", "1 validation error for Refund\namount\n  Input should be a valid number "
                             "[type=float_parsing, input_value='much', input_type=str]")),
            body(failed_tool("charge", "charge() missing 1 required positional argument: 'amount'")),
        ],
    ),
    "tool exception": Failure(
        "exception",
        [
            body(failed_tool("look_up", "order 7431 not found", metadata=TYPE), status="ERROR"),
            body(failed_tool("look_up", "LookupError: order 99 not found"), name="other agent"),
            body(failed_tool("look_up", "order A-17 not found\n  in shop", metadata=TYPE), status="ERROR",
                 root={"status": "ERROR", "error": "order A-17 not found", "metadata": TYPE}),
        ],
        [
            body(failed_tool("look_up", "PermissionError: order 7431 not found")),
            body(failed_tool("look_up", "customer 7431 not found", metadata=TYPE)),
            body(failed_tool("refund", "order 7431 not found", metadata=TYPE)),
        ],
    ),
    "ignored document": Failure(
        "judged",
        [
            retrieved("kb", "The answer contradicts the document about islands."),
            retrieved("kb", "Nine days are promised by no source that was cited, 3 of 4 claims fail."),
        ],
        [retrieved("web", "The answer contradicts the document about islands.")],
    ),
    "truncated": Failure(
        "truncated",
        [body(stopped("length")), body(stopped("max_tokens", "Your order is")), body(stopped("MAX_TOKENS"))],
        [body(stopped("stop"))],
    ),
    "refused": Failure(
        "refused",
        [
            body(said("I can't help with that.")),
            body(said("I cannot assist you with this request, since order 17 is not yours.")),
            body(said("I’m sorry, but I can’t help with that.")),
            body(said("", metadata={"finish_reasons": ["refusal"]})),
        ],
        [
            body(stopped("content_filter")),
            body(said("I can't find order 17, but I can help you with another one.")),
            body(said("I can help with that.")),
        ],
    ),
    "timeout": Failure(
        "timeout",
        [
            body(failed_tool("refund", "payment service timed out: 8.0 s")),
            body(failed_tool("refund", "", metadata={"exception_type": "builtins.TimeoutError"}), status="ERROR"),
            body(failed_tool("refund", "TimeoutError")),
            body(failed_tool("refund", "httpx.ReadTimeout: The read operation timed out")),
            body(tool("refund", 3, 4, {}, status="UNSET", metadata={"outcome": "timed_out"})),
        ],
        [
            body(call(1, 2, status="ERROR", error="Request timed out.")),
            body(failed_tool("refund", "ValueError: the timeout must be positive")),
        ],
    ),
    "wrong hand-off": Failure(
        "hand-off",
        [agents("A", "B", "A"), agents("A", "B", "A", "D"), agents("A", "B", "A", "B", name="other agent")],
        [agents("A", "B", "C"), agents("A", "C", "A")],
    ),
    "broken JSON": Failure(
        "broken JSON",
        [
            body(said('```json\n{"a": 1}\n```', metadata={"output_type": "json"})),
            body(said('Here it is:\n```\n{"b": [2, 3]}\n```', metadata={"output_type": "json"})),
            body(said('```json\n{"a": 1}\n```'), status="ERROR", root={
                "status": "ERROR", "error": "Expecting value: line 1 column 1 (char 0)",
                "metadata": {"exception_type": "json.decoder.JSONDecodeError"}}),
        ],
        [
            body(said('{"a": [1, 2', metadata={"output_type": "json"})),
            body(said("The status is fine.", metadata={"output_type": "json"})),
            body(said("{'a': 1}", metadata={"output_type": "json"})),
            body(said('{"a": 1}', metadata={"output_type": "json"})),
            body(said('```json\n{"a": 1}\n```')),
        ],
    ),
    "unknown tool": Failure(
        "unknown tool",
        [
            body(call(1, 2, tools=[("refnud", {"order": 17})], model_parameters={"tools": [{"name": "refund"}]})),
            body(failed_tool("refnud", "Unknown tool: refnud")),
            body(span("run", "CHAIN", 1, 2, status="ERROR", error="KeyError: Tool 'refnud' not found in [refund]")),
        ],
        [
            body(call(1, 2, tools=[("refund", {"order": 17})], model_parameters={"tools": [{"name": "refund"}]})),
            body(call(1, 2, tools=[("refnud", {"order": 17})])),
        ],
    ),
}  # fmt: skip
"""The ten kinds of failure, a loop of two, and a call of an unknown tool."""
