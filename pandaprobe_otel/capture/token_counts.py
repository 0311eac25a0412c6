"""Counts given to `set_token_usage` that PandaProbe has no column for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

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
_OF_PROVIDERS: Final = (
    "input_tokens",
    "inputTokens",
    "promptTokens",
    "output_tokens",
    "outputTokens",
    "completionTokens",
    "totalTokens",
    "cached_tokens",
    "cache_read_input_tokens",
    "cachedInputTokens",
    "cacheReadInputTokens",
    "cache_creation_input_tokens",
    "cache_write_tokens",
    "cache_write_input_tokens",
    "cacheWriteInputTokens",
    "reasoningTokens",
)
_DETAILS: Final = (
    "input_token_details",
    "output_token_details",
    "prompt_tokens_details",
    "input_tokens_details",
    "completion_tokens_details",
    "output_tokens_details",
)
_UNDERSTOOD: Final = frozenset((*KNOWN, *_OF_PROVIDERS))
_MAX_COUNT: Final = 2**31 - 1


def odd_counts(usage: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return invalid counts and counts with unknown names, with a warning; None if there are none."""
    odd: dict[str, Any] | None = None
    for name, value in usage.items():
        if name in _UNDERSTOOD and type(value) is int and 0 <= value <= _MAX_COUNT:
            continue
        if value is None or (name in _DETAILS and isinstance(value, Mapping)):  # as in a provider's usage object
            continue
        odd = odd or {}
        odd[name] = value
        if name not in _UNDERSTOOD:
            why = f"{name} is not one of {', '.join(KNOWN)}"
        else:
            why = f"{name} is not a whole number from 0 to 2147483647"
        mistake(f"set_token_usage: {why}; it is kept in the span's metadata, under token_usage, and not counted.")
    return odd
