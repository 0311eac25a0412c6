"""Token counts of OpenAI's APIs. Its input includes cached tokens and its output reasoning, as the conventions do."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._endpoint import Attributes
from pandaprobe_otel_integrations._shape import Object, integer, obj

_NAMES: Final = (
    names.INPUT_TOKENS,
    names.OUTPUT_TOKENS,
    names.CACHE_READ_TOKENS,
    names.CACHE_WRITE_TOKENS,
    names.REASONING_TOKENS,
    names.AUDIO_INPUT_TOKENS,
    names.AUDIO_OUTPUT_TOKENS,
)


def usage_attributes(usage: Any) -> Attributes:
    """The usage object of a chat, completion, embedding or response; nothing where the service sent none."""
    counts = obj(usage)
    if not counts:
        return dict.fromkeys(_NAMES)
    inputs = _details(counts, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    outputs = _details(counts, "completion_tokens_details", "output_tokens_details", "output_token_details")
    cached = _first(inputs.get("cached_tokens"), counts.get("prompt_cache_hit_tokens"))
    return {
        names.INPUT_TOKENS: _first(counts.get("prompt_tokens"), counts.get("input_tokens")),
        names.OUTPUT_TOKENS: _first(counts.get("completion_tokens"), counts.get("output_tokens")),
        names.CACHE_READ_TOKENS: cached,
        names.CACHE_WRITE_TOKENS: integer(inputs.get("cache_write_tokens")),
        names.REASONING_TOKENS: integer(outputs.get("reasoning_tokens")),
        names.AUDIO_INPUT_TOKENS: integer(inputs.get("audio_tokens")) or None,
        names.AUDIO_OUTPUT_TOKENS: integer(outputs.get("audio_tokens")) or None,
    }


def _details(counts: Object, *keys: str) -> Object:
    for key in keys:
        if found := counts.get(key):
            return obj(found)
    return {}


def _first(*values: Any) -> int | None:
    for value in values:
        if value is not None and (found := integer(value)) is not None:
            return found
    return None
