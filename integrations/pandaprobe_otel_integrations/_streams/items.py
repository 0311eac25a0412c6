"""A stream of objects that is being read: as an ObservedBody, but what is kept are the objects."""

from __future__ import annotations

from time import time_ns
from typing import Any, Final

from .body import ObservedBody

MAX_ITEMS: Final = 200_000
"""Objects of one stream that are kept; later ones only count for the time."""


class ObservedItems(ObservedBody):
    """Receives every object that the app pulls and calls `on_end` once, whoever ends it first.

    The objects are not looked at before the end: the library keeps them itself, so a reference costs nothing.
    """

    __slots__ = ()

    def keep(self, chunk: Any) -> None:
        """One object was pulled. Costs two appends."""
        self._times_ns.append(time_ns())
        if len(self._chunks) < MAX_ITEMS:
            self._chunks.append(chunk)
