"""Grouping of failures: equal failures have the same fingerprint, and different failures have different ones."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failed_traces import FAILURES, agents, body, failed_tool, said, score, searches
from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.failures.finding import RANK, RULE_OF, FailureKind, Finding
from pandaprobe_otel.mapping import map_trace
from span_recorder import SpanRecorder
from stored_traces import call, span, tool

TOOL_CALL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "refund"}


def _found(given: Any) -> list[Finding]:
    trace, scores = given if isinstance(given, tuple) else (given, ())
    return find_failures(trace, scores)


@pytest.mark.parametrize("name", FAILURES)
def test_traces_that_failed_alike_are_one_group_and_no_others_are(name: str) -> None:
    """In each row of the table, traces that failed alike share fingerprint and kind, which other traces do not."""
    failure = FAILURES[name]
    (fingerprint,) = {_found(one)[0].fingerprint for one in failure.alike}
    assert {_found(one)[0].kind for one in failure.alike} == {failure.kind}
    for other in failure.others:
        assert fingerprint not in {one.fingerprint for one in _found(other)}


def test_different_failures_have_different_fingerprints() -> None:
    """Different rows of the table have different fingerprints."""
    assert len({_found(one.alike[0])[0].fingerprint for one in FAILURES.values()}) == len(FAILURES)


@pytest.mark.parametrize("kind", FailureKind)
def test_each_kind_says_why(kind: FailureKind) -> None:
    """Each kind of failure has a rule that explains it in a sentence."""
    assert RULE_OF[kind].endswith(".")


class Mutation:
    """A change of everything that differs between two runs of a program: ids, dates, numbers and the order of spans."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.shift = self.chance.randint(0, 5)
        self.ids: dict[str, str] = {}

    def trace(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the trace as another run would have made it."""
        trace = deepcopy(dict(given))
        trace["trace_id"] = self.id(trace["trace_id"])
        trace["user_id"], trace["session_id"] = self.id("user"), self.id("session")
        trace["release"] = f"{self.chance.randint(1, 9)}.{self.chance.randint(0, 99)}"
        trace["name"] = f"agent {self.chance.randint(0, 99)}"
        for one in trace["spans"]:
            one["span_id"] = self.id(one["span_id"])
            if one["parent_span_id"] is not None:
                one["parent_span_id"] = self.id(one["parent_span_id"])
            for name in ("started_at", "ended_at"):
                one[name] = re.sub(
                    r"T11:(\d\d):(\d\d)", lambda found: f"T1{self.shift}:{found[1]}:{found[2]}", one[name]
                )
            if one.get("error"):
                one["error"] = self.text(one["error"])
        self.chance.shuffle(trace["spans"])
        return trace

    def id(self, old: str) -> str:
        """Return the same new id for each use of an old one."""
        return self.ids.setdefault(old, str(UUID(int=self.chance.getrandbits(128))))

    def text(self, old: str) -> str:
        """Return the text with other numbers."""
        return re.sub(r"(?<![\w.-])\d+(?![\w.-])", lambda _: str(self.chance.randint(2, 10**6)), old)


@given(
    st.integers(0, 2**32),
    st.sampled_from([(name, at) for name, one in FAILURES.items() for at in range(len(one.alike))]),
)
def test_ids_dates_numbers_and_order_change_nothing(seed: int, which: tuple[str, int]) -> None:
    """The fingerprints of a failure are the same after changes of ids, dates, numbers and order."""
    given = FAILURES[which[0]].alike[which[1]]
    trace, scores = given if isinstance(given, tuple) else (given, ())
    changed = find_failures(Mutation(seed).trace(trace), scores)
    assert [one.fingerprint for one in changed] == [one.fingerprint for one in find_failures(trace, scores)]


def test_the_highest_rank_comes_first() -> None:
    """Exceptions come before timeouts, timeouts before loops, and scores last; of equal kinds the earlier is first."""
    late = failed_tool("b", "ValueError: late", 30)
    trace = body(
        *searches("a", "a", "a")["spans"][1:],
        late,
        failed_tool("a", "ValueError: early", 20),
        failed_tool("c", "TimeoutError", 10),
    )
    found = find_failures(trace, [score("task_completion", 0.1, "no")])
    assert [one.kind for one in found] == ["exception", "exception", "timeout", "loop", "judged"]
    assert [one.title for one in found[:2]] == ["ValueError in a", "ValueError in b"]
    assert [RANK[one.kind] for one in found] == sorted(RANK[one.kind] for one in found)


def test_a_failure_is_where_it_began() -> None:
    """If nested spans failed, only the innermost is a finding."""
    inner = failed_tool("look_up", "LookupError: no order")
    trace = body(inner, status="ERROR", root={"status": "ERROR", "error": "RuntimeError: LookupError: no order"})
    assert [one.span_id for one in find_failures(trace)] == [inner["span_id"]]


def test_a_call_that_was_tried_again_is_no_loop() -> None:
    """Three failures of a tool before its success are recovered, and are not a loop."""
    tries = [failed_tool("look_up", "ConnectionError: reset", at) for at in (1, 3, 5)]
    assert all(one.recovered for one in find_failures(body(*tries, tool("look_up", 7, 8, {}))))


def test_a_retry_that_succeeded_is_no_failure() -> None:
    """A failure is recovered if the same tool succeeds later, but not if another tool does."""
    failed = failed_tool("look_up", "ConnectionError: reset")
    (found,) = find_failures(body(failed, tool("look_up", 5, 6, {})))
    assert found.recovered
    (found,) = find_failures(body(failed, tool("refund", 5, 6, {})))
    assert not found.recovered


def test_a_recovered_failure_does_not_hide_a_later_one() -> None:
    """A recovered failure of a tool comes after an error of the agent's own, and is not the trace's failure."""
    failed, again = failed_tool("look_up", "ConnectionError: reset"), tool("look_up", 5, 6, {})
    own = body(failed, again, status="ERROR", root={"status": "ERROR", "error": "ValueError: no answer"})
    assert [(one.title, one.recovered) for one in find_failures(own)] == [
        ("ValueError in answer", False),
        ("ConnectionError in look_up", True),
    ]
    raised = body(failed, again, status="ERROR", root={"status": "ERROR", "error": "ConnectionError: reset"})
    assert [(one.title, one.recovered) for one in find_failures(raised)] == [("ConnectionError in look_up", False)]


def test_a_trace_that_failed_without_a_failed_span_has_a_finding() -> None:
    """A failed trace without a failed span has a finding."""
    (found,) = find_failures(body(said("Hello."), status="ERROR"))
    assert (found.kind, found.title) == ("exception", "answer failed")


def test_a_trace_without_failure_has_no_finding() -> None:
    """A trace without a failure has no finding, even if a supervisor continues after its worker."""
    asks = call(1, 2, tools=[("look_up", {"number": "A-17"})])
    assert find_failures(body(asks, tool("look_up", 3, 4, {}), said("Here.", 5), root={"output": "Here."})) == []
    workers = [span(name, "AGENT", at, at + 0.5) for at, name in enumerate(["supervisor", "writer", "supervisor"], 1)]
    assert find_failures(body(*workers)) == []


def test_the_programs_own_fingerprint_wins() -> None:
    """A fingerprint set by the program on a span, a parent or the trace replaces the computed one."""
    marked: dict[str, Any] = {"metadata": {"fingerprint": "payments"}}
    by_attribute: dict[str, Any] = {"metadata": {"attributes": {"pandaprobe.fingerprint": "payments"}}}
    traces = [
        body(failed_tool("refund", "ValueError: x", **marked)),
        body(failed_tool("charge", "TimeoutError", **by_attribute)),
        body(failed_tool("charge", "KeyError: 'x'"), root=marked),
        body(*searches("a", "a", "a")["spans"][1:], failed_tool("charge", "KeyError: 'x'"), **marked),
    ]
    found = [find_failures(trace) for trace in traces]
    assert {one[0].fingerprint for one in found} == {found[0][0].fingerprint}
    assert len(found[3]) == 1
    assert all("fingerprint" in one[0].why for one in found)


def test_a_fingerprint_of_opentelemetry_alone_wins() -> None:
    """The attribute `pandaprobe.fingerprint` replaces the computed fingerprint, from any instrumentation."""
    recorder = SpanRecorder()
    for attributes in ({"pandaprobe.fingerprint": "payments"}, {}):
        with (
            recorder.tracer.start_as_current_span("invoke_agent", attributes={"gen_ai.operation.name": "invoke_agent"}),
            suppress(LookupError),
            recorder.tracer.start_as_current_span("refund", attributes={**TOOL_CALL, **attributes}),
        ):
            raise LookupError("order 17 is gone")
    (first,), (second,) = (find_failures(map_trace(recorder.spans[at : at + 2])) for at in (0, 2))
    assert (first.marked, first.title) == ("payments", "LookupError in refund")
    assert (second.marked, dict(second.parts)["message"]) == (None, "order <value> is gone")


def test_agents_within_each_other_that_come_again_go_in_a_circle() -> None:
    """An agent that calls itself through another agent is the same finding as agents in a circle."""
    outer, middle = span("A", "AGENT", 1, 9), {**span("B", "AGENT", 2, 8)}
    middle["parent_span_id"] = outer["span_id"]
    inner = {**span("A", "AGENT", 3, 7), "parent_span_id": middle["span_id"]}
    (found,) = find_failures(body(outer, middle, inner))
    assert found.fingerprint == find_failures(agents("A", "B", "A"))[0].fingerprint


def test_a_model_is_no_part_of_a_fingerprint() -> None:
    """A model's name in the span's name and in the message does not change the fingerprint."""
    found: set[str] = set()
    for model in ("gpt-5-mini", "claude-opus-4-1"):
        error = f"Rate limit reached for {model}: 30000"
        asks = {**call(1, 2, status="ERROR", error=error, model=model), "name": f"chat {model}"}
        found.add(find_failures(body(asks))[0].fingerprint)
    assert len(found) == 1


NAMES = [
    *("messages", "tool_calls", "function", "name", "content", "type", "text", "tools", "fingerprint"),
    *("finish_reasons", "attributes", "outcome", "exception_type", "arguments", "refusal"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(NAMES), inner, max_size=3
    ),
    max_leaves=8,
)  # fmt: skip
SPAN = st.fixed_dictionaries(
    {"kind": st.sampled_from(["LLM", "TOOL", "AGENT", "RETRIEVER"]), "status": st.sampled_from(["OK", "ERROR"])},
    optional={
        **dict.fromkeys(("span_id", "parent_span_id", "name"), st.sampled_from(["a", "b", "c"]) | JSON),
        **dict.fromkeys(("input", "output", "metadata", "model_parameters", "error", "model", "started_at"), JSON),
    },
)


ROOT_FIELDS = dict.fromkeys(("status", "metadata", "name"), JSON)
TRACES = st.fixed_dictionaries({"spans": st.lists(SPAN | JSON, max_size=4)}, optional=ROOT_FIELDS)


@given(TRACES)
@settings(max_examples=40)
def test_any_trace_can_be_read(trace: dict[str, Any]) -> None:
    """A trace of any content raises nothing, and its findings can be stored as JSON."""
    for found in find_failures(trace, [{"name": "x", "value": "0"}]):
        assert json.dumps([found.title, found.parts, found.text, found.fingerprint])


def test_a_long_trace_is_read_once() -> None:
    """Five hundred nested failed calls are one failure, the innermost."""
    deep = [failed_tool("look_up", f"no order {at}", at / 20) for at in range(500)]
    for outer, inner in pairwise(deep):
        inner["parent_span_id"] = outer["span_id"]
    assert [one.span_id for one in find_failures(body(*deep))] == [deep[-1]["span_id"]]
