"""Request parameters that the APIs of OpenAI share."""

from __future__ import annotations

from typing import Any

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._endpoint import Attributes, Body
from pandaprobe_otel_integrations._shape import integer, number, string, strings


def sampling_attributes(body: Body) -> Attributes:
    """Model, sampling and limits. Only these are read: a request may carry keys and users' names elsewhere."""
    return {
        names.REQUEST_MODEL: string(body.get("model")),
        names.TEMPERATURE: number(body.get("temperature")),
        names.TOP_P: number(body.get("top_p")),
        names.TOP_K: number(body.get("top_k")),
        names.MAX_TOKENS: _first(body, "max_completion_tokens", "max_output_tokens", "max_tokens"),
        names.FREQUENCY_PENALTY: number(body.get("frequency_penalty")),
        names.PRESENCE_PENALTY: number(body.get("presence_penalty")),
        names.SEED: integer(body.get("seed")),
        names.STOP_SEQUENCES: strings(body.get("stop")),
        names.CHOICE_COUNT: _more_than_one(body.get("n")),
        names.STREAM: True if body.get("stream") is True else None,
        names.REQUEST_SERVICE_TIER: string(body.get("service_tier")),
    }


def _first(body: Body, *keys: str) -> int | None:
    for key in keys:
        if (found := integer(body.get(key))) is not None:
            return found
    return None


def _more_than_one(value: Any) -> int | None:
    count = integer(value)
    return count if count is not None and count > 1 else None
