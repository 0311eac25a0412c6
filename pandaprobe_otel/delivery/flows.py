"""How many of something there were a minute of late, and where to cut when fewer are wanted."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

MEMORY_S: Final = 120.0
"""What is longer ago counts for little: weights fall by e in this time."""
_SMALLEST_KNOWN: Final = 0.2
_STEP: Final = 0.02
_NONE: Final = 0.01
_REMEMBERED: Final = 1000
"""Traces whose randomness decides where the cut is."""


class Rate:
    """Events a minute, decaying. Times in seconds, never falling."""

    def __init__(self, now: float) -> None:
        self._since = self._at = now
        self._weight = 0.0

    def count(self, now: float) -> None:
        """There was one."""
        self._weight = self._weight_at(now) + 1.0
        self._at = now

    def per_minute(self, now: float) -> float:
        """Of late; since the beginning, while that is not long ago."""
        observed_s = MEMORY_S * -math.expm1(-max(now - self._since, 1.0) / MEMORY_S)
        return self._weight_at(now) / observed_s * 60.0

    def _weight_at(self, now: float) -> float:
        return self._weight * math.exp((self._at - now) / MEMORY_S)


class Flow:
    """Traces of one kind that arrive, and the randomness below which one of them is left out.

    The cut is a quantile of what arrived, not the share itself: when somebody upstream has sampled by the same
    randomness, what arrives is not spread evenly. Within its highest fifth it is taken to be, since so few would tell
    nothing of a hundredth.
    """

    def __init__(self, now: float) -> None:
        self._rate = Rate(now)
        self._seen: deque[float] = deque(maxlen=_REMEMBERED)
        self.cut = 0.0

    def arrived(self, randomness: float, now: float) -> None:
        """There was one."""
        self._rate.count(now)
        self._seen.append(randomness)

    def per_minute(self, now: float) -> float:
        """How many arrive."""
        return self._rate.per_minute(now)

    def limit(self, most: float, now: float) -> float:
        """Let so many a minute through; return how many that will be. To be called once a second."""
        arriving = self.per_minute(now)
        if arriving <= most:
            self._move(0.0)
            return arriving
        share = max(most, 0.0) / arriving
        known = max(share, _SMALLEST_KNOWN)
        quantile = sorted(self._seen)[int((1.0 - known) * len(self._seen))]
        self._move(1.0 - (1.0 - quantile) * share / known)
        return most

    def _move(self, cut: float) -> None:
        """Go there in steps: who shares the traces would take a cut that trembles for its highest value."""
        step = 1.0 if not self.cut else _STEP
        self.cut += (cut - self.cut) * step
        if self.cut < _NONE:
            self.cut = 0.0
