"""Token counts of Cohere's APIs, and its finish reasons."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._endpoint import Attributes
from pandaprobe_otel_integrations._other_members import Counts
from pandaprobe_otel_integrations._shape import integer, obj, string

_FINISH_REASONS: Final = {
    "complete": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "error_limit": "length",
    "tool_call": "tool_call",
    "error_toxic": "content_filter",
}
"""Cohere's reasons in the conventions' words; all others stay, in lower case."""


def finish_reason(value: Any) -> str | None:
    """Return a finish reason in the conventions' words."""
    reason = string(value)
    return _FINISH_REASONS.get(reason.lower(), reason.lower()) if reason is not None else None


COUNTED: Final[Counts] = {
    "billed_units": frozenset({"input_tokens", "output_tokens"}),
    "cached_tokens": None,
}
"""Counts of a usage that have attributes. If the billed tokens differ, the model's tokens are kept as well."""


def usage_attributes(usage: Any) -> Attributes:
    """Return the usage from `usage` of the second version of the API, or `meta` of the first.

    Cohere reports the billed tokens, and the model's tokens, which include its own preamble. If there are both, the
    conventions want the billed tokens.
    """
    billed, seen = obj(obj(usage).get("billed_units")), obj(obj(usage).get("tokens"))
    return {
        names.INPUT_TOKENS: _count(billed, seen, "input_tokens"),
        names.OUTPUT_TOKENS: _count(billed, seen, "output_tokens"),
        names.CACHE_READ_TOKENS: integer(obj(usage).get("cached_tokens")),
    }


def _count(billed: Any, seen: Any, name: str) -> int | None:
    # Cohere's clients for AWS write -1 for a count that the service did not send.
    counts = (integer(billed.get(name)), integer(seen.get(name)))
    return next((count for count in counts if count is not None and count >= 0), None)
