"""Costs that no span has: computed on request, marked, and never added to a trace with a cost."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from pandaprobe_otel.mapping import MappingOptions, SpanView
from pandaprobe_otel.mapping.model_calls import MARK
from pandaprobe_otel.mapping.usage import listed_price
from views import mapped, only_span, view

PRICED = MappingOptions(price=listed_price)


def call(span_id: int = 1, parent: int | None = None, **attributes: Any) -> SpanView:
    """Return a model call with the price of 2024: 0.15 dollars for a million input tokens, 0.60 for output."""
    return view(
        "chat",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
            "gen_ai.usage.input_tokens": 2_000_000,
            "gen_ai.usage.output_tokens": 1_000_000,
            **attributes,
        },
        span_id=span_id,
        parent=parent,
    )


def test_a_cost_that_nobody_states_is_computed_and_marked() -> None:
    """A missing cost is computed and marked; cached tokens are part of the input, and cheaper."""
    span = only_span(mapped(call(), options=PRICED))
    assert span["cost"] == pytest.approx({"input": 0.3, "output": 0.6, "total": 0.9})
    assert span["metadata"][MARK].startswith("genai-prices ")
    cached = only_span(mapped(call(**{"gen_ai.usage.cache_read.input_tokens": 2_000_000}), options=PRICED))
    assert cached["cost"]["input"] == pytest.approx(0.15)


@pytest.mark.parametrize("stated", [{"gen_ai.usage.cost": 7.0}, {"operation.cost": 7.0}])
def test_a_stated_cost_stands(stated: dict[str, float]) -> None:
    """If any span has a cost, none is computed, because this cost may be a sum."""
    body = mapped(
        view("agent", {"gen_ai.operation.name": "invoke_agent", **stated}), call(2, 1), call(3, 1), options=PRICED
    )
    assert sum(span["cost"]["total"] for span in body["spans"] if "cost" in span) == 7.0
    assert not [span for span in body["spans"] if MARK in span["metadata"]]


def test_only_calls_that_count_have_a_price() -> None:
    """No price is computed for an agent's sum or for a call that contains two others."""
    body = mapped(
        view("agent", {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 2_000_000}),
        call(2, 1),
        call(3, 2),
        call(4, 2),
        options=PRICED,
    )
    assert ["cost" in span for span in body["spans"]] == [False, False, True, True]


@pytest.mark.parametrize(
    "changes",
    [
        {"gen_ai.response.model": "model-of-nobody"},
        {"gen_ai.response.model": ""},
        {"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None},
    ],
)
def test_a_model_without_a_price_has_no_cost(changes: dict[str, Any]) -> None:
    """A model call with an unknown price has no cost, rather than zero."""
    assert "cost" not in only_span(mapped(call(**changes), options=PRICED))


def test_a_model_is_found_under_an_unknown_provider() -> None:
    """A price is found by the model's name if the provider is unknown, as with gateways."""
    span = only_span(mapped(call(1, None, **{"gen_ai.provider.name": "my-gateway"}), options=PRICED))
    assert span["cost"]["total"] == pytest.approx(0.9)


def test_the_mark_stands_even_where_metadata_is_not_captured() -> None:
    """The mark of a computed cost is kept without metadata capture, because it is not the app's metadata."""
    span = only_span(mapped(call(), options=MappingOptions(price=listed_price, capture="off")))
    assert list(span["metadata"]) == [MARK]


def test_the_price_list_is_loaded_with_the_setting_alone_and_its_lack_is_named() -> None:
    """PANDAPROBE_COMPUTE_COST turns the computation on and loads the list, which takes half a second."""
    program = """
import sys
from pathlib import Path
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.mapping import MappingOptions, SpanView, map_views
call = SpanView("x", 1, 2, start_ns=1_700_000_000 << 30, attributes={
    "gen_ai.operation.name": "chat", "gen_ai.response.model": "gpt-4o-mini", "gen_ai.usage.input_tokens": 5,
})
for variables in ({}, {"PANDAPROBE_COMPUTE_COST": "true"}):
    config = Config.resolve({}, environ=variables, file=Path("/no"))
    (span,) = map_views([call], options=MappingOptions.from_config(config, {})).spans
    print("genai_prices" in sys.modules, "cost" in span)
sys.modules["genai_prices"] = None
print([p.message for p in Config.resolve({"compute_cost": True}, environ={}, file=Path("/no")).problems])
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    without, loaded, problems = ran.stdout.splitlines()
    assert (without, loaded) == ("False False", "True True")
    assert "pip install 'pandaprobe-otel[cost]'" in problems


# -- the package's prices, computed by rates where that is exact -------------------------------------------------------

MODELS: list[tuple[str, str]] = [
    (model.id, seller.id) for seller in get_snapshot().providers for model in seller.models
]
NOW = time.time_ns()


@st.composite
def usages(draw: Any) -> dict[str, int]:
    """Draw the token counts of a call, some above the thresholds of prices in tiers."""
    prompt = draw(st.integers(0, 10) | st.integers(0, 1_000_000))
    read = draw(st.integers(0, prompt))
    counts = {"prompt_tokens": prompt, "completion_tokens": draw(st.integers(0, 100_000)), "cache_read_tokens": read}
    return counts | ({"cache_creation_tokens": draw(st.integers(0, prompt - read))} if draw(st.booleans()) else {})


@given(model=st.sampled_from(MODELS), usage=usages())
def test_a_price_is_the_package_s(model: tuple[str, str], usage: dict[str, int]) -> None:
    """Each amount equals that of the package to the last digit, for every model and any count."""
    amount = genai_prices.Usage(
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
        cache_read_tokens=usage["cache_read_tokens"],
        cache_write_tokens=usage.get("cache_creation_tokens"),
    )
    at = datetime.fromtimestamp(NOW // 10**9, UTC)
    try:
        found = genai_prices.calc_price(amount, model_ref=model[0], provider_id=model[1], genai_request_timestamp=at)
    except LookupError:
        return  # another seller's price is taken
    price = listed_price(*model, usage, NOW)
    assert price is not None
    assert tuple(price.amounts.values()) == tuple(
        map(float, (found.input_price, found.output_price, found.total_price))
    )


def test_counts_that_contradict_each_other_have_no_price() -> None:
    """A call that read more from a cache than its prompt has gets no invented price."""
    assert listed_price("gpt-5-mini", "openai", {"prompt_tokens": 1, "cache_read_tokens": 2}, NOW) is None
