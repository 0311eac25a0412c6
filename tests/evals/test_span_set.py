"""Assertions about spans, in a test suite, and their messages when they fail."""

from __future__ import annotations

import pytest

from pandaprobe_otel.evals import SpanSet
from pandaprobe_otel.traces.records import TraceRecord
from suites import RunSuite

SUITE = """
import re
from pandaprobe_otel import llm, span

@tool
def search(number, deep=False):
    return {"number": number, "deep": deep}

@tool
def pay(number):
    raise ValueError(f"{number} is not refundable")

@agent
def clerk(question):
    search("A-17")
    search("A-18", deep=True)
    with llm("chat", model="model-2") as call:
        call.set_token_usage(prompt_tokens=100, completion_tokens=20, cache_read_tokens=60)
        call.set_cost(total=0.25)
    try:
        pay("A-17")
    except ValueError:
        return "no refund: " + question

@pytest.fixture
def ran(probe):
    thread = threading.Thread(target=clerk, args=("please",))  # a thread without a context
    thread.start()
    thread.join()
    return probe

def test_claims_that_hold(ran):
    spans = ran.spans
    assert spans.tool("search").called(times=2).before("pay").succeeded().names == ["search", "search"]
    assert len(spans.tool("search").with_args(number="A-18", deep=True)) == 1
    assert len(spans.tool("search").with_args(number=re.compile("^A-"))) == 2
    assert len(spans.tool("search").with_args(number=lambda value: str(value).endswith("7"))) == 1
    spans.tool("email").not_called()
    spans.tool("pay").after("search").called(at_least=1)
    spans.in_order("clerk", "search", "pay")
    assert spans.errors.names == ["pay"]
    assert spans.llm("model").names == ["chat"]
    assert spans.where(lambda one: one.kind == "AGENT").names == spans.agent().names == ["clerk"]
    assert (ran.input, ran.output, len(ran.llm_calls)) == ("please", "no refund: please", 1)
    ran.budget(tokens=120, cost=0.25, seconds=60, llm_calls=1)
    assert ran.cache_share(min=0.6) == 0.6

@pytest.mark.parametrize(("claim", "words"), [
    (lambda p: p.spans.tool("search").called(times=1), "expected tool 'search' once, found 2"),
    (lambda p: p.spans.tool("search").called(at_most=1), "expected tool 'search' at most 1 times, found 2"),
    (lambda p: p.spans.tool("email").called(), "expected tool 'email' at least once, found none"),
    (lambda p: p.spans.tool("search").not_called(), "expected tool 'search' never, found 2"),
    (lambda p: p.spans.tool("search").with_args(number="B-1"), "expected tool 'search' with number='B-1'"),
    (lambda p: p.spans.tool("pay").before("search"), "expected tool 'pay' before span 'search'"),
    (lambda p: p.spans.tool("search").after("pay"), "expected tool 'search' after span 'pay'"),
    (lambda p: p.spans.tool("search").before("email"), "expected span 'email' at least once, found none"),
    (lambda p: p.spans.in_order("pay", "search"), "expected the order pay → search"),
    (lambda p: p.spans.tool().succeeded(), "pay(number='A-17'): A-17 is not refundable"),
    (lambda p: p.budget(tokens=119), "tokens: 120, at most 119 allowed"),
    (lambda p: p.budget(cost=0.2), "cost: 0.25, at most 0.2 allowed"),
    (lambda p: p.budget(seconds=0), "at most 0 allowed"),
    (lambda p: p.cache_share(min=0.7), "60% of the prompt tokens, at least 70% wanted"),
    (lambda p: p.budget(llm_calls=0), "model calls: 1, at most 0 allowed"),
])
def test_claims_that_fail(ran, claim, words):
    with pytest.raises(AssertionError) as failure:
        claim(ran)
    text = str(failure.value)
    assert words in text
    tree = [line.split() for line in text.splitlines() if line.startswith("  ") and "allowed" not in line]
    assert [line[0] for line in tree] == ["AGENT", "TOOL", "TOOL", "LLM", "TOOL"]
    assert "ERROR A-17 is not refundable" in text

def test_a_bound_that_cannot_be_checked(probe):
    with span("chat", kind="LLM"):
        pass
    probe.budget(llm_calls=1)
    for bound in ("tokens", "cost"):
        with pytest.raises(AssertionError, match=bound + ": no model call states its use"):
            probe.budget(**{bound: 10})

late = []

def test_begins(probe):
    from opentelemetry import trace
    late.append(trace.get_tracer("app").start_span("late"))

def test_ends(probe):
    late[0].end()
    with span("own"):
        pass
    assert [trace.spans[0].name for trace in probe.traces] == ["own"]
"""


def test_assertions_about_spans(run_suite: RunSuite) -> None:
    """Claims that hold can be chained, one that fails shows the tree; a late span belongs to the test it began in."""
    outcome = run_suite(SUITE)
    assert set(outcome.cases.values()) == {"passed"}, outcome.out
    assert len(outcome.cases) == 19


def test_a_cancelled_span_is_no_success() -> None:
    """A cancelled or abandoned span is neither a success nor shown as one; a wait for a person is not an error."""

    def body(name: str, outcome: str | None) -> dict[str, object]:
        metadata = {} if outcome is None else {"outcome": outcome}
        times = {"started_at": "2026-05-06T07:08:09+00:00", "ended_at": "2026-05-06T07:08:10+00:00"}
        return {"span_id": name, "name": name, "kind": "TOOL", "status": "UNSET", "metadata": metadata, **times}

    outcomes = {"went": None, "cut": "cancelled", "late": "timed_out", "left": "partial", "waits": "interrupted"}
    spans = [body(name, outcome) for name, outcome in outcomes.items()]
    trace = TraceRecord({"trace_id": "t", "metadata": {"outcome": "cancelled"}, "spans": spans})
    found = SpanSet.of([trace])
    assert [span.outcome for span in found] == [*outcomes.values()]
    assert (trace.outcome, trace.unfinished) == ("cancelled", "cancelled")
    assert found.errors.names == ["cut", "late", "left"]
    found.named("went").succeeded()
    for name in ("cut", "late", "left", "waits"):
        with pytest.raises(AssertionError, match=f"{name}.*{outcomes[name]}"):
            found.named(name).succeeded()
    with pytest.raises(AssertionError, match=r"trace t  CANCELLED(?s:.)*PARTIAL"):
        found.errors.not_called()
