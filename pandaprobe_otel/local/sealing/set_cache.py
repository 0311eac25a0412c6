"""Cache of sets of traces, for parts of the index that have not changed since they were read."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias, TypeVar

Versions: TypeAlias = tuple[int, ...]
"""Versions of a part's chunks. A chunk gets a new random version at each change, so equal versions mean equal sets."""

Key = TypeVar("Key", int, str)
"""Id of a facet, or a query of words."""
_ENTRY: Final = 200
_VERSION: Final = 40
"""Approximate bytes of an entry, and of a version in it, beside its set and its key."""


class SetCache:
    """The most recently used sets, bounded by their bytes. It can be shared by threads and databases."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._sets: OrderedDict[tuple[int | str, Versions], int] = OrderedDict()
        self._bytes = 0

    def get(self, keys: Iterable[Key], versions: Versions) -> dict[Key, int]:
        """Return the known sets."""
        found: dict[Key, int] = {}
        with self._lock:
            for key in keys:
                bits = self._sets.get((key, versions))
                if bits is not None:
                    found[key] = bits
                    self._sets.move_to_end((key, versions))
        return found

    def put(self, sets: Mapping[Key, int], versions: Versions) -> None:
        """Remember sets."""
        with self._lock:
            for key, bits in sets.items():
                if (key, versions) not in self._sets:
                    self._sets[key, versions] = bits
                    self._bytes += _size(key, versions, bits)
            while self._bytes > self._max_bytes:
                (gone, of), dropped = self._sets.popitem(last=False)
                self._bytes -= _size(gone, of, dropped)


def _size(key: int | str, versions: Versions, bits: int) -> int:
    """Return the approximate bytes of an entry; a query of words may be longer than its set."""
    return _ENTRY + _VERSION * len(versions) + sys.getsizeof(key) + sys.getsizeof(bits)
