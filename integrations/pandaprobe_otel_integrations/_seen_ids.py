"""Things that the app may fetch often and that cost once: who has seen which of them already."""

from __future__ import annotations

from typing import Final

_MAX_KEPT: Final = 1024


class SeenIds:
    """Ids that have been seen in this process; of many, the oldest are forgotten."""

    def __init__(self) -> None:
        self._seen: dict[str, None] = {}

    def __contains__(self, one: object) -> bool:
        return one in self._seen

    def is_first(self, one: str | None) -> bool:
        """Return whether this is the first time for this id. What has none is never new."""
        if one is None or one in self._seen:
            return False
        if len(self._seen) >= _MAX_KEPT:
            self._seen.pop(next(iter(self._seen)), None)
        self._seen[one] = None
        return True
