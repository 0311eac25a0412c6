"""Costs that no span states, computed from the price list of the package `genai-prices` (extra `cost`).

The price at the start of the call applies, so the same spans always cost the same. The package contains its list, and
nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeAlias

from pandaprobe_otel.mapping.kind_names import MODEL_KINDS
from pandaprobe_otel.mapping.mapped_span import MappedSpan
from pandaprobe_otel.process.guard import counted

MARK: Final = "cost_computed_by"
"""Metadata key of spans whose cost was computed; its value names the price list."""


class Priced(NamedTuple):
    """Cost in US dollars by `input`, `output` and `total`, and the name of its price list."""

    amounts: dict[str, float]
    by: str


Price: TypeAlias = Callable[[str, "str | None", Mapping[str, int], int], "Priced | None"]
"""(model, provider, token usage, start in nanoseconds) -> cost; None for a model that is not in the list."""


def add_computed_costs(spans: Sequence[MappedSpan], price: Price) -> None:
    """Set the cost of every counted model call, unless a span of the trace states a cost, which may be the sum of these
    calls.
    """
    if any(span.cost is not None for span in spans):
        return
    for span in spans:
        body = span.body
        usage, model = body.get("token_usage"), body.get("model")
        if usage is None or model is None or span.kind not in MODEL_KINDS:
            continue
        priced = price(model, span.metadata.get("provider"), usage, span.view.start_ns)
        if priced is not None:
            body["cost"] = priced.amounts
            body["metadata"] = {**body["metadata"], MARK: priced.by}


def listed_price(model: str, provider: str | None, usage: Mapping[str, int], start_ns: int) -> Priced | None:
    """Look up the price, first from the provider, then from any seller of a model with this name. Never raises."""
    prices = load_prices()
    if prices is None:
        return None
    try:
        amount = prices.Usage(
            input_tokens=usage.get("prompt_tokens"),
            output_tokens=usage.get("completion_tokens"),
            cache_read_tokens=usage.get("cache_read_tokens"),
            cache_write_tokens=usage.get("cache_creation_tokens"),
        )
        at = datetime.fromtimestamp(start_ns // 1_000_000_000, UTC)
    except Exception as error:  # noqa: BLE001 - the package rejects these counts or times: leave the cost out
        counted("the price of a call", error)
        return None
    for seller in (provider, None) if provider else (None,):
        try:
            found = prices.calc_price(amount, model_ref=model, provider_id=seller, genai_request_timestamp=at)
        except LookupError:  # not listed
            continue
        except Exception as error:  # noqa: BLE001 - a missing price must not cost the trace
            counted("the price of a call", error)
            continue
        parts = {"input": found.input_price, "output": found.output_price, "total": found.total_price}
        return Priced({name: float(part) for name, part in parts.items()}, f"genai-prices {prices.__version__}")
    return None


@cache
def load_prices() -> Any:
    """Load the price list (half a second of CPU), once, and return it; None if it is not installed."""
    try:
        return import_module("genai_prices")
    except ImportError:
        return None
