"""Bounds of one request. More than that is refused before anything is made of it, or soon after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_FRAMES: Final = 100_000
"""Spans, scopes and resources of a request. A Collector sends 8,192 spans unless it is told otherwise."""
MOST_ITEMS: Final = 4096
"""Attributes, events and links of a span, each. The limit of `init()` for attributes is the same."""
MOST_FIELDS: Final = 200_000
"""Fields of a span, those in its values included: an attribute has three, an element of a list two."""
MOST_IN_REQUEST: Final = 1_000_000
"""Attributes, elements of lists and maps, and four for each event or link, of all spans: about a second of CPU."""
JSON_VALUES: Final = 250_000
JSON_BYTES_A_VALUE: Final = 13
"""So many values, and one more for so many bytes; an object counts as three. Each takes 90 bytes of memory at most."""


@dataclass(slots=True)
class Allowance:
    """The part of a bound that a request has not used."""

    left: int = MOST_IN_REQUEST

    @property
    def is_used_up(self) -> bool:
        """True once there was more than may be."""
        return self.left < 0
