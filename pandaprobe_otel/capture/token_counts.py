"""Counts given to `set_token_usage` that PandaProbe has no column for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel.mapping.usage import BAG_NAMES
from pandaprobe_otel.process.guard import mistake

KNOWN: Final = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
    "reasoning_tokens",
    "audio_tokens",
    "accepted_prediction_tokens",
    "rejected_prediction_tokens",
)
_DETAILS: Final = (
    "input_token_details",
    "output_token_details",
    "prompt_tokens_details",
    "input_tokens_details",
    "completion_tokens_details",
    "output_tokens_details",
)


def odd_counts(usage: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return invalid counts and counts with unknown names, with a warning; None if there are none."""
    odd: dict[str, Any] | None = None
    for name, value in usage.items():
        is_known = name in KNOWN or name in BAG_NAMES
        if is_known and type(value) is int and 0 <= value < 2**31:
            continue
        if value is None or (name in _DETAILS and isinstance(value, Mapping)):  # as in a provider's usage object
            continue
        odd = odd or {}
        odd[name] = value
        if not is_known:
            why = f"{name} is not one of {', '.join(KNOWN)}"
        else:
            why = f"{name} is not a whole number from 0 to 2147483647"
        mistake(f"set_token_usage: {why}; it is kept in the span's metadata, under token_usage, and not counted.")
    return odd
