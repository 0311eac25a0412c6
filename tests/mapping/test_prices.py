"""Costs that no span states: computed on request, marked, and never in a trace with a stated cost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.mapping import MappingOptions, SpanView
from pandaprobe_otel.mapping.prices import MARK, listed_price
from views import START, mapped, only_span, view

PRICED = MappingOptions(price=listed_price)


def call(span_id: int = 1, parent: int | None = None, **attributes: Any) -> SpanView:
    """Return a call of a model that cost 0.15 dollars for a million tokens in and 0.60 out in 2024."""
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
    """Cached tokens are part of the input, and cheaper."""
    span = only_span(mapped(call(), options=PRICED))
    assert span["cost"] == pytest.approx({"input": 0.3, "output": 0.6, "total": 0.9})
    assert span["metadata"][MARK].startswith("genai-prices ")
    cached = only_span(mapped(call(**{"gen_ai.usage.cache_read.input_tokens": 2_000_000}), options=PRICED))
    assert cached["cost"]["input"] == pytest.approx(0.15)


def test_without_the_setting_there_is_none() -> None:
    """Without the setting, the mapping adds no cost."""
    span = only_span(mapped(call()))
    assert "cost" not in span
    assert MARK not in span["metadata"]


@pytest.mark.parametrize("stated", [{"gen_ai.usage.cost": 7.0}, {"operation.cost": 7.0}])
def test_a_stated_cost_stands(stated: dict[str, float]) -> None:
    """Nothing is computed in the whole trace then: the cost may be the sum of calls that state none."""
    body = mapped(
        view("agent", {"gen_ai.operation.name": "invoke_agent", **stated}), call(2, 1), call(3, 1), options=PRICED
    )
    assert sum(span["cost"]["total"] for span in body["spans"] if "cost" in span) == 7.0
    assert not [span for span in body["spans"] if MARK in span["metadata"]]


def test_only_calls_that_count_have_a_price() -> None:
    """Neither the sum of an agent nor the outer half of a call is priced again."""
    body = mapped(
        view("agent", {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 2_000_000}),
        call(2, 1),
        call(3, 2),
        options=PRICED,
    )
    assert ["cost" in span for span in body["spans"]] == [False, False, True]


@pytest.mark.parametrize(
    "changes",
    [
        {"gen_ai.response.model": "model-of-nobody"},
        {"gen_ai.response.model": ""},
        {"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None},
    ],
)
def test_what_has_no_price_has_no_cost(changes: dict[str, Any]) -> None:
    """An unknown cost is not zero."""
    assert "cost" not in only_span(mapped(call(**changes), options=PRICED))


def test_a_model_is_found_under_an_unknown_provider() -> None:
    """Gateways name themselves as the provider."""
    span = only_span(mapped(call(1, None, **{"gen_ai.provider.name": "my-gateway"}), options=PRICED))
    assert span["cost"]["total"] == pytest.approx(0.9)


def test_odd_times_and_counts_cost_nothing() -> None:
    """No odd result of the package becomes a cost."""
    assert listed_price("gpt-4o-mini", "openai", {"prompt_tokens": 1}, 1 << 80) is None
    assert listed_price("", "", {}, START) is None


def test_the_mark_stands_even_where_metadata_is_not_captured() -> None:
    """The mark is ours, not the app's."""
    span = only_span(mapped(call(), options=MappingOptions(price=listed_price, capture="off")))
    assert list(span["metadata"]) == [MARK]


def test_the_setting_decides() -> None:
    """Prices are off by default; a missing package is named (`find_spec` finds it here)."""
    nowhere = Path("/no/such/file")
    assert MappingOptions.from_config(Config.resolve({}, environ={}, file=nowhere), {}).price is None
    config = Config.resolve({}, environ={"PANDAPROBE_COMPUTE_COST": "true"}, file=nowhere)
    price = MappingOptions.from_config(config, {}).price
    assert price is not None
    assert "cost" in only_span(mapped(call(), options=MappingOptions(price=price)))


def test_the_price_list_is_loaded_on_use_and_its_lack_is_named() -> None:
    """Loading takes half a second, which only users of the setting pay."""
    program = """
import sys
from pathlib import Path
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.mapping import MappingOptions, SpanView, map_views
map_views([SpanView("x", 1, 2)])
config = Config.resolve({"compute_cost": True}, environ={}, file=Path("/no"))
MappingOptions.from_config(config, {})
print("genai_prices" in sys.modules)
sys.modules["genai_prices"] = None
print([p.message for p in Config.resolve({"compute_cost": True}, environ={}, file=Path("/no")).problems])
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded, problems = ran.stdout.splitlines()
    assert loaded == "False"
    assert "pip install 'pandaprobe-otel[cost]'" in problems
