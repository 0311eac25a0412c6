"""Parameters, token counts and errors, which requests and answers of the OpenAI protocol share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._endpoint import (
    Attributes,
    Fields,
    Service,
    Table,
    common,
    counted,
)
from pandaprobe_otel_integrations._json import Object, integer, number, obj, string
from pandaprobe_otel_integrations._other_members import Counts

# Token counts of OpenAI's APIs. As in the conventions, input includes cached tokens, and output includes reasoning.

_INPUT_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTPUT_DETAILS: Final = ("completion_tokens_details", "output_tokens_details", "output_token_details")


_COUNTS: Final = Table(
    {
        "prompt_tokens": (names.INPUT_TOKENS, integer),
        "completion_tokens": (names.OUTPUT_TOKENS, integer),
        "prompt_cache_hit_tokens": (names.CACHE_READ_TOKENS, integer),
        "cost": (names.COST, number),  # OpenRouter's, in US dollars
    }
)
_NEWER: Final = Table(
    {
        "input_tokens": (names.INPUT_TOKENS, integer),
        "output_tokens": (names.OUTPUT_TOKENS, integer),
    }
)
"""Names of the Responses API. If a service sends older and newer names, the older ones count."""
_INPUTS: Final = Table(
    {
        "cached_tokens": (names.CACHE_READ_TOKENS, integer),
        "cache_write_tokens": (names.CACHE_WRITE_TOKENS, integer),
        "audio_tokens": (names.AUDIO_INPUT_TOKENS, counted),
        "image_tokens": (names.IMAGE_INPUT_TOKENS, counted),
        "text_tokens": (names.TEXT_INPUT_TOKENS, counted),
    }
)
_OUTPUTS: Final = Table(
    {
        "reasoning_tokens": (names.REASONING_TOKENS, integer),
        "audio_tokens": (names.AUDIO_OUTPUT_TOKENS, counted),
        "image_tokens": (names.IMAGE_OUTPUT_TOKENS, counted),
        "text_tokens": (names.TEXT_OUTPUT_TOKENS, counted),
    }
)
COUNTED: Final[Counts] = {
    **dict.fromkeys((*_COUNTS.known, *_NEWER.known, "total_tokens")),
    **dict.fromkeys(_INPUT_DETAILS, _INPUTS.known),
    **dict.fromkeys(_OUTPUT_DETAILS, _OUTPUTS.known),
}
"""Counts of a usage that have attributes."""


def usage_attributes(usage: Any) -> Attributes:
    """Return the usage object of a chat, completion, embedding or response; nothing if the service sent none."""
    counts = obj(usage)
    if not counts:
        return {}
    found = _COUNTS.read(counts)
    if names.INPUT_TOKENS not in found or names.OUTPUT_TOKENS not in found:
        found = {**_NEWER.read(counts), **found}
    _add_details(found, counts, _INPUT_DETAILS, _INPUTS)
    _add_details(found, counts, _OUTPUT_DETAILS, _OUTPUTS)
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


def _add_details(found: Attributes, counts: Object, members: Sequence[str], inner: Table) -> None:
    for member in members:
        if details := counts.get(member):
            found.update(inner.read(obj(details)))
            return


# -- request parameters that the APIs of OpenAI share ------------------------------------------------------------------


def _limit(newest: Any, of_responses: Any, oldest: Any) -> int | None:
    return integer(newest if newest is not None else of_responses if of_responses is not None else oldest)


SAMPLING: Final[Fields] = {
    **common(
        *("model", "temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed", "n", "stream"),
        stop="stop_sequences",
    ),
    "service_tier": (names.REQUEST_SERVICE_TIER, string),
    ("max_completion_tokens", "max_output_tokens", "max_tokens"): (names.MAX_TOKENS, _limit),
}
"""Model, sampling and limits of the output."""
PARAMETERS: Final = Table(SAMPLING)


OUTPUT_TYPES: Final = {"text": "text", "json_object": "json", "json_schema": "json"}
OPENAI: Final = Service(usage=usage_attributes, counted=COUNTED)
