"""Spans that are rejected while others of the request are accepted: OTLP's partial success."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from pandaprobe_otel.gateway.bounds import (
    MOST_FIELDS,
    MOST_IN_REQUEST,
    MOST_ITEMS,
)


class Rejected(NamedTuple):
    """A rejected span: the reason, and the library's own message."""

    reason: str
    detail: str = ""


UNREADABLE: Final = "cannot be read"
NO_IDS: Final = Rejected("have no valid trace id or span id")
TOO_MANY_ITEMS: Final = Rejected(f"have more than {MOST_ITEMS} attributes, events or links")
TOO_MANY_FIELDS: Final = Rejected(f"have more than {MOST_FIELDS} fields, including those in their values")
BEYOND: Final = Rejected(
    f"exceed {MOST_IN_REQUEST} attributes, events and elements in one request; send smaller batches"
)


class Rejections:
    """Counts of rejected spans. `message` is for the sender."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._details: dict[str, str] = {}

    def add(self, rejected: Rejected) -> None:
        """Count a rejected span."""
        self._counts[rejected.reason] += 1
        if rejected.detail:
            self._details.setdefault(rejected.reason, f" (the first: {rejected.detail[:300]})")

    @property
    def count(self) -> int:
        """The number of all rejected spans."""
        return self._counts.total()

    @property
    def message(self) -> str:
        """The numbers by reason, in words; empty if there are none."""
        return "; ".join(
            f"{count} spans {reason}{self._details.get(reason, '')}" for reason, count in self._counts.items()
        )
