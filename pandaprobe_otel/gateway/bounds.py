"""Bounds of one request. Larger ones are refused before anything is built from them, or soon after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_FRAMES: Final = 100_000
"""Spans, scopes and resources of a request. A Collector sends 8,192 spans by default."""
MOST_ITEMS: Final = 4096
"""Attributes, events and links of a span, each. The limit of `init()` for attributes is the same."""
MOST_FIELDS: Final = 200_000
"""Fields of a span, including those in its values: an attribute has three, an element of a list two."""
MOST_IN_REQUEST: Final = 1_000_000
"""Attributes, elements of lists and maps, and four for each event or link, of all spans: about a second of CPU."""
JSON_VALUES: Final = 250_000
JSON_BYTES_A_VALUE: Final = 13
"""The allowed number of JSON values of a span: JSON_VALUES, plus one for each JSON_BYTES_A_VALUE bytes of it.

An object counts as three values. Each value takes at most 90 bytes of memory.
"""


@dataclass(slots=True)
class Allowance:
    """The unused part of a request's bound."""

    left: int = MOST_IN_REQUEST

    @property
    def is_used_up(self) -> bool:
        """True once the request has exceeded its bound."""
        return self.left < 0
