"""Cached lookups of repeated attribute values: a span is mapped the same, whatever was mapped before."""

from __future__ import annotations

from typing import Any

import pytest

from pandaprobe_otel.mapping.table_rows import MAX_COMBINATIONS, known
from views import mapped, only_span, view

CALL: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "OpenAI",
    "gen_ai.request.model": "asked",
    "gen_ai.response.model": "answered",
    "gen_ai.request.temperature": 1,
    "gen_ai.usage.input_tokens": 5,
}


def span_of(**changed: Any) -> dict[str, Any]:
    """Map one call with some attributes changed; names have underscores for dots."""
    changes = {name.replace("__", "."): value for name, value in changed.items()}
    return only_span(mapped(view("call", {**CALL, **changes})))


@pytest.mark.parametrize("value", [1, 1.0, True])
def test_numbers_that_are_equal_keep_their_types(value: object) -> None:
    """1, 1.0 and True are equal keys of a dict, but each keeps its type."""
    for other in (1, 1.0, True):
        span_of(gen_ai__request__temperature=other)
    found = span_of(gen_ai__request__temperature=value)["model_parameters"]["temperature"]
    assert (found, type(found)) == (value, type(value))


def test_one_span_does_not_change_the_metadata_of_the_next() -> None:
    """Sums and reasoning are added to the span's own metadata, never to the cached metadata."""
    plain = span_of()
    child = view("child", CALL, span_id=2, parent=1)
    parent = view("parent", {**CALL, "gen_ai.operation.name": "invoke_agent"}, span_id=1)
    body = mapped(parent, child)
    assert any("aggregated_token_usage" in span["metadata"] for span in body["spans"])
    assert span_of() == plain
    assert "aggregated_token_usage" not in span_of(gen_ai__operation__name="invoke_agent")["metadata"]


def test_shapes_do_not_share_results() -> None:
    """Equal values of different attributes are different combinations."""
    answered, planned = (
        only_span(mapped(view("call", {"gen_ai.operation.name": "chat", attribute: "x"})))
        for attribute in ("gen_ai.response.model", "gen_ai.agent.name")
    )
    assert (answered["model"], "agent_name" in answered["metadata"]) == ("x", False)
    assert ("model" in planned, planned["metadata"]["agent_name"]) == (False, "x")


def test_combinations_are_bounded() -> None:
    """A program with a new model name in each call does not fill the memory."""
    for number in range(MAX_COMBINATIONS + 100):
        assert span_of(gen_ai__response__model=f"model-{number}")["model"] == f"model-{number}"
    assert len(known) <= MAX_COMBINATIONS
