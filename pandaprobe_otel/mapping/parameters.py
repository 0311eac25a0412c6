"""Model parameters, by a list of known names: the objects that contain them also contain keys, URLs and prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel.mapping.values import decoded, is_absent, mapping, type_of

KNOWN: Final = frozenset(
    {
        "temperature", "top_p", "top_k", "seed", "n", "candidate_count", "max_tokens", "max_output_tokens",
        "max_completion_tokens", "frequency_penalty", "presence_penalty", "stop", "stop_sequences",
        "response_format", "response_modalities", "response_mime_type", "reasoning_effort", "reasoning",
        "thinking", "thinking_level", "thinking_budget", "thinking_config", "stream_options", "service_tier",
        "truncation", "logprobs", "top_logprobs",
    }
)  # fmt: skip
"""Parameter names of the official SDK (version 0.6.0)."""

_INSIDE: Final = ("options", "invocation_params")
"""Keys of objects with parameters inside others (Ollama, LangChain)."""
_RENAMED: Final = {
    "topP": "top_p", "topK": "top_k", "maxTokens": "max_tokens", "maxOutputTokens": "max_tokens",
    "frequencyPenalty": "frequency_penalty", "presencePenalty": "presence_penalty",
    "stopSequences": "stop_sequences", "responseFormat": "response_format", "candidateCount": "candidate_count",
    "reasoningEffort": "reasoning_effort", "serviceTier": "service_tier", "thinkingConfig": "thinking_config",
    "responseMimeType": "response_mime_type", "responseModalities": "response_modalities",
    "maxCompletionTokens": "max_completion_tokens", "topLogprobs": "top_logprobs", "candidateCounts": "n",
}  # fmt: skip
_STRUCTURED: Final = frozenset(
    {"response_format", "reasoning", "thinking", "thinking_config", "stop", "stop_sequences"}
)


def bag(value: Any) -> dict[str, Any] | None:
    """Return the known parameters of an object or of its JSON text."""
    source = mapping(value)
    return selected(source) if source is not None else None


def selected(source: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the known parameters among the keys, under PandaProbe's names."""
    result: dict[str, Any] = {}
    inner: list[Any] = [source.get(key) for key in _INSIDE]
    for known in (source, *(one for one in inner if type_of(one) is dict)):
        for key, value in known.items():
            name = _RENAMED.get(key, key)
            if name in KNOWN and (value := normal(name, value)) is not None:
                result.setdefault(name, value)
    return result or None


def normal(name: str, value: Any) -> Any:
    """Return the value in the form to send; None if it has no meaning (null, empty, one choice)."""
    if name == "n":
        return choices(value)
    if name in _WHOLE:
        return whole(value)
    value = simple(value)
    return decoded(value) if name in _STRUCTURED else value


def simple(value: Any) -> Any:
    """Return the value unchanged, or None if it is absent."""
    kind = type_of(value)
    if kind is float or kind is int:
        return value
    return None if is_absent(value) else value


def whole(value: Any) -> Any:
    """Return a float without a fraction, such as 40.0, as an integer."""
    if type(value) is float and math.isfinite(value) and value == int(value):
        return int(value)
    return simple(value)


def choices(value: Any) -> Any:
    """Return the number of choices, or None for one choice, which is the default."""
    value = whole(value)
    return None if value == 1 else value


_WHOLE: Final = frozenset({"top_k", "seed"})
