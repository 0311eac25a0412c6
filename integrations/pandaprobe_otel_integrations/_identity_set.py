"""A set that compares objects by identity and does not keep them alive. The objects need not be hashable."""

from __future__ import annotations

import weakref
from typing import Any


class IdentitySet:
    """A weak set of objects by identity."""

    def __init__(self) -> None:
        self._found: dict[int, weakref.ref[Any]] = {}

    def add(self, thing: Any) -> None:
        """Add an object. Raises TypeError for an object that supports no weak references."""
        key = id(thing)
        self._found[key] = weakref.ref(thing, lambda _: self._found.pop(key, None))

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, thing: object) -> bool:
        found = self._found.get(id(thing))
        return found is not None and found() is thing
