"""Cache of facets' sets of traces, for parts of the index that have not changed since they were read."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

Versions: TypeAlias = tuple[int, ...]
"""Versions of a part's chunks. A chunk gets a new random version at each change, so equal versions mean equal sets."""

_ENTRY: Final = 200
"""Approximate bytes of an entry beside its set."""


class SetCache:
    """The most recently used sets, bounded by their bytes. It can be shared by threads and databases."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._sets: OrderedDict[tuple[int, Versions], int] = OrderedDict()
        self._bytes = 0

    def get(self, facets: Iterable[int], versions: Versions) -> dict[int, int]:
        """Return the known sets of facets, by the facets' ids."""
        found: dict[int, int] = {}
        with self._lock:
            for facet in facets:
                bits = self._sets.get((facet, versions))
                if bits is not None:
                    found[facet] = bits
                    self._sets.move_to_end((facet, versions))
        return found

    def put(self, sets: Mapping[int, int], versions: Versions) -> None:
        """Remember the sets of facets."""
        with self._lock:
            for facet, bits in sets.items():
                if (facet, versions) not in self._sets:
                    self._sets[facet, versions] = bits
                    self._bytes += _ENTRY + sys.getsizeof(bits)
            while self._bytes > self._max_bytes:
                _, dropped = self._sets.popitem(last=False)
                self._bytes -= _ENTRY + sys.getsizeof(dropped)
