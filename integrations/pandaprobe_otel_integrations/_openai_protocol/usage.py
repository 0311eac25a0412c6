"""Parameters, token counts and errors, which requests and answers of the OpenAI protocol share."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._endpoint import (
    Attributes,
    Fields,
    Service,
    Table,
    common,
    counted,
    first_integer,
)
from pandaprobe_otel_integrations._json import integer, number, obj, string

# Token counts of OpenAI's APIs. As in the conventions, input includes cached tokens, and output includes reasoning.

_INPUTS: Final[Fields] = {
    "cached_tokens": (names.CACHE_READ_TOKENS, integer),
    "cache_write_tokens": (names.CACHE_WRITE_TOKENS, integer),
    "audio_tokens": (names.AUDIO_INPUT_TOKENS, counted),
    "image_tokens": (names.IMAGE_INPUT_TOKENS, counted),
    "text_tokens": (names.TEXT_INPUT_TOKENS, counted),
}
_OUTPUTS: Final[Fields] = {
    "reasoning_tokens": (names.REASONING_TOKENS, integer),
    "audio_tokens": (names.AUDIO_OUTPUT_TOKENS, counted),
    "image_tokens": (names.IMAGE_OUTPUT_TOKENS, counted),
    "text_tokens": (names.TEXT_OUTPUT_TOKENS, counted),
}
_COUNTS: Final = Table(
    {
        "prompt_tokens": (names.INPUT_TOKENS, integer),
        "completion_tokens": (names.OUTPUT_TOKENS, integer),
        # The Responses API's names. Zeros of a service that sends these and the older ones do not count.
        "input_tokens": (names.INPUT_TOKENS, counted),
        "output_tokens": (names.OUTPUT_TOKENS, counted),
        "prompt_cache_hit_tokens": (names.CACHE_READ_TOKENS, integer),
        "cost": (names.COST, number),  # OpenRouter's, in US dollars
        **dict.fromkeys(("input_token_details", "input_tokens_details", "prompt_tokens_details"), _INPUTS),
        **dict.fromkeys(("output_token_details", "output_tokens_details", "completion_tokens_details"), _OUTPUTS),
    }
)


COUNTED: Final = _COUNTS.counts("total_tokens")
"""Counts of a usage that have attributes."""


def usage_attributes(usage: Any) -> Attributes:
    """Return the usage object of a chat, completion, embedding or response; nothing if the service sent none."""
    counts = obj(usage)
    found = _COUNTS.read(counts)
    if (total := counts.get("total_tokens")) is not None and names.OUTPUT_TOKENS in found:
        _add_thoughts(found, total)
    return found


def _add_thoughts(found: Attributes, total: Any) -> None:
    """Add reasoning tokens to the output for services that count them apart: xAI, and Gemini's compatible endpoint.

    Gemini's endpoint does not name them: they are the rest of the total, unless the rest equals the cached tokens.
    """
    beyond = (integer(total) or 0) - found.get(names.INPUT_TOKENS, 0) - found[names.OUTPUT_TOKENS]
    if beyond <= 0:
        return
    thought = found.get(names.REASONING_TOKENS)
    cached = found.get(names.CACHE_READ_TOKENS, 0) + found.get(names.CACHE_WRITE_TOKENS, 0)
    if beyond == thought or (not thought and beyond != cached):
        found[names.REASONING_TOKENS] = beyond
        found[names.OUTPUT_TOKENS] += beyond


# -- request parameters that the APIs of OpenAI share ------------------------------------------------------------------

SAMPLING: Final[Fields] = {
    **common(
        *("model", "temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed", "n", "stream"),
        stop="stop_sequences",
    ),
    "service_tier": (names.REQUEST_SERVICE_TIER, string),
    ("max_completion_tokens", "max_output_tokens", "max_tokens"): (names.MAX_TOKENS, first_integer),
}
"""Model, sampling and limits of the output."""
PARAMETERS: Final = Table(SAMPLING)


OUTPUT_TYPES: Final = {"text": "text", "json_object": "json", "json_schema": "json"}
OPENAI: Final = Service(usage=usage_attributes, counted=COUNTED)
