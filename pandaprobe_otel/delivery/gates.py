"""Gates that stop requests while a cause makes sending pointless, and let single probes through."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Pace of a closed gate's probes: shortest and longest wait, in seconds."""

    first_s: float
    longest_s: float
    share: float | None = None
    """Length of a wait as a share of the time since the cause was first seen.

    The wait is drawn from the upper half of that length, so that clients do not all return at one moment. None: each
    wait is twice the previous one.
    """


OUTAGE = Pace(first_s=2.0, longest_s=60.0, share=0.25)
"""The server is down or failing.

After an outage of half a minute, waiting traces are sent within seven seconds after its end. An outage of ten minutes
costs fewer than 40 connections.
"""
AUTH = Pace(first_s=60.0, longest_s=3600.0)
"""The key, project or URL is refused, and stays refused until somebody corrects the settings."""
QUOTA = Pace(first_s=900.0, longest_s=21600.0)
"""The plan's quota is used up until the next period or an upgrade."""


class Gate:
    """Gate that is open, or closed until a time. After that time, one probe at a time may pass."""

    def __init__(self, pace: Pace, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._pace = pace
        self._uniform = uniform
        self._wait_s = 0.0
        self._since: float | None = None
        self._until: float | None = None
        self._probing = False

    @property
    def closed(self) -> bool:
        """True if the gate is closed."""
        return self._until is not None

    def opens_at(self) -> float:
        """Return the time at which a request may pass: 0 if open, infinity while a probe is under way."""
        if self._until is None:
            return 0.0
        return float("inf") if self._probing else self._until

    def enter(self, now: float) -> bool:
        """Return whether a request may pass. If the gate is closed, the request becomes the probe."""
        if now < self.opens_at():
            return False
        if self._until is not None:
            self._probing = True
        return True

    def close(self, now: float, *, at_least_s: float = 0.0) -> None:
        """Close the gate after a failure, longer after each failure in a row."""
        if self._until is not None and not self._probing and self._until > now:
            return  # answers to requests that were sent before it closed prove nothing new
        self._probing = False
        self._since = now if self._since is None else self._since
        self._until = now + max(self._next_wait(now - self._since), at_least_s)

    def _next_wait(self, age_s: float) -> float:
        pace = self._pace
        grown_s = self._wait_s * 2 if pace.share is None else age_s * pace.share
        self._wait_s = min(max(grown_s, pace.first_s), pace.longest_s)
        return self._wait_s if pace.share is None else self._uniform(self._wait_s / 2, self._wait_s)

    def open(self) -> None:
        """Open the gate, because the cause is gone."""
        self._since, self._until, self._wait_s, self._probing = None, None, 0.0, False

    def leave(self) -> None:
        """End a probe whose answer neither proves nor disproves this gate's cause."""
        self._probing = False
