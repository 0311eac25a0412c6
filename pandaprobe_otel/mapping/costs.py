"""Costs of one model call in US dollars. The server adds up only `total`."""

from __future__ import annotations

import math
from typing import Any, Final

from pandaprobe_otel.mapping.values import mapping, number

_RENAMED: Final = {
    "prompt": "input", "completion": "output", "input_cost": "input", "output_cost": "output", "total_cost": "total",
}  # fmt: skip
_MAX: Final = 1e12


def amounts(value: Any) -> dict[str, float] | None:
    """Return the amounts of an object under PandaProbe's names; a missing `total` is computed as the sum.

    Only finite, non-negative numbers are kept. With any other cost, the server loses the trace (measured on server
    0.5.0).
    """
    source = mapping(value)
    if source is None:
        return None
    costs: dict[str, float] = {}
    for key, item in source.items():
        amount = number(item)
        if amount is not None and 0 <= amount < _MAX:
            costs.setdefault(_RENAMED.get(key, key.removesuffix("_cost")), float(amount))
    if costs and "total" not in costs:
        costs["total"] = math.fsum(costs.values())
    return costs or None


def total(value: Any) -> dict[str, float] | None:
    """Return one amount as the total."""
    return amounts({"total": value})
