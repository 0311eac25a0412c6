"""Request parameters that the APIs of OpenAI share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._endpoint import Attributes, Body
from pandaprobe_otel_integrations._shape import integer, number, string, strings


def _more_than_one(value: Any) -> int | None:
    count = integer(value)
    return count if count is not None and count > 1 else None


def _true(value: Any) -> bool | None:
    return True if value is True else None


_READ: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "model": (names.REQUEST_MODEL, string),
    "temperature": (names.TEMPERATURE, number),
    "top_p": (names.TOP_P, number),
    "top_k": (names.TOP_K, number),
    "frequency_penalty": (names.FREQUENCY_PENALTY, number),
    "presence_penalty": (names.PRESENCE_PENALTY, number),
    "seed": (names.SEED, integer),
    "stop": (names.STOP_SEQUENCES, strings),
    "n": (names.CHOICE_COUNT, _more_than_one),
    "stream": (names.STREAM, _true),
    "service_tier": (names.REQUEST_SERVICE_TIER, string),
}
_LIMITS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
"""The first one counts."""


def sampling_attributes(body: Body) -> Attributes:
    """Model, sampling and limits. Only these are read: a request may carry keys and users' names elsewhere."""
    attributes: Attributes = {}
    for key, value in body.items():
        if (reading := _READ.get(key)) is not None:
            attributes[reading[0]] = reading[1](value)
    for key in _LIMITS:
        if key in body and (limit := integer(body[key])) is not None:
            attributes[names.MAX_TOKENS] = limit
            break
    return attributes
