"""A process's fixed part of the tokens while Redis is unreachable."""

from __future__ import annotations

import heapq
import math

from pandaprobe_otel.delivery.budget import CAPACITY


class StaticShare:
    """A fixed number of tokens for this process alone. The parts of a fleet add up to at most 100."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens
        self._out = 0
        self._returning: list[float] = []

    def forfeit(self) -> None:
        """Lend nothing more. Lent tokens return as before."""
        self._tokens = 0

    def take(self, most: int, now: float) -> bool:
        """Return whether a token is lent. `most`: tokens that the whole fleet may have lent."""
        if self._taken(now) >= self._of(most):
            return False
        self._out += 1
        return True

    def put_back(self, wait_s: float, now: float) -> None:
        """Return a token, which may be lent again in `wait_s` seconds."""
        self._out -= 1
        heapq.heappush(self._returning, now + wait_s)

    def next_free(self, most: int, now: float) -> float:
        """Return the time at which `take` may succeed; `math.inf` if never, or if it depends on requests under way."""
        over = self._taken(now) - self._of(most)
        if over < 0:
            return now
        back = sorted(self._returning)
        return back[over] if self._tokens and over < len(back) else math.inf

    def outstanding_s(self, now: float, longest_s: float) -> list[float]:
        """Return the remaining seconds of each lent token; `longest_s` for a token whose request is under way."""
        self._taken(now)
        return [until - now for until in self._returning] + [longest_s] * self._out

    def _of(self, most: int) -> int:
        return min(max(self._tokens * most // CAPACITY, 1), self._tokens)

    def _taken(self, now: float) -> int:
        while self._returning and self._returning[0] <= now:
            heapq.heappop(self._returning)
        return self._out + len(self._returning)
