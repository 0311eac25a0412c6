"""Assertions about spans, and their messages when they fail."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator

import pytest

from pandaprobe_otel import agent, llm, span, tool
from pandaprobe_otel.evals.probe import Probe
from pandaprobe_otel.evals.recorder import Recording, SpanRecorder
from pandaprobe_otel.evals.span_set import SpanSet
from pandaprobe_otel.evals.traces import TraceRecord
from span_recorder import recording


class NoServices:
    """Services that no test here calls."""

    def score(self, *_: object) -> None:
        raise NotImplementedError

    def evaluate(self, *_: object) -> dict[str, object]:
        raise NotImplementedError


@tool
def look_up(number: str, deep: bool = False) -> dict[str, object]:
    """Return the arguments, as a tool that succeeds."""
    return {"number": number, "deep": deep}


@tool
def refund(number: str) -> None:
    """Fail, as a tool."""
    raise ValueError(f"{number} is not refundable")


@agent
def assistant(question: str) -> str:
    """Call two lookups, a model and a refund that fails, as an agent."""
    look_up("A-17")
    look_up("A-18", deep=True)
    with llm("chat", model="model-2") as call:
        call.set_token_usage(prompt_tokens=100, completion_tokens=20)
        call.set_cost(total=0.25)
    try:
        refund("A-17")
    except ValueError:
        return f"no refund: {question}"
    return "done"


@pytest.fixture
def probe() -> Iterator[Probe]:
    """Yield a probe of one run of the assistant in a thread without a context."""
    with recording():
        recorder, mine = SpanRecorder(), Recording()
        recorder.attach(create=False)
        recorder.begin(mine)
        thread = threading.Thread(target=assistant, args=("please",))
        thread.start()
        thread.join()
        yield Probe(mine, NoServices(), {})  # type: ignore[arg-type]


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


def test_assertions_that_hold_can_be_chained(probe: Probe) -> None:
    """Assertions that hold return their set, so that they can be chained."""
    spans = probe.spans
    assert spans.tool("look_up").called(times=2).before("refund").succeeded().names == ["look_up", "look_up"]
    assert len(spans.tool("look_up").with_args(number="A-18", deep=True)) == 1
    assert len(spans.tool("look_up").with_args(number=re.compile("^A-"))) == 2
    assert len(spans.tool("look_up").with_args(number=lambda value: str(value).endswith("7"))) == 1
    spans.tool("search").not_called()
    spans.tool("refund").after("look_up").called(at_least=1)
    spans.in_order("assistant", "look_up", "refund")
    assert spans.errors.names == ["refund"]
    assert spans.llm("model").names == ["chat"]
    assert spans.where(lambda one: one.kind == "AGENT").names == spans.agent().names == ["assistant"]
    assert (probe.input, probe.output, len(probe.llm_calls)) == ("please", "no refund: please", 1)
    probe.budget(tokens=120, cost=0.25, seconds=60, llm_calls=1)


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        (lambda p: p.spans.tool("look_up").called(times=1), "expected tool 'look_up' once, found 2"),
        (lambda p: p.spans.tool("look_up").called(at_most=1), "expected tool 'look_up' at most 1 times, found 2"),
        (lambda p: p.spans.tool("search").called(), "expected tool 'search' at least once, found none"),
        (lambda p: p.spans.tool("look_up").not_called(), "expected tool 'look_up' never, found 2"),
        (lambda p: p.spans.tool("look_up").with_args(number="B-1"), "expected tool 'look_up' with number='B-1'"),
        (lambda p: p.spans.tool("refund").before("look_up"), "expected tool 'refund' before span 'look_up'"),
        (lambda p: p.spans.tool("look_up").after("refund"), "expected tool 'look_up' after span 'refund'"),
        (lambda p: p.spans.tool("look_up").before("search"), "expected span 'search' at least once, found none"),
        (lambda p: p.spans.in_order("refund", "look_up"), "expected the order refund → look_up"),
        (lambda p: p.spans.tool().succeeded(), "refund(number='A-17'): A-17 is not refundable"),
        (lambda p: p.budget(tokens=119), "tokens: 120, at most 119 allowed"),
        (lambda p: p.budget(cost=0.2), "cost: 0.25, at most 0.2 allowed"),
        (lambda p: p.budget(seconds=0), "at most 0 allowed"),
        (lambda p: p.budget(llm_calls=0), "model calls: 1, at most 0 allowed"),
    ],
)
def test_a_failed_assertion_shows_the_trace(probe: Probe, claim: Callable[[Probe], object], said: str) -> None:
    """The message has the expectation and the tree of spans."""
    with pytest.raises(AssertionError) as failure:
        claim(probe)
    text = str(failure.value)
    assert said in text
    tree = [line.split() for line in text.splitlines() if line.startswith("  ") and "allowed" not in line]
    assert [line[0] for line in tree] == ["AGENT", "TOOL", "TOOL", "LLM", "TOOL"]
    assert "ERROR A-17 is not refundable" in text


def test_a_bound_that_cannot_be_checked_fails() -> None:
    """If a model call has no tokens and cost, a bound on them fails."""
    with recording() as recorder:
        mine = Recording()
        own = SpanRecorder()
        own.attach(create=False)
        own.begin(mine)
        with span("chat", kind="LLM"):
            pass
        probe = Probe(mine, NoServices(), {})  # type: ignore[arg-type]
        assert recorder.names == ["chat"]
        probe.budget(llm_calls=1)
        with pytest.raises(AssertionError, match="tokens: no model call states its use"):
            probe.budget(tokens=10)
        with pytest.raises(AssertionError, match="cost: no model call states its use"):
            probe.budget(cost=10)


def test_a_trace_belongs_to_the_recording_during_which_it_began() -> None:
    """Late spans stay with the recording in which their trace began; a recording in the context has priority."""
    from opentelemetry.context import attach, detach, get_current

    with recording() as provider:
        recorder, first, second = SpanRecorder(), Recording(), Recording(session="s-2")
        recorder.attach(create=False)
        recorder.begin(first)
        late = provider.tracer.start_span("late")
        recorder.begin(second)
        late.end()
        with span("own"):
            pass
        token = attach(first.applied_to(get_current()))
        with span("theirs"):
            pass
        detach(token)
        assert [trace.spans[0].name for trace in first.traces()] == ["late", "theirs"]
        assert [(trace.spans[0].name, trace.session_id) for trace in second.traces()] == [("own", "s-2")]


def test_the_hash_of_a_behaviour_knows_no_ids_and_times() -> None:
    """Two runs of the same behaviour have one hash; another argument, output or order gives another hash."""

    def content(question: str) -> str:
        mine = Recording()
        recorder.begin(mine)
        assistant(question)
        return mine.traces()[0].content_hash

    with recording():
        recorder = SpanRecorder()
        recorder.attach(create=False)
        assert content("a") == content("a")
        assert content("a") != content("b")
