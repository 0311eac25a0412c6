"""Spans that are not taken while others of their request are: OTLP's partial success."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from pandaprobe_otel.gateway.bounds import MOST_FIELDS, MOST_IN_REQUEST, MOST_ITEMS


class Rejected(NamedTuple):
    """One span, why it is not taken, and what the library says of it."""

    reason: str
    detail: str = ""


UNREADABLE: Final = "cannot be read"
NO_IDS: Final = Rejected("have no valid trace id or span id")
TOO_MANY_ITEMS: Final = Rejected(f"have more than {MOST_ITEMS} attributes, events or links")
TOO_MANY_FIELDS: Final = Rejected(f"have more than {MOST_FIELDS} fields with those in their values")
BEYOND: Final = Rejected(
    f"come after {MOST_IN_REQUEST} attributes, events and elements in one request; send smaller batches"
)


class Rejections:
    """Counts them; `message` tells the sender."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._details: dict[str, str] = {}

    def add(self, rejected: Rejected) -> None:
        """One more."""
        self._counts[rejected.reason] += 1
        if rejected.detail:
            self._details.setdefault(rejected.reason, f" (the first: {rejected.detail[:300]})")

    @property
    def count(self) -> int:
        """The number of all of them."""
        return self._counts.total()

    @property
    def message(self) -> str:
        """Their numbers by reason, in words; empty when there were none."""
        return "; ".join(
            f"{count} spans {reason}{self._details.get(reason, '')}" for reason, count in self._counts.items()
        )
