"""Token counts of OpenAI's APIs. Its input includes cached tokens and its output reasoning, as the conventions do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._endpoint import Attributes
from pandaprobe_otel_integrations._readings import Readings, counted, read
from pandaprobe_otel_integrations._shape import Object, integer, obj

USAGE_NAMES: Final = (
    names.INPUT_TOKENS,
    names.OUTPUT_TOKENS,
    names.CACHE_READ_TOKENS,
    names.CACHE_WRITE_TOKENS,
    names.REASONING_TOKENS,
    names.AUDIO_INPUT_TOKENS,
    names.AUDIO_OUTPUT_TOKENS,
)
"""Attributes that a usage may become."""
_INPUT_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTPUT_DETAILS: Final = ("completion_tokens_details", "output_tokens_details", "output_token_details")


_COUNTS: Final[Readings] = {
    "prompt_tokens": (names.INPUT_TOKENS, integer),
    "completion_tokens": (names.OUTPUT_TOKENS, integer),
    "prompt_cache_hit_tokens": (names.CACHE_READ_TOKENS, integer),
}
_NEWER: Final[Readings] = {
    "input_tokens": (names.INPUT_TOKENS, integer),
    "output_tokens": (names.OUTPUT_TOKENS, integer),
}
"""Names of the Responses API; some services have both, of which the older ones count."""
_INPUTS: Final[Readings] = {
    "cached_tokens": (names.CACHE_READ_TOKENS, integer),
    "cache_write_tokens": (names.CACHE_WRITE_TOKENS, integer),
    "audio_tokens": (names.AUDIO_INPUT_TOKENS, counted),
}
_OUTPUTS: Final[Readings] = {
    "reasoning_tokens": (names.REASONING_TOKENS, integer),
    "audio_tokens": (names.AUDIO_OUTPUT_TOKENS, counted),
}


def usage_attributes(usage: Any) -> Attributes:
    """The usage object of a chat, completion, embedding or response; nothing where the service sent none."""
    counts = obj(usage)
    if not counts:
        return {}
    found = read(counts, _COUNTS)
    if names.INPUT_TOKENS not in found or names.OUTPUT_TOKENS not in found:
        found = {**read(counts, _NEWER), **found}
    _add_details(found, counts, _INPUT_DETAILS, _INPUTS)
    _add_details(found, counts, _OUTPUT_DETAILS, _OUTPUTS)
    return found


def _add_details(found: Attributes, counts: Object, members: Sequence[str], readings: Readings) -> None:
    for member in members:
        if details := counts.get(member):
            found.update(read(obj(details), readings))
            return
