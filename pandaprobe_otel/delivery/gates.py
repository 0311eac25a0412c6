"""Closed gates: a cause for which sending is pointless for now, and when one request may try again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a gate tries again: first and longest wait, in seconds, and whether waits are drawn at random."""

    first_s: float
    longest_s: float
    jitter: bool


OUTAGE = Pace(first_s=1.0, longest_s=60.0, jitter=True)
"""The server is down or failing: full jitter, so that many clients do not come back in one moment."""
AUTH = Pace(first_s=60.0, longest_s=3600.0, jitter=False)
"""The key, project or URL is refused: nothing changes until somebody mends it."""
QUOTA = Pace(first_s=900.0, longest_s=21600.0, jitter=False)
"""The plan's quota is used up: it changes with the next period, or with another plan."""


class Gate:
    """Open, or closed until a time; while closed, one probe at a time goes through when the time has come."""

    def __init__(self, pace: Pace, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._pace = pace
        self._uniform = uniform
        self._wait_s = 0.0
        self._until: float | None = None
        self._probing = False

    @property
    def closed(self) -> bool:
        """Whether the gate is closed."""
        return self._until is not None

    def opens_at(self) -> float:
        """When a request may pass: 0 when open, infinity while a probe is under way."""
        if self._until is None:
            return 0.0
        return float("inf") if self._probing else self._until

    def enter(self, now: float) -> bool:
        """Let a request pass, if it may; through a closed gate it goes as the probe."""
        if now < self.opens_at():
            return False
        if self._until is not None:
            self._probing = True
        return True

    def close(self, now: float, *, at_least_s: float = 0.0) -> None:
        """The cause was seen: close for a while, longer each time in a row."""
        if self._until is not None and not self._probing and self._until > now:
            return  # answers to requests that were under way when it closed say nothing new
        self._probing = False
        self._wait_s = min(max(self._wait_s * 2, self._pace.first_s), self._pace.longest_s)
        wait = self._uniform(0.0, self._wait_s) if self._pace.jitter else self._wait_s
        self._until = now + max(wait, at_least_s)

    def open(self) -> None:
        """The cause is gone."""
        self._until, self._wait_s, self._probing = None, 0.0, False

    def leave(self) -> None:
        """The probe ended without telling anything about this gate's cause."""
        self._probing = False
