"""A model of Redis with a fleet's scripts, in simulated time; it can be unreachable and lose its data."""

from __future__ import annotations

import math

from pandaprobe_otel.delivery.budget import MARGIN_S
from pandaprobe_otel.delivery.redis_tokens import FleetUnreachableError, RedisLeases, Reply

LIFE_S = 95.1


class ModelRedis:
    """One simulated Redis, with its own clock (`now`)."""

    def __init__(self) -> None:
        self.now = 0.0
        self.away = False
        self.calls = 0
        self._last = 0
        self.forget()

    def forget(self) -> None:
        """Lose all data, as after a restart."""
        self._leases: dict[int, float] = {}
        self._guard = -math.inf
        self.epoch = -math.inf

    def take(self, known: float, most: int) -> Reply:
        """See `redis_tokens.TAKE`."""
        self._answer()
        if self.epoch == -math.inf:
            self.epoch, self._guard = self.now, self.now + 6.0
        if known not in (-math.inf, self.epoch):
            self._guard = max(self._guard, self.epoch + LIFE_S)
        self._leases = {token: until for token, until in self._leases.items() if until > self.now}
        if self._guard > self.now:
            return Reply(None, self._guard - self.now)
        over = len(self._leases) - most
        if over >= 0:
            return Reply(None, sorted(self._leases.values())[over] - self.now)
        self._last += 1
        self._leases[self._last] = self.now + LIFE_S
        return Reply(self._last, 0.0)

    def put_back(self, token: int, wait_s: float) -> None:
        """See `redis_tokens.PUT_BACK`."""
        self._answer()
        if token in self._leases:
            self._leases[token] = self.now + wait_s

    def _answer(self) -> None:
        self.calls += 1
        if self.away:
            raise FleetUnreachableError("connection refused")


class ModelLeases(RedisLeases):
    """One process's connection to the model."""

    def __init__(self, redis: ModelRedis) -> None:
        self._redis = redis
        self._known = -math.inf
        self.life_s, self.margin_s = LIFE_S, MARGIN_S

    def take(self, most: int) -> Reply:
        """Take a token."""
        reply = self._redis.take(self._known, most)
        if self._known > -math.inf or reply.token is not None:
            self._known = self._redis.epoch
        return reply

    def put_back(self, token: int, wait_s: float) -> None:
        """Put a token back, which becomes available after the wait."""
        self._redis.put_back(token, wait_s)
