"""A stream of objects during reading: like an ObservedBody, but with objects in place of bytes."""

from __future__ import annotations

from time import time_ns
from typing import Any, Final

from .body import ObservedBody

MAX_ITEMS: Final = 200_000
"""Number of objects of a stream that are kept. For later objects, only the time is recorded."""


class ObservedItems(ObservedBody):
    """Receives every object that the app pulls, and calls `on_end` once, at the first of its possible ends.

    The objects are read only at the end: the library keeps them itself, so a reference costs nothing.
    """

    __slots__ = ()

    def keep(self, chunk: Any) -> None:
        """Keep one object. This costs two appends."""
        self._times_ns.append(time_ns())
        if len(self._chunks) < MAX_ITEMS:
            self._chunks.append(chunk)
