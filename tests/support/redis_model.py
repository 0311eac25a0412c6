"""A model of Redis with a fleet's scripts, in simulated time; it can be unreachable and lose its data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pandaprobe_otel.delivery.budget import MARGIN_S
from pandaprobe_otel.delivery.redis_tokens import FleetUnreachableError, RedisLeases, Reply

LIFE_S, HOLD_S, GRACE_S = 95.1, 60.1, 35.0


class ModelRedis:
    """One simulated Redis, with its own clock (`now`)."""

    def __init__(self) -> None:
        self.now = 0.0
        self.away = False
        self.calls = 0
        self._epochs = 0
        self.forget()

    def forget(self) -> None:
        """Lose all data, as after a restart."""
        self._leases: dict[int, float] = {}
        self._guard = 0.0
        self._last = 0
        self._forgot = False
        self.epoch = 0

    def take(self, known: int, most: int, outstanding_s: Sequence[float] | None) -> Reply:
        """See `redis_tokens.TAKE`."""
        self._begin(known)
        if outstanding_s is not None:
            self._guard = max(self._guard, self.now + 6.0)
        for wait_s in outstanding_s or ():
            self._keep(wait_s)
        if self._guard > self.now:
            return Reply(None, self._guard - self.now)
        over = len(self._leases) - most
        if over >= 0:
            back = sorted(self._leases.values())
            return Reply(None, back[over] - self.now if over < len(back) else 6.0)
        return Reply(self._keep(LIFE_S), 0.0)

    def put_back(self, token: int, wait_s: float) -> None:
        """See `redis_tokens.PUT_BACK`."""
        self._answer()
        if token in self._leases:
            self._leases[token] = self.now + wait_s

    def _answer(self) -> None:
        self.calls += 1
        if self.away:
            raise FleetUnreachableError("connection refused")

    def _begin(self, known: int) -> None:
        self._answer()
        if not self.epoch:
            self._epochs += 1
            self.epoch = self._epochs
            self._guard = self.now + 6.0
        if known not in (0, self.epoch) and not self._forgot:
            self._forgot, self._guard = True, max(self._guard, self.now + LIFE_S)
        self._leases = {token: until for token, until in self._leases.items() if until > self.now}

    def _keep(self, wait_s: float) -> int:
        self._last += 1
        self._leases[self._last] = self.now + wait_s
        return self._last


class ModelLeases(RedisLeases):
    """One process's connection to the model."""

    def __init__(self, redis: ModelRedis, clock: Callable[[], float] | None = None) -> None:
        self._redis = redis
        self._clock = clock or (lambda: redis.now)
        self._known_epoch = 0
        self.life_s, self.margin_s = LIFE_S, MARGIN_S
        self.lent_at = -math.inf

    def take(self, most: int, outstanding_s: Sequence[float] | None = None) -> Reply:
        """Take a token."""
        known = self._known_epoch if self._clock() - self.lent_at < LIFE_S else 0
        reply = self._redis.take(known, most, outstanding_s)
        self._known_epoch = self._redis.epoch
        if reply.token is not None or outstanding_s:
            self.lent_at = self._clock()
        elif reply.wait_s > HOLD_S + 5.0:
            return Reply(None, reply.wait_s - GRACE_S)
        return reply

    def put_back(self, token: int, wait_s: float) -> None:
        """Put a token back, which becomes available after the wait."""
        self._redis.put_back(token, wait_s)
