"""Bounds of one request. Larger ones are refused before or soon after objects are built from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_FRAMES: Final = 100_000
"""Spans, scopes and resources of a request. A Collector sends 8,192 spans by default."""
MOST_ITEMS: Final = 4096
"""Attributes, events and links of a span, for each of the three. `init()` has the same limit for attributes."""
MOST_FIELDS: Final = 200_000
"""Fields of a span, including those in its values. An attribute has three, and an element of a list two."""
MOST_IN_REQUEST: Final = 1_000_000
"""Total of attributes and elements of lists and maps, plus four for each event or link. The bound is about a second of
CPU.
"""
JSON_VALUES: Final = 250_000
JSON_BYTES_A_VALUE: Final = 13
"""The allowed number of JSON values of a span: JSON_VALUES, plus one for each JSON_BYTES_A_VALUE bytes of the span."""


@dataclass(slots=True)
class Allowance:
    """The unused part of a request's bound."""

    left: int = MOST_IN_REQUEST

    @property
    def is_used_up(self) -> bool:
        """True once the request has exceeded its bound."""
        return self.left < 0
