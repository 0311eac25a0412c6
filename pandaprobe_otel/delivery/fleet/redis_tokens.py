"""Tokens that a fleet takes from Redis, and the behaviour of a process while Redis is unreachable."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Final

from pandaprobe_otel.delivery.budget import CAPACITY, MemoryTokens
from pandaprobe_otel.delivery.fleet.redis_leases import FleetUnreachableError, RedisLeases, Reply
from pandaprobe_otel.delivery.fleet.redis_scripts import FORFEIT_S, LOOK_S, PART_AFTER_S, RETRY_S
from pandaprobe_otel.delivery.notices import Notices

_FIRST_RETRY_S: Final = 0.25
"""Wait before the first retry, which is shorter than `RETRY_S`."""
_SHORTEST_WAIT_S: Final = 0.005
_LONGEST_JITTER_S: Final = 0.25
"""Jitter that keeps processes from asking for the same token at the same moment."""


class StaticShare(MemoryTokens):
    """A process's fixed part of the tokens while Redis is unreachable. The parts of a fleet add up to at most 100."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self._tokens = tokens

    def forfeit(self) -> None:
        """Lend nothing more. Lent tokens return as before."""
        self._tokens = 0

    def take(self, most: int, now: float) -> int | None:
        """Lend a token. `most`: tokens that the whole fleet may have lent."""
        return super().take(self._of(most), now)

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


class RedisTokens:
    """The `Tokens` of a `LeasedBucket`, shared through Redis.

    When Redis becomes unreachable, nothing is lent until every known lease is over. Then this process uses the part of
    the 100 tokens that Redis had promised it, or none if it had no promise. The parts of all processes never add up to
    more than 100 (`redis_scripts` gives the reason), if Redis answers either all of them or none, and stays reachable
    for `SETTLE_S` after it comes back. This process then reports the tokens that it has lent in the meantime.
    """

    def __init__(
        self,
        leases: RedisLeases,
        notices: Notices,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._leases = leases
        self._notices = notices
        self._part_after_s = max(leases.life_s, PART_AFTER_S) + leases.margin_s
        self._uniform = uniform
        self._part = 0
        self._looked_at = -math.inf
        self._holds_until = -math.inf
        self._asks_at = 0.0
        """Time before which Redis is not asked: it is unreachable, or no token was free at a bound of `_refused`."""
        self._refused = CAPACITY
        self._away_since: float | None = None
        self._retry_s = _FIRST_RETRY_S
        self._share: StaticShare | None = None
        self._absences = 0

    def take(self, most: int, now: float) -> int | None:
        """Lend a token: its number in Redis, or a negative number for a token of this process's own part."""
        if now >= self._may_ask_at(most):
            token = self._ask(most, now)
            if token is not None:
                return token
        share = self._own_share(now)
        return -self._absences if share is not None and share.take(most, now) is not None else None

    def put_back(self, token: int, wait_s: float, now: float) -> None:
        """Return a token, which may be lent again in `wait_s` seconds."""
        if token < 0:
            if self._share is not None and token == -self._absences:
                self._share.put_back(token, wait_s, now)
            return
        if self._away_since is not None:
            return  # it returns by itself
        try:
            self._leases.put_back(token, wait_s)
        except FleetUnreachableError as error:
            self._lose(error, now)

    def next_free(self, most: int, now: float) -> float:
        """Return the time at which `take` may succeed."""
        asks_at = max(self._may_ask_at(most), now)
        if self._away_since is None:
            return asks_at
        share = self._own_share(now)
        own = self._away_since + self._part_after_s if share is None else share.next_free(most, now)
        return min(asks_at, max(own, now))

    def publish_cutoff(self, cut: float, now: float) -> float:
        """Return the fleet's highest cut of the last ten minutes; while Redis is unreachable, this process's own."""
        if self._away_since is not None:
            return cut
        try:
            return self._leases.publish_cutoff(cut)
        except FleetUnreachableError as error:
            self._lose(error, now)
            return cut

    def heartbeat(self, now: float) -> float:
        """Call Redis if due, to keep the part or to find out whether Redis is back; return the next due time."""
        if self._looked_at == -math.inf:
            return math.inf  # nothing was ever sent: the first request for a token makes this process a member
        if now >= self._looks_at():
            self._look(now)
        return self._looks_at()

    def leave(self) -> None:
        """Leave the fleet, because this process sends nothing more."""
        if self._looked_at == -math.inf or self._away_since is not None:
            return
        try:
            self._leases.leave()
        except FleetUnreachableError:
            return  # Redis notices by itself

    # -- with Redis ---------------------------------------------------------------------------------------------------

    def _may_ask_at(self, most: int) -> float:
        is_new_question = self._away_since is None and most > self._refused
        return 0.0 if is_new_question else self._asks_at

    def _looks_at(self) -> float:
        if self._away_since is not None:
            return self._asks_at
        return self._looked_at + (RETRY_S if self._looked_at < self._holds_until else LOOK_S)

    def _ask(self, most: int, now: float) -> int | None:
        if self._share is not None and not self._look(now):
            return None
        self._begin_to_look(now)
        try:
            reply = self._leases.take(most, self._part)
        except FleetUnreachableError as error:
            self._lose(error, now)
            return None
        self._is_there(reply)
        if reply.token is None:
            wait_s = max(reply.wait_s, _SHORTEST_WAIT_S)
            self._asks_at = now + wait_s + self._uniform(0.0, min(wait_s / 4, _LONGEST_JITTER_S))
            self._refused = most
        else:
            self._holds_until = now + self._leases.life_s
        return reply.token

    def _look(self, now: float) -> bool:
        """Call without asking for a token; return whether Redis answered."""
        self._begin_to_look(now)
        lent = self._share.outstanding_s(now, self._leases.life_s) if self._share is not None else []
        try:
            reply = self._leases.look(self._part, lent)
        except FleetUnreachableError as error:
            self._lose(error, now)
            return False
        was_away = self._away_since is not None
        self._is_there(reply)
        if was_away:
            self._asks_at, self._refused = now, CAPACITY
        if lent:
            self._holds_until = now + self._leases.life_s
        return True

    def _begin_to_look(self, now: float) -> None:
        if now - self._looked_at >= FORFEIT_S:
            self._part = 0
            if self._share is not None:
                self._share.forfeit()
        self._looked_at = now

    def _is_there(self, reply: Reply) -> None:
        self._part = reply.part
        self._away_since, self._share, self._retry_s = None, None, _FIRST_RETRY_S
        self._notices.over("redis")

    # -- without ------------------------------------------------------------------------------------------------------

    def _lose(self, error: FleetUnreachableError, now: float) -> None:
        if self._away_since is None:
            self._away_since = now
        self._asks_at = now + self._retry_s
        self._retry_s = min(self._retry_s * 2, RETRY_S)
        if now - self._away_since < RETRY_S:
            return  # a Redis that restarts is back before this matters
        means = (
            f"from {self._part_after_s:.0f} s on, this process sends its part ({self._part} of the {CAPACITY} traces a "
            "minute) until Redis answers"
            if self._part
            else "this process sends nothing until Redis answers, because it has no part of the limit"
        )
        self._notices.say(
            "redis", f"pandaprobe-otel: the Redis of PANDAPROBE_REDIS_URL does not answer ({error}); {means}."
        )

    def _own_share(self, now: float) -> StaticShare | None:
        if self._away_since is None:
            return None
        if self._share is None and now - self._away_since >= self._part_after_s:
            self._absences += 1
            self._share = StaticShare(self._part)
        return self._share
