"""A set of objects by identity that does not keep them alive; they need not be hashable."""

from __future__ import annotations

import weakref
from typing import Any


class IdentitySet:
    """Weak, by identity."""

    def __init__(self) -> None:
        self._found: dict[int, weakref.ref[Any]] = {}

    def add(self, thing: Any) -> None:
        """Raises TypeError for an object that cannot be referred to weakly."""
        key = id(thing)
        self._found[key] = weakref.ref(thing, lambda _: self._found.pop(key, None))

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, thing: object) -> bool:
        found = self._found.get(id(thing))
        return found is not None and found() is thing
