"""A model of Redis with a fleet's scripts, in simulated time; it can be unreachable and lose its data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pandaprobe_otel.delivery.budget import MARGIN_S
from pandaprobe_otel.delivery.fleet.redis_leases import FleetUnreachableError, RedisLeases, Reply

LIFE_S, HOLD_S, GRACE_S = 95.1, 60.1, 35.0


@dataclass(slots=True)
class _Member:
    seen: float
    part: int = 0
    counts_until: float | None = None
    withheld: bool = False


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
        self._members: dict[int, _Member] = {}
        self._guard = self._settled = 0.0
        self._last = 0
        self._cut = 0.0
        self._forgot = False
        self.epoch = 0

    @property
    def promised(self) -> int:
        """The sum of the shares of all processes."""
        return sum(member.part for member in self._members.values())

    def take(self, name: int, known: int, part: int, most: int) -> Reply:
        """See `redis_scripts.TAKE`."""
        part, withheld = self._begin(name, known, part)
        if self._guard > self.now:
            return Reply(None, self._guard - self.now, part)
        over = len(self._leases) - most + withheld
        if over >= 0:
            back = sorted(self._leases.values())
            return Reply(None, back[over] - self.now if over < len(back) else 6.0, part)
        return Reply(self._keep(LIFE_S), 0.0, part)

    def look(self, name: int, known: int, part: int, outstanding_s: Sequence[float]) -> Reply:
        """See `redis_scripts.LOOK`."""
        part, _ = self._begin(name, known, part)
        for wait_s in outstanding_s:
            self._keep(wait_s)
        return Reply(None, 0.0, part)

    def leave(self, name: int) -> None:
        """See `redis_scripts.LEAVE`."""
        self._answer()
        self._members.pop(name, None)

    def put_back(self, token: int, wait_s: float) -> None:
        """See `redis_scripts.PUT_BACK`."""
        self._answer()
        if token in self._leases:
            self._leases[token] = self.now + wait_s

    def publish_cutoff(self, cut: float) -> float:
        """See `redis_scripts.AGREE`."""
        self._answer()
        self._cut = max(self._cut, cut)
        return self._cut

    def _answer(self) -> None:
        self.calls += 1
        if self.away:
            raise FleetUnreachableError("connection refused")

    def _begin(self, name: int, known: int, part: int) -> tuple[int, int]:
        self._answer()
        if not self.epoch:
            self._epochs += 1
            self.epoch = self._epochs
            self._guard, self._settled = self.now + 6.0, self.now + 30.0
        if known not in (0, self.epoch) and not self._forgot:
            self._forgot, self._guard = True, max(self._guard, self.now + LIFE_S)
        caller = self._members.setdefault(name, _Member(self.now))
        caller.seen, caller.part, caller.counts_until, caller.withheld = self.now, part, None, False
        self._leases = {token: until for token, until in self._leases.items() if until > self.now}
        for other, member in list(self._members.items()):
            silent_s = self.now - member.seen
            if silent_s < 30.0:
                continue
            if member.counts_until is None:
                member.withheld = silent_s >= 90.0
                member.counts_until = self.now + (65.0 if member.withheld else 30.0)
            if member.counts_until <= self.now:
                del self._members[other]
        target = max(100 // len(self._members), 1)
        if part < target and self._settled <= self.now:
            part = caller.part = part + max(min(target - part, 100 - self.promised), 0)
        return min(part, target), sum(member.part for member in self._members.values() if member.withheld)

    def _keep(self, wait_s: float) -> int:
        self._last += 1
        self._leases[self._last] = self.now + wait_s
        return self._last


class ModelLeases(RedisLeases):
    """One process's connection to the model."""

    def __init__(self, redis: ModelRedis, member: int, clock: Callable[[], float] | None = None) -> None:
        self._redis, self._number = redis, member
        self._clock = clock or (lambda: redis.now)
        self._known_epoch = 0
        self.life_s, self.margin_s = LIFE_S, MARGIN_S
        self._lent_at = -math.inf

    def take(self, most: int, part: int) -> Reply:
        """Take a token."""
        reply = self._redis.take(self._number, self._known(), part, most)
        self._known_epoch = self._redis.epoch
        if reply.token is not None:
            self._lent_at = self._clock()
        elif reply.wait_s > HOLD_S + 5.0:
            return Reply(None, reply.wait_s - GRACE_S, reply.part)
        return reply

    def look(self, part: int, outstanding_s: Sequence[float] = ()) -> Reply:
        """Renew the share of this process."""
        reply = self._redis.look(self._number, self._known(), part, outstanding_s)
        self._known_epoch = self._redis.epoch
        return reply

    def leave(self) -> None:
        """Give the share of this process back."""
        self._redis.leave(self._number)

    def publish_cutoff(self, cut: float) -> float:
        """Publish a cutoff, and return the highest published one."""
        return self._redis.publish_cutoff(cut)

    def put_back(self, token: int, wait_s: float) -> None:
        """Put a token back, which becomes available after the wait."""
        self._redis.put_back(token, wait_s)

    def _known(self) -> int:
        return self._known_epoch if self._clock() - self._lent_at < LIFE_S else 0
