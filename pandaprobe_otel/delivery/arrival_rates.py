"""Recent rates of traces, and cuts that limit them."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

MEMORY_S: Final = 120.0
"""Time constant of the decay: in this time, the weight of an event falls by the factor e."""
_SMALLEST_KNOWN: Final = 0.2
_STEP: Final = 0.02
_NONE: Final = 0.01
_REMEMBERED: Final = 1000
"""Traces whose randomness determines the cut."""


class Rate:
    """Events per minute, with exponential decay. Times are in seconds and never decrease."""

    def __init__(self, now: float) -> None:
        self._since = self._at = now
        self._weight = 0.0

    def count(self, now: float) -> None:
        """Count one event."""
        self._weight = self._weight_at(now) + 1.0
        self._at = now

    def per_minute(self, now: float) -> float:
        """Return the recent rate; shortly after the beginning, return the rate since then."""
        observed_s = MEMORY_S * -math.expm1(-max(now - self._since, 1.0) / MEMORY_S)
        return self._weight_at(now) / observed_s * 60.0

    def _weight_at(self, now: float) -> float:
        return self._weight * math.exp((self._at - now) / MEMORY_S)


class Arrivals:
    """Arriving traces of one kind, and the randomness below which they are left out.

    The cut is a quantile of the arrived traces, not the share itself: if another sampler has used the same randomness,
    the traces are not spread evenly. Within the highest fifth, they are assumed to be even: a share of a hundredth
    would leave too few traces for a quantile.
    """

    def __init__(self, now: float) -> None:
        self._rate = Rate(now)
        self._seen: deque[float] = deque(maxlen=_REMEMBERED)
        self.cut = 0.0

    def arrived(self, randomness: float, now: float) -> None:
        """Count one trace."""
        self._rate.count(now)
        self._seen.append(randomness)

    def per_minute(self, now: float) -> float:
        """Return the recent rate of traces."""
        return self._rate.per_minute(now)

    def limit(self, most: float, now: float) -> float:
        """Let `most` traces a minute through; return the number that will pass. Call this once a second."""
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
        """Move the cut in small steps. If it varied quickly, processes that share traces would adopt its maximum."""
        step = 1.0 if not self.cut else _STEP
        self.cut += (cut - self.cut) * step
        if self.cut < _NONE:
            self.cut = 0.0
