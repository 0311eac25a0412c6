"""Bounds of one request. Larger requests are refused before objects are built from them, or soon after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_FRAMES: Final = 100_000
"""Spans, scopes and resources of a request. A Collector sends 8,192 spans by default."""
MOST_ITEMS: Final = 4096
"""Attributes of a span. `init()` has the same limit. Each event and each link has this limit too."""
MOST_FIELDS: Final = 200_000
"""Fields of a span, including those in its values. An attribute has three, and an element of a list two."""
MOST_IN_REQUEST: Final = 1_000_000
"""Attributes and elements of lists and maps in a request. Each event or link counts as four more. Reading this number
takes about a second of CPU.
"""
JSON_VALUES: Final = 250_000
JSON_BYTES_A_VALUE: Final = 6
"""A request may have JSON_VALUES values in JSON, and one more for each JSON_BYTES_A_VALUE bytes. Spans with many short
attributes have one for each eight bytes.
"""


@dataclass(slots=True)
class Allowance:
    """The unused part of a request's bound."""

    left: int = MOST_IN_REQUEST

    @property
    def is_used_up(self) -> bool:
        """True once the request has exceeded its bound."""
        return self.left < 0
