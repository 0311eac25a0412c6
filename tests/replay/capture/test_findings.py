"""Findings: faults of a program that show in its trace, by the use that it made of the model's answers."""

from __future__ import annotations

from typing import Any

import pytest

from pandaprobe_otel.replay.capture.findings import findings
from pandaprobe_otel.replay.capture.ordered_trace import StoredTrace
from pandaprobe_otel.replay.capture.similar_traces import alike
from stored_traces import call, span, tool, trace

ASKS = call(1, 2, tools=[("look_up", {"number": "A-17"})])
RESULT = {"role": "tool", "tool_call_id": "look_up-0", "content": "done"}
SAID = [{"role": "user", "content": "Where?"}, RESULT]
ENDS = call(10, 11, asked=SAID, said="Here.")
RAN = tool("look_up", 3, 4, {"number": "A-17"})
TOLD = 'probe.spans.llm().where(lambda span: "done" in str(span.input)).called()'
LOOK_UP = 'probe.spans.tool("look_up").with_args(number="A-17")'

FOUND: dict[str, tuple[StoredTrace, list[tuple[str, int]]]] = {
    "all is well": (trace(ASKS, RAN, ENDS), []),
    "another tool": (trace(ASKS, tool("refund", 3, 4, {"number": "A-17"}), ENDS), [(f"{LOOK_UP}.called()", 1)]),
    "other arguments": (trace(ASKS, tool("look_up", 3, 4, {"number": "17"}), ENDS), [(f"{LOOK_UP}.called()", 1)]),
    "twice": (trace(ASKS, RAN, tool("look_up", 5, 6, {"number": "A-17"}), ENDS), [(f"{LOOK_UP}.called(1)", 1)]),
    "a default beside what was asked for": (
        trace(ASKS, tool("look_up", 3, 4, {"number": "A-17", "deep": False}), ENDS),
        [],
    ),
    "asked for twice at once": (
        trace(call(1, 2, tools=[("look_up", {"number": "A-17"})] * 2), RAN, tool("look_up", 3, 5, {"number": "A-17"}),
              call(10, 11, asked=[*SAID, {**RESULT, "tool_call_id": "look_up-1"}], said="Here.")),
        [],
    ),
    "a result that was not told": (trace(ASKS, RAN, call(10, 11, said="Hm.")), [(TOLD, 1)]),
    "another agent": (
        trace(call(1, 2, tools=[("transfer_to_billing", {})]), span("shipping", "AGENT", 3, 9)),
        [('probe.spans.agent("billing").called()', 1)],
    ),
    "the agent by its longer name": (
        trace(call(1, 2, tools=[("transfer_to_billing_agent", {})]), span("Billing Agent", "AGENT", 3, 9)),
        [],
    ),
    "a document that was not told": (
        trace(span("search", "RETRIEVER", 0.1, 0.5, output=[{"content": "Nine days."}]), call(1, 2, said="Hm.")),
        [('probe.spans.llm().where(lambda span: "Nine days." in str(span.input)).called()', 0)],
    ),
    "an answer that was cut": (
        trace(call(1, 2, said="It is", metadata={"finish_reasons": ["length"]}), output="It is"),
        [('probe.spans.named("answer").where(lambda span: "It is" in str(span.output)).not_called()', 1)],
    ),
    "an exception": (
        trace(ASKS, {**RAN, "status": "ERROR", "error": "no order"}, status="ERROR", error="no order",
              metadata={"exception_type": "builtins.LookupError"}),
        [('probe.spans.named("answer").where(lambda span: span.error_type == "builtins.LookupError").not_called()', 1)],
    ),
    "an exception that was handled": (trace(ASKS, {**RAN, "status": "ERROR", "error": "no order"}, ENDS), []),
    "cancelled": (
        trace(ASKS, RAN, ENDS, metadata={"outcome": "cancelled"}, output=None),
        [('probe.spans.named("answer").where(lambda span: span.outcome == "cancelled").not_called()', 2)],
    ),
    "a chain of calls without tools": (trace(call(1, 2, said="One."), call(3, 4, said="Two.")), []),
    "calls that the program gives to who called it": (trace(ASKS), []),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_it_is_found_and_nothing_else(name: str) -> None:
    """Each failure has its assertion and the last call that a fixed program still makes."""
    given, expected = FOUND[name]
    assert [(one.asserts, one.after) for one in findings(given)] == expected


def test_traces_that_failed_alike_are_one_group() -> None:
    """Traces of the same program with the same failure are one group, whatever the numbers in them."""

    def wrong(number: str, **more: Any) -> StoredTrace:
        asks = call(1, 2, tools=[("look_up", {"number": number})])
        return trace(asks, tool("look_up", 3, 4, {"number": "1"}), ENDS, **more)

    groups = alike([wrong("A-17"), wrong("B-2"), FOUND["twice"][0], FOUND["all is well"][0]])
    assert [len(group.traces) for group in groups] == [2, 1, 1]


def test_traces_are_grouped_as_failures_are() -> None:
    """Groups differ by the failure's fingerprint, the metric of a low score, and the program, not by earlier steps."""

    def failing(error: str, *before: dict[str, Any], **root: Any) -> StoredTrace:
        failed = tool("refund", 8, 9, {"order": 1}, status="ERROR", error=error, output=None)
        return trace(*before, failed, status="ERROR", error=error, **root)

    first, second = failing("LookupError: order 17 is gone"), failing("LookupError: order 9 is gone", ASKS, RAN)
    others = [failing("KeyError: 'order'"), failing("LookupError: order 17 is gone", name="another program")]
    assert [len(group.traces) for group in alike([first, second, *others])] == [2, 1, 1]

    good, bad = trace(ASKS, RAN, ENDS), trace(RAN)
    low = {"name": "task_completion", "value": "0.2", "reason": "look_up was of no use"}
    other = {**low, "name": "coherence"}
    identity = {"trace_id": "0f0c0000-0000-0000-0000-000000000001"}
    judged = [good, StoredTrace({**bad.body, **identity})]
    scores = {
        good.trace_id: [low],
        identity["trace_id"]: [{**low, "reason": "It asked look_up, at 12:30, for no reason"}],
    }
    assert [len(group.traces) for group in alike(judged, scores)] == [2]
    assert [len(group.traces) for group in alike(judged, {**scores, good.trace_id: [other]})] == [1, 1]
