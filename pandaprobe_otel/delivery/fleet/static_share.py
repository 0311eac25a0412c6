"""What one process of a fleet may send while nobody can be asked: its part of the hundred, fixed."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Final

from pandaprobe_otel.delivery.budget import CAPACITY

_USED: Final = 0.75
"""Of the rate, by more than 100 processes: each sends at times of its own, so some fall together."""


class StaticShare:
    """Tokens of this process alone, 100 // members of them.

    Of more than 100 processes each has one token, which comes back the later the more they are, and the first time
    at a moment of its own. Simulated with 2 to 200 processes: no refusal, at 99 % of the rate (80 % with 200).
    """

    def __init__(
        self,
        members: int,
        now: float,
        *,
        window_s: float,
        uniform: Callable[[float, float], float],
        limit: int = CAPACITY,
    ) -> None:
        self._limit = limit
        self._tokens = max(limit // members, 1)
        self._stretch_s = max(members / limit / _USED - 1, 0) * window_s if members > limit else 0.0
        self._begins = now + uniform(0, self._stretch_s + window_s) if self._stretch_s else now
        self._out = 0
        self._returning: list[float] = []

    def take(self, most: int, now: float) -> bool:
        """Whether a token is lent; `most` is what the whole fleet may have out."""
        if now < self._begins or self._taken(now) >= self._of(most):
            return False
        self._out += 1
        return True

    def put_back(self, wait_s: float, now: float) -> None:
        """The token may be lent again in `wait_s` seconds, or later if the fleet is large."""
        self._out -= 1
        heapq.heappush(self._returning, now + wait_s + self._stretch_s)

    def next_free(self, most: int, now: float) -> float:
        """When `take` may succeed; `math.inf` while that depends on requests under way."""
        over = self._taken(now) - self._of(most)
        if over < 0:
            return max(self._begins, now)
        back = sorted(self._returning)
        return back[over] if over < len(back) else math.inf

    def outstanding_s(self, now: float, longest_s: float) -> list[float]:
        """For how many seconds each token stays out; `longest_s` for one whose request is under way."""
        self._taken(now)
        return [until - now for until in self._returning] + [longest_s] * self._out

    def _of(self, most: int) -> int:
        return max(self._tokens * most // self._limit, 1)

    def _taken(self, now: float) -> int:
        while self._returning and self._returning[0] <= now:
            heapq.heappop(self._returning)
        return self._out + len(self._returning)
