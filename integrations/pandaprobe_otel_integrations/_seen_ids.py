"""Ids of objects that the app may fetch often but that cost only once."""

from __future__ import annotations

from typing import Final

_MAX_KEPT: Final = 1024


class SeenIds:
    """Ids that were seen in this process. If there are too many, the oldest are forgotten."""

    def __init__(self) -> None:
        self._seen: dict[str, None] = {}

    def __contains__(self, one: object) -> bool:
        return one in self._seen

    def is_first(self, one: str | None) -> bool:
        """Return whether this id is seen for the first time. A missing id is never new."""
        if one is None or one in self._seen:
            return False
        if len(self._seen) >= _MAX_KEPT:
            self._seen.pop(next(iter(self._seen)), None)
        self._seen[one] = None
        return True
