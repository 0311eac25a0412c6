"""The tree of spans: parents, the root, and token counts that count once."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaprobe_otel.mapping import SpanView, map_views
from pandaprobe_otel.mapping.encoded_spans import NO_SPANS
from pandaprobe_otel.mapping.ids import span_uuid
from pandaprobe_otel.mapping.usage import token_usage
from pandaprobe_otel.mapping.values import MAX_COUNT
from views import mapped, view

TRACE_ID = 0xABC


def usage(prompt: int, **attributes: Any) -> dict[str, Any]:
    """Return attributes with token counts."""
    return {"gen_ai.usage.input_tokens": prompt, "gen_ai.usage.output_tokens": 1, **attributes}


def agent(prompt: int | None = None, **fields: Any) -> SpanView:
    """Return an agent span, with a token sum if given."""
    return view("agent", {"gen_ai.operation.name": "invoke_agent", **(usage(prompt) if prompt else {})}, **fields)


def call(prompt: int | None = 10, **fields: Any) -> SpanView:
    """Return a model call."""
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", **(usage(prompt) if prompt else {})}
    return view("call", attributes, **fields)


def tool(**fields: Any) -> SpanView:
    """Return a tool call."""
    return view("tool", {"gen_ai.operation.name": "execute_tool"}, **fields)


def prompts(body: dict[str, Any]) -> list[int | None]:
    """Return the prompt tokens that count, for each span."""
    return [span.get("token_usage", {}).get("prompt_tokens") for span in body["spans"]]


def sums(body: dict[str, Any]) -> list[int | None]:
    """Return the prompt tokens that are only sums of others, for each span."""
    return [span["metadata"].get("aggregated_token_usage", {}).get("prompt_tokens") for span in body["spans"]]


def test_the_sum_of_an_agent_does_not_count_with_its_calls() -> None:
    """An agent's sum is kept apart, because the server adds up all spans, and its calls have the same tokens."""
    body = mapped(agent(20), call(span_id=2, parent=1, at=0.1), call(span_id=3, parent=1, at=0.2))
    assert (prompts(body), sums(body)) == ([None, 10, 10], [20, None, None])


def test_the_sum_of_an_agent_counts_if_its_calls_have_no_counts() -> None:
    """The sum of an agent whose calls were not traced counts; its cost does not count with those of its calls."""
    cost = {"pandaprobe.cost": '{"total": 0.5}'}
    outer, inner = agent(20), call(None, span_id=2, parent=1, at=0.1)
    outer, inner = (dataclasses.replace(one, attributes={**one.attributes, **cost}) for one in (outer, inner))
    body = mapped(outer, inner)
    assert (prompts(body), sums(body)) == ([20, None], [None, None])
    first, second = body["spans"]
    assert "cost" not in first
    assert first["metadata"]["aggregated_cost"] == second["cost"] == {"total": 0.5}


def test_a_sum_never_counts_while_part_of_the_trace_is_elsewhere() -> None:
    """A sum does not count in a partial trace, because the calls may be in another part."""
    body = mapped(agent(20), whole=False)
    assert (prompts(body), sums(body)) == ([None], [20])
    assert prompts(mapped(call(), whole=False)) == [10]


def test_an_outer_call_does_not_count_with_the_calls_in_it() -> None:
    """If a span of a model call contains two others, such as a retry, only these count."""
    body = mapped(call(20), call(10, span_id=2, parent=1, at=0.1), call(10, span_id=3, parent=1, at=0.2))
    assert (prompts(body), sums(body)) == ([None, 10, 10], [20, None, None])


def twice(scope: str, other: str, at: float, *, response: str = "r-2", parent: int = 1) -> list[SpanView]:
    """Return an agent and two model calls of one second each, with these scopes and response ids."""
    calls = [
        dataclasses.replace(
            made, scope_name=name, attributes={**made.attributes, "gen_ai.response.id": identity, "tag": name}
        )
        for made, name, identity in (
            (call(10, span_id=2, parent=1), scope, "r-2"),
            (call(10, span_id=3, parent=parent, at=at), other, response),
        )
    ]
    return [agent(), *calls]


def test_a_call_that_two_instrumentations_record_side_by_side_counts_once() -> None:
    """If two instrumentations record a call side by side, as with streams, it counts once."""
    body = mapped(*twice("langchain", "openai", 0.2))
    assert (prompts(body), sums(body)) == ([None, 10, None], [None, None, 10])


@pytest.mark.parametrize(
    "calls",
    [
        twice("openai", "openai", 0.2),  # an instrumentation records each call only once, so these are two calls
        twice("langchain", "openai", 1.5),  # one after the other: a model stand-in that repeats its ids
        twice("langchain", "openai", 0.2, response="r-3"),
    ],
)
def test_calls_that_may_be_different_both_count(calls: list[SpanView]) -> None:
    """Two calls with the same response id both count if anything else suggests two calls."""
    assert prompts(mapped(*calls)) == [None, 10, 10]


@pytest.mark.parametrize("border", [tool, agent])
def test_a_call_below_a_tool_or_an_agent_is_another_call(border: Any) -> None:
    """A call below a tool or an agent counts too; Google's ADK 1 puts both below a model call."""
    body = mapped(call(10), border(span_id=2, parent=1, at=0.1), call(7, span_id=3, parent=2, at=0.2))
    assert prompts(body) == [10, None, 7]


def langsmith(kind: str, prompt: int | None = None, cost: float | None = None, **fields: Any) -> SpanView:
    """Return a span of LangSmith's export, with usage and with the cost that only LangChain's cache sets."""
    told = (
        {} if cost is None else {"langsmith.metadata.usage_metadata": f'{{"input_tokens": 10, "total_cost": {cost}}}'}
    )
    counts = usage(prompt) if prompt else {}
    return view(kind, {"langsmith.span.kind": kind, "gen_ai.request.model": "m", **counts, **told}, **fields)


@pytest.mark.parametrize(
    ("step", "counts"),
    [
        (langsmith("chain", 10, span_id=3, parent=1, at=1.2), False),  # it got the call's answer
        (langsmith("chain", 10, span_id=3, parent=1, at=0.0), True),  # begun before the call
        (langsmith("chain", 11, span_id=3, parent=1, at=1.2), True),
        (langsmith("llm", 10, span_id=3, parent=1, at=1.2), True),
        (agent(10, span_id=3, parent=1, at=1.2), True),  # a remote one, whose calls are not traced
        (view("step", {"pandaprobe.span.kind": "CHAIN", "pandaprobe.token_usage": '{"prompt_tokens": 10, '
              '"completion_tokens": 1}'}, span_id=3, parent=1, at=1.2), True),
    ],
)  # fmt: skip
def test_a_step_that_repeats_the_numbers_of_a_call_does_not_count(step: SpanView, counts: bool) -> None:
    """A step beside a call that repeats its numbers, as LangSmith's after structured output, does not count."""
    body = mapped(langsmith("chain"), langsmith("llm", 10, span_id=2, parent=1, at=0.1), step)
    found = {span["span_id"]: span for span in body["spans"]}[span_uuid(TRACE_ID, 3)]
    assert ("token_usage" in found, "aggregated_token_usage" in found["metadata"]) == (counts, not counts)


@pytest.mark.parametrize("cost", [None, 0.0, 0.5])
def test_an_answer_from_a_cache_does_not_count(cost: float | None) -> None:
    """The counts of an answer from LangChain's cache, and a step's copy of them, are kept without being billed."""
    step = langsmith("chain", 10, span_id=2, parent=1, at=0.5)
    first, second = mapped(langsmith("llm", 10, cost), dataclasses.replace(step, parent_id=None))["spans"]
    assert first["metadata"].get("cached") == (True if cost == 0 else None)
    assert ("token_usage" in first, "cached_token_usage" in first["metadata"]) == (cost != 0, cost == 0)
    assert "token_usage" not in second


def test_a_call_that_our_integration_marks_as_cached_costs_nothing() -> None:
    """A span with `pandaprobe.cached` has neither tokens nor a cost, whatever its attributes are."""
    marked = view(
        "call", {**usage(10), "gen_ai.request.model": "m", "gen_ai.usage.cost": 0.5, "pandaprobe.cached": True}
    )
    (span,) = mapped(marked)["spans"]
    assert span.keys().isdisjoint({"token_usage", "cost"})
    assert (span["metadata"]["cached"], span["metadata"]["cached_cost"]) == (True, {"total": 0.5})


def test_a_ring_of_parents_ends() -> None:
    """A cycle of parents does not block the exporter."""
    ring = [call(10, span_id=1, parent=2), call(11, span_id=2, parent=1), call(10, span_id=3, parent=3)]
    body = mapped(*ring)
    assert len(body["spans"]) == 3
    assert len(mapped(call(10, span_id=1, parent=2), call(10, span_id=2, parent=1))["spans"]) == 1
    for parent in (1, 2):  # of spans with the same id
        calls = [call(10, span_id=1), call(10, span_id=2, parent=1), call(10, span_id=1, parent=parent)]
        assert len(mapped(*calls)["spans"]) >= 2
    assert body["status"] == "COMPLETED"


def test_spans_are_sorted_by_start_and_parents_come_first() -> None:
    """Spans are sorted by start; of two that start together, the longer one comes first."""
    views = [call(span_id=4, parent=1, at=0.5), tool(span_id=3, parent=1, lasts=0.1), agent(span_id=1, lasts=5)]
    body = mapped(*views)
    assert [span["name"] for span in body["spans"]] == ["agent", "tool", "call"]
    assert body == mapped(*reversed(views))


@pytest.mark.parametrize(
    ("views", "root"),
    [
        ([agent(span_id=1), call(span_id=2, parent=1, at=-1)], "agent"),
        ([agent(span_id=1, parent=7, parent_is_remote=True), call(span_id=2, parent=1)], "agent"),
        ([agent(span_id=1, parent=7), tool(span_id=2, parent=1, at=-1)], "agent"),
        ([agent(span_id=1, at=1), call(span_id=2, at=2)], "agent"),
        ([call(span_id=2, parent=9, at=-5), agent(span_id=1)], "agent"),
    ],
    ids=["parentless", "remote parent", "lost parent", "earliest", "parentless beats lost parent"],
)
def test_the_root_gives_the_trace_its_name(views: list[SpanView], root: str) -> None:
    """The root has no parent, or none in this batch; of several candidates, the earliest gives the name."""
    assert mapped(*views)["name"] == root


def test_the_trace_lasts_from_the_first_start_to_the_last_end() -> None:
    """The trace ends with its last span, not with its root."""
    body = mapped(agent(at=1, lasts=2), tool(span_id=2, parent=1, at=0.5), tool(span_id=3, parent=1, at=2, lasts=8.25))
    assert (body["started_at"], body["ended_at"]) == ("2023-11-14T22:13:20.500000Z", "2023-11-14T22:13:30.250000Z")


def test_a_trace_whose_root_is_open_is_running() -> None:
    """A trace with an open root is running; without any ended span, it has no end."""
    body = mapped(agent(lasts=None), tool(span_id=2, parent=1))
    assert body["status"] == "RUNNING"
    assert "ended_at" in body
    assert "ended_at" not in mapped(agent(lasts=None))


def test_a_span_never_ends_before_it_starts() -> None:
    """An end before the start, as after a clock change, is moved, since the server would show a negative latency."""
    (span,) = mapped(call(lasts=-3))["spans"]
    assert span["ended_at"] == span["started_at"]


@pytest.mark.parametrize(("after", "there"), [(0.2, True), (-0.2, False), (1.5, False)])
def test_the_first_token_lies_within_the_span(after: float, there: bool) -> None:
    """A time to first token outside of the span, as after a clock error, is left out."""
    seen = call()
    at = seen.start_ns + int(after * 1_000_000_000)
    seen = dataclasses.replace(seen, attributes={**seen.attributes, "pandaprobe.completion_start_time_unix_nano": at})
    (span,) = mapped(seen)["spans"]
    assert ("completion_start_time" in span) == there


def test_without_spans_there_is_no_trace() -> None:
    """An empty batch maps to no trace, and is not an error."""
    trace = map_views([])
    assert (trace.trace, trace.spans, trace.encoded_spans) == ({}, [], NO_SPANS)


# -- token counts ------------------------------------------------------------------------------------------------------

COUNTS = st.integers(-3, 3) | st.integers(MAX_COUNT - 3, MAX_COUNT + 3) | st.integers()


@given(st.integers(0, MAX_COUNT), st.integers(0, MAX_COUNT), st.booleans())
def test_no_sum_is_more_than_the_server_can_add(prompt: int, completion: int, has_details: bool) -> None:
    """The sum fits into the server's int4: the output count is reduced."""
    counts = {"prompt": prompt, "completion": completion} | ({"reasoning": 1} if has_details else {})
    usage = token_usage(counts, None, "")

    assert usage is not None
    assert usage["prompt_tokens"] == prompt
    assert usage["completion_tokens"] == min(completion, MAX_COUNT - prompt)
    assert usage["total_tokens"] == prompt + usage["completion_tokens"] <= MAX_COUNT


@given(COUNTS, COUNTS)
def test_the_order_and_type_of_the_attributes_do_not_matter(prompt: int, completion: int) -> None:
    """Numbers and their text forms, input first and output first, give the same counts."""
    sides = {"gen_ai.usage.input_tokens": prompt, "gen_ai.usage.output_tokens": completion}
    call = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt"}
    told = [
        map_views([view("chat gpt", {**call, **attributes})]).spans[0].get("token_usage")
        for attributes in (sides, dict(reversed(sides.items())), {name: str(value) for name, value in sides.items()})
    ]
    assert told[0] == told[1]
    if min(prompt, completion) >= 0 and max(prompt, completion) < 10**18:  # longer texts are not parsed as counts
        assert told[0] == told[2]
