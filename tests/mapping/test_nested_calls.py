"""A model call that two instrumentations record, one inside the other: one span, and tokens that count once."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandaprobe_otel.mapping import MappingOptions, SpanView
from pandaprobe_otel.mapping.ids import span_uuid
from views import TRACE_ID, mapped, view

QUESTION, ANSWER = "Which port has the most ships?", "Ningbo-Zhoushan, by cargo."


def call(span_id: int, parent: int | None = None, *, scope: str = "inner", **facts: Any) -> SpanView:
    """Return a call in the GenAI conventions: facts are model, question, answer, prompt, completion, id and error."""
    found: dict[str, Any] = {"gen_ai.operation.name": "chat"}
    names = {"model": "request.model", "id": "response.id", "prompt": "usage.input_tokens"}
    for fact, name in {**names, "completion": "usage.output_tokens"}.items():
        if fact in facts:
            found[f"gen_ai.{name}"] = facts[fact]
    for fact, side, role in (("question", "input", "user"), ("answer", "output", "assistant")):
        if fact in facts:
            parts = [{"type": "text", "content": facts[fact]}]
            found[f"gen_ai.{side}.messages"] = json.dumps([{"role": role, "parts": parts}])
    failed = {"status_code": "ERROR", "status_description": facts["error"]} if "error" in facts else {}
    more = {**failed, **facts.get("fields", {})}
    return view(f"call {span_id}", found, span_id=span_id, parent=parent, at=span_id / 10, scope_name=scope, **more)


def outer(**facts: Any) -> SpanView:
    """Return the outer of two spans, in OpenInference's dialect."""
    found: dict[str, Any] = {"openinference.span.kind": "LLM"}
    names = {"model": "llm.model_name", "prompt": "llm.token_count.prompt", "completion": "llm.token_count.completion"}
    names |= {"id": "gen_ai.response.id"}
    names |= {"question": "llm.input_messages.0.message.content", "answer": "llm.output_messages.0.message.content"}
    found |= {name: facts[fact] for fact, name in names.items() if fact in facts}
    failed = {"status_code": "ERROR", "status_description": facts["error"]} if "error" in facts else {}
    return view("outer", found, span_id=1, lasts=5, scope_name="openinference.instrumentation.any", **failed)


FACTS: dict[str, Any] = {
    "model": "m-1",
    "question": QUESTION,
    "answer": ANSWER,
    "prompt": 70,
    "completion": 9,
    "id": "r",
}


@pytest.mark.parametrize(
    ("outside", "inside"),
    [
        (("model", "id"), ("id",)),
        (("model", "prompt", "completion"), ("prompt", "completion")),
        (("question",), ("model", "question", "prompt", "completion")),
        (("answer",), ("answer", "prompt", "completion", "model")),
        (("model",), ("model", "prompt", "completion", "answer")),  # another instrumentation, and the only call in it
    ],
)
def test_one_call_is_one_span_with_the_facts_of_both(outside: Any, inside: Any) -> None:
    """Response id, token counts, question, answer or model prove the call; the span has the facts of both."""
    body = mapped(
        outer(**{fact: FACTS[fact] for fact in outside}), call(2, 1, **{fact: FACTS[fact] for fact in inside})
    )
    (span,) = body["spans"]
    assert (span["span_id"], span["name"], "parent_span_id" in span) == (span_uuid(TRACE_ID, 1), "outer", False)
    told = json.dumps(span)
    assert [fact for fact in {*outside, *inside} if str(FACTS[fact]) not in told] == []
    assert span["metadata"]["also_recorded_as"] == [
        {"name": "call 2", "scope": "inner", "span_id": span_uuid(TRACE_ID, 2)}
    ]


def embedding(span_id: int, texts: str | list[str], parent: int | None = None, **found: Any) -> SpanView:
    """Return a span that embeds these texts."""
    given = texts if isinstance(texts, str) else json.dumps(texts)
    told = {"gen_ai.operation.name": "embeddings", "input.value": given, **found}
    scope = "inner" if parent else "outer"
    lasts = 1.0 if parent else 5.0
    at = span_id / 10
    return view(f"embed {span_id}", told, span_id=span_id, parent=parent, at=at, lasts=lasts, scope_name=scope)


@pytest.mark.parametrize("capture", ["all", "metadata"])
def test_an_embedder_and_its_only_call_are_one_span(capture: Any) -> None:
    """The span of a framework's embedder has the tokens and the model of its client's; two calls stay apart."""
    asked, counted = embedding(1, QUESTION), {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 5}
    options = MappingOptions(capture=capture)
    (span,) = mapped(asked, embedding(2, [QUESTION], 1, **counted), options=options)["spans"]
    assert (span["kind"], span["name"], span["model"]) == ("EMBEDDING", "embed 1", "m")
    assert span["token_usage"]["prompt_tokens"] == 5
    for others in ([embedding(2, [QUESTION], 1), embedding(3, [ANSWER], 1)], [call(2, 1, question=QUESTION)]):
        assert len(mapped(asked, *others, options=options)["spans"]) == 1 + len(others)


DIFFERENT = {
    "another model": {"model": "m-2"},
    "another id": {"id": "r-2"},
    "another answer": {"answer": "Shanghai, by containers."},
    "another question": {"question": "And the fewest?", "answer": None, "id": None},
    "other tokens": {"prompt": 71, "id": None, "answer": None},
    "failed": {"error": "boom"},
}


@pytest.mark.parametrize("changes", DIFFERENT.values(), ids=list(DIFFERENT))
def test_a_call_that_differs_is_another_call(changes: dict[str, Any]) -> None:
    """Spans that contradict each other are two calls, even with the same model and the same token counts."""
    changed = {fact: value for fact, value in {**FACTS, **changes}.items() if value is not None}
    outside = {fact: value for fact, value in FACTS.items() if fact in changed}
    if "model" in changes:
        outside = {fact: FACTS[fact] for fact in ("model", "question", "prompt", "completion")}
        changed = {**outside, **changes}
    if "id" in changes and changes["id"] is not None:
        outside, changed = ({fact: one[fact] for fact in ("model", "question", "id")} for one in (outside, changed))
    body = mapped(outer(**outside), call(2, 1, **changed))
    assert len(body["spans"]) == 2


def between(kind: str, span_id: int, parent: int) -> SpanView:
    """Return a span of this kind that lies between two calls."""
    return view("between", {"openinference.span.kind": kind}, span_id=span_id, parent=parent, at=0.1)


@pytest.mark.parametrize(("kind", "spans"), [("CHAIN", 2), ("TOOL", 3), ("AGENT", 3), ("RETRIEVER", 3)])
def test_only_a_step_may_lie_between(kind: str, spans: int) -> None:
    """A call below a tool, an agent or a retriever is another call; below a step, it may be the same."""
    body = mapped(outer(**FACTS), between(kind, 2, 1), call(3, 2, **FACTS))
    assert len(body["spans"]) == spans


def test_the_app_s_own_span_is_never_merged() -> None:
    """A span that the app made with a decorator stays, with its own name and values."""
    own = view("ask", {"pandaprobe.span.kind": "LLM", "gen_ai.request.model": "m-1"}, span_id=1)
    assert len(mapped(own, call(2, 1, model="m-1"))["spans"]) == 2


@pytest.mark.parametrize("capture", ["all", "metadata", "off"])
def test_merging_keeps_to_what_may_be_captured(capture: Any) -> None:
    """Without content, id and token counts still prove that it is one call, and no content appears."""
    body = mapped(outer(**FACTS), call(2, 1, **FACTS), options=MappingOptions(capture=capture))
    (span,) = body["spans"]
    assert span["token_usage"]["completion_tokens"] == 9
    assert (QUESTION in json.dumps(body)) == (capture == "all")


facts = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(("m-1", "m-1-2026-01-01")),
        "question": st.just(QUESTION),
        "answer": st.just(ANSWER),
        "prompt": st.just(70),
        "completion": st.just(9),
        "id": st.just("r"),
    },
)


@given(st.lists(facts, min_size=2, max_size=4), st.sampled_from(("chain", "siblings")))
def test_tokens_count_once_and_nothing_is_lost(told: list[dict[str, Any]], shape: str) -> None:
    """However the facts of one call are spread over nested spans, they are in the trace, and tokens count once."""
    views = [call(n + 1, n or None, scope=f"scope {n}", **one) for n, one in enumerate(told)]
    if shape == "siblings":  # several calls inside one: never merged
        views = [views[0], *(dataclasses.replace(each, parent_id=1) for each in views[1:])]
    body = mapped(*views)
    text = json.dumps(body)
    assert [fact for one in told for fact in one.values() if str(fact) not in text] == []
    prompts = [span["token_usage"].get("prompt_tokens", 0) for span in body["spans"] if "token_usage" in span]
    if shape == "chain":
        assert sum(prompts) == (70 if any("prompt" in one for one in told) else 0)
    elif len(told) > 2:
        assert len(body["spans"]) == len(told)


@pytest.mark.parametrize("odd", [json.dumps([10**30]), "[" * 500 + "]" * 500])
def test_an_odd_value_of_one_of_two_spans_leaves_the_other_spans_readable(odd: str) -> None:
    """Two spans of one call become one, even if they differ in a value that JSON encoders refuse."""
    inner = dataclasses.replace(call(2, 1, **FACTS), attributes={**call(2, 1, **FACTS).attributes, "input.value": odd})
    inner = dataclasses.replace(
        inner, attributes={key: item for key, item in inner.attributes.items() if key != "gen_ai.input.messages"}
    )
    body = mapped(outer(**FACTS), inner)
    (span,) = body["spans"]
    assert span["metadata"]["also_recorded_as"]
    assert "unreadable" not in body["metadata"]
