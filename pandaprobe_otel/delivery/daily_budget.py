"""A daily budget of traces, because each trace is billed."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

_DAY_S: Final = 86_400.0


class DailyBudget:
    """Bound of `limit` traces in any 24 hours, or no bound if it is None. Times are monotonic, in seconds."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._spent: deque[float] = deque()

    def free_at(self, now: float) -> float:
        """Return the time at which the next trace may be sent."""
        if self._limit is None:
            return now
        while self._spent and self._spent[0] + _DAY_S <= now:
            self._spent.popleft()
        if len(self._spent) < self._limit:
            return now
        return self._spent[0] + _DAY_S if self._spent else math.inf

    def spend(self, now: float) -> None:
        """Count a trace as sent."""
        if self._limit is not None:
            self._spent.append(now)

    def take_back(self) -> None:
        """Uncount the newest trace, because it was not sent after all."""
        if self._spent:
            self._spent.pop()
