"""Grouping of failures by fingerprints, and the next steps from a failure to a test and a monitor."""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failed_traces import FAILURES, agents, body, failed_tool, said, score, searches
from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.failures.finding import RANK, Finding, NextSteps, next_steps
from pandaprobe_otel.failures.template import MAX_LENGTH, template_of
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


RESET = failed_tool("look_up", "ConnectionError: reset")
SUCCESS = tool("look_up", 7, 8, {})
OWN = {"status": "ERROR", "error": "ValueError: no answer"}
PASSED_ON = {"status": "ERROR", "error": "ConnectionError: reset"}


@pytest.mark.parametrize(
    ("trace", "found"),
    [
        (body(RESET, SUCCESS), [("ConnectionError in look_up", True)]),
        (body(RESET, tool("refund", 5, 6, {})), [("ConnectionError in look_up", False)]),
        (body(RESET, status="ERROR", root=PASSED_ON), [("ConnectionError in look_up", False)]),
        (body(RESET, SUCCESS, status="ERROR", root=PASSED_ON), [("ConnectionError in look_up", False)]),
        (
            body(RESET, SUCCESS, status="ERROR", root=OWN),
            [("ValueError in answer", False), ("ConnectionError in look_up", True)],
        ),
        (
            body(*(failed_tool("look_up", "ConnectionError: reset", at) for at in (1, 3, 5)), SUCCESS),
            [("ConnectionError in look_up", True)],
        ),
        (body(said("Hello."), status="ERROR"), [("answer failed", False)]),
        (body(call(1, 2, tools=[("look_up", {})]), SUCCESS, said("Here.", 9), root={"output": "Here."}), []),
        (body(*(span(name, "AGENT", at, at + 0.5) for at, name in enumerate(["boss", "writer", "boss"], 1))), []),
    ],
)
def test_a_failure_is_where_it_began_unless_it_was_recovered(trace: Any, found: list[tuple[str, bool]]) -> None:
    """A failure passed on by its callers is one finding; it is recovered if the same tool succeeds later.

    A recovered failure is no loop, and does not hide the agent's own. A supervisor that continues is no failure.
    """
    assert [(one.title, one.recovered) for one in find_failures(trace)] == found


def test_models_and_the_nesting_of_agents_are_no_part_of_a_fingerprint() -> None:
    """The model and the user do not change a fingerprint, nor whether agents call or follow each other in a circle."""
    found: set[str] = set()
    for model, user in (("gpt-5-mini", "mira"), ("claude-opus-4-1", "tom")):
        error = f"Rate limit reached for {model} of {user}: 30000"
        asks = {**call(1, 2, status="ERROR", error=error, model=model), "name": f"chat {model}"}
        found.add(find_failures(body(asks, user_id=user))[0].fingerprint)
    assert len(found) == 1
    outer, middle = span("A", "AGENT", 1, 9), {**span("B", "AGENT", 2, 8)}
    middle["parent_span_id"] = outer["span_id"]
    inner = {**span("A", "AGENT", 3, 7), "parent_span_id": middle["span_id"]}
    (circle,) = find_failures(body(outer, middle, inner))
    assert circle.fingerprint == find_failures(agents("A", "B", "A"))[0].fingerprint


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


TRACE_ID = "0f0c0000-0000-0000-0000-000000000000"


def _steps(found: Finding) -> NextSteps:
    return next_steps(found.kind, dict(found.parts), name=found.title, trace_id=TRACE_ID)


@pytest.mark.parametrize("name", FAILURES)
def test_the_monitor_has_a_metric_that_fits(name: str) -> None:
    """The suggested monitor has the metric of the judge's finding, or else one that the failure lowers."""
    given: Any = FAILURES[name].alike[0]
    trace, scores = given if isinstance(given, tuple) else (given, ())
    words = shlex.split(_steps(find_failures(trace, scores)[0]).monitor)
    assert words[:3] == ["pandaprobe-otel", "monitors", "create"]
    (metric,) = (word.removeprefix("--metric=") for word in words if word.startswith("--metric="))
    wanted = {"wrong tool": "tool_correctness", "bad arguments": "argument_correctness", "loop": "step_efficiency"}
    assert metric == wanted.get(name, metric)


def test_a_hostile_name_stays_one_word() -> None:
    """A hostile name in a trace stays one word for the shell."""
    name = "x'; rm -rf / #\n\"$(id)`id`\\"
    trace = body({**said("x"), "kind": "TOOL", "name": name, "status": "ERROR", "error": "ValueError: no"})
    steps = _steps(find_failures(trace)[0])
    words = shlex.split(steps.monitor)
    assert len(words) == 7
    assert words[3].startswith("--name=ValueError in x'; rm")
    assert "\n" not in steps.monitor


# -- templates of messages, without the values that change from run to run ---------------------------------------------

TEMPLATES = {
    "order 7431 not found": "order <value> not found",
    "order A-17 not found": "order <value> not found",
    "no user mira@shop.example at https://shop.example/u/17?x=1": "no user <email> at <url>",
    "3f2504e0-4f89-11d3-9a0c-0305e82c3301 is gone": "<value> is gone",
    "since 2026-11-28T11:00:03.5Z, or 28 Nov 2026, or 11:30": "since <date>, or <date>, or <date>",
    "10.0.0.17:8080 refused": "<ip> refused",
    "<Order object at 0x7f3a2b>": "<Order object at <value>>",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709 differs": "<value> differs",
    "timed out after 8.0 s": "timed out after <duration>",
    "timed out after 1m 30s": "timed out after <duration>",
    "cannot open /srv/shop/orders/x.json": "cannot open <path>",
    "input/output error": "input/output error",
    "unexpected key 'amount'": "unexpected key 'amount'",
    "unexpected key 'order 17'": "unexpected key '<text>'",
    "can't read the user's order": "can't read the user's order",
    "values 1, 2 and 3": "values <value>",
    "first\nsecond": "first",
    "": "",
    'Error code: 429 - {"error": {"message": "Limit 30000 in org-aBc1", "type": "tokens", "code": "rate_limit"}}': (
        "Error code: <value>: rate_limit: Limit <value> in <value>"
    ),
    "Error code: 400 - {'error': {'message': 'No.', 'param': 'x', 'code': None}}": "Error code: <value>: No.",
    '{"error": "overloaded"}': ": overloaded",
    "no {braces here": "no {braces here",
}


@pytest.mark.parametrize("text", TEMPLATES)
def test_a_message_without_what_changes(text: str) -> None:
    """Each changing value is replaced by the marker of its kind; words and quoted names stay."""
    assert template_of(text) == TEMPLATES[text]
    assert template_of("gpt-nano is busy", known=["gpt-nano", None, ""]) == "<value> is busy"


@given(st.text(max_size=3000) | st.text("ab 1.:-/'\"{}@_", max_size=3000))
def test_any_text_has_a_short_template(text: str) -> None:
    """The template of any text is one line of at most 160 characters."""
    made = template_of(text)
    assert len(made) <= MAX_LENGTH
    assert "\n" not in made


VALUES = {
    "value": st.one_of(
        st.integers().map(str),
        st.floats(allow_nan=False, allow_infinity=False).map(repr),
        st.uuids().map(str),
        st.uuids().map(lambda one: one.hex),
        st.integers(0, 2**64).map(hex),
        st.integers(0).map(lambda one: f"{one:,}"),
        st.from_regex(r"[A-Za-z]{1,8}[-_][0-9]{1,9}", fullmatch=True),
        st.from_regex(r"(org|call|run)_[A-Za-z]{1,20}[0-9][A-Za-z0-9]{0,20}", fullmatch=True),
    ),
    "date": st.one_of(st.datetimes().map(str), st.dates().map(str), st.times().map(lambda one: f"{one:%H:%M:%S}")),
    "email": st.from_regex(r"[a-z]{1,9}(\.[a-z0-9]{1,9})?@[a-z]{1,9}\.(com|example)", fullmatch=True),
    "url": st.from_regex(r"https?://[a-z]{1,9}\.example/[a-z0-9/?=&_-]{0,30}", fullmatch=True),
    "ip": st.ip_addresses(v=4).map(str),
    "path": st.from_regex(r"(/[a-z0-9_]{1,9}){2,5}\.(py|json)", fullmatch=True),
    "duration": st.from_regex(r"[1-9][0-9]{0,4}(\.[0-9]{1,3})? ?(ms|s|min|hours)", fullmatch=True),
}


@pytest.mark.parametrize("kind", VALUES)
@given(st.data())
@settings(max_examples=20)
def test_every_value_of_a_kind_has_the_same_mark(kind: str, data: st.DataObject) -> None:
    """All values of a kind, such as ids and dates, give the same template."""
    value = data.draw(VALUES[kind])
    assert template_of(f"could not read {value} of the order") == f"could not read <{kind}> of the order"
    assert template_of(f"no order ({value}).") == f"no order (<{kind}>)."


@pytest.mark.parametrize("unit", ["a", "a-", "1.", "/a", '"', "a@", "{", "https://", "1 s "])
def test_no_text_takes_long(unit: str) -> None:
    """A text of a million repeated pieces gives a short template, since only the beginning of a line is read."""
    assert len(template_of(unit * 1_000_000)) <= MAX_LENGTH
