"""Detection of slow traces by name: they are slower than 49 of 50 recent ones, and take over twice the usual time."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_MOST_NAMES: Final = 1000
_NEEDED: Final = 20
"""Number of known traces of a name before any of them counts as slow."""
_UP: Final = 1.2
_DOWN: Final = 0.9963
"""Factor of a step down. One step up and 49 steps down make 1, so one trace in fifty stays above the mark."""
_USUAL: Final = 2.0
_WEIGHT: Final = 0.05


class _Durations:
    __slots__ = ("count", "mark_s", "usual_s")

    def __init__(self, first_s: float) -> None:
        self.count, self.mark_s, self.usual_s = 1, first_s, first_s

    def add(self, duration_s: float) -> bool:
        is_slow = self.count >= _NEEDED and duration_s > max(self.mark_s, self.usual_s * _USUAL)
        self.count += 1
        self.mark_s *= _UP if duration_s > self.mark_s else _DOWN
        self.usual_s += _WEIGHT * (duration_s - self.usual_s)
        return is_slow


class Slowness:
    """Two numbers for each of the last thousand names. Not thread-safe."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, _Durations] = OrderedDict()

    def is_slow(self, name: str, duration_s: float) -> bool:
        """Return whether a trace of this name took unusually long, and count it for later ones."""
        known = self._names.get(name)
        if known is None:
            self._names[name] = _Durations(duration_s)
            if len(self._names) > _MOST_NAMES:
                self._names.popitem(last=False)
            return False
        self._names.move_to_end(name)
        return known.add(duration_s)
