"""Request parameters that the APIs of OpenAI share."""

from __future__ import annotations

from typing import Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._endpoint import Attributes, Body
from pandaprobe_otel_integrations._json_attributes import Readings, more_than_one, read, true
from pandaprobe_otel_integrations._shape import integer, number, string, strings

SAMPLING: Final[Readings] = {
    "model": (names.REQUEST_MODEL, string),
    "temperature": (names.TEMPERATURE, number),
    "top_p": (names.TOP_P, number),
    "top_k": (names.TOP_K, number),
    "frequency_penalty": (names.FREQUENCY_PENALTY, number),
    "presence_penalty": (names.PRESENCE_PENALTY, number),
    "seed": (names.SEED, integer),
    "stop": (names.STOP_SEQUENCES, strings),
    "n": (names.CHOICE_COUNT, more_than_one),
    "stream": (names.STREAM, true),
    "service_tier": (names.REQUEST_SERVICE_TIER, string),
}
LIMITS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
"""Limits of the output; the first one that is set counts."""


def sampling_attributes(body: Body, readings: Readings = SAMPLING) -> Attributes:
    """Return model, sampling and limits. Pass `readings` for an endpoint that has more than `SAMPLING`."""
    attributes = read(body, readings)
    for key in LIMITS:
        if key in body and (limit := integer(body[key])) is not None:
            attributes[names.MAX_TOKENS] = limit
            break
    return attributes
