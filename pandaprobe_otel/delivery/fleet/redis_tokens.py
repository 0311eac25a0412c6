"""Tokens that a whole fleet takes from Redis, and what each process does while Redis is away."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from pandaprobe_otel.delivery.budget import CAPACITY, MARGIN_S, UNANSWERED_EXTRA_S, WINDOW_S
from pandaprobe_otel.delivery.fleet.redis_leases import FleetUnreachableError, Reply
from pandaprobe_otel.delivery.fleet.static_share import StaticShare
from pandaprobe_otel.delivery.notices import Notices

RETRY_S: Final = 5.0
"""How long Redis is left alone after a failure. The first failures are tried again sooner."""
_FIRST_RETRY_S: Final = 0.25
SETTLE_S: Final = RETRY_S + 1.0
"""After it came back: by then every process has tried again, and has made known what it lent without it."""
_SHORTEST_WAIT_S: Final = 0.005
_LONGEST_JITTER_S: Final = 0.25
"""Processes that wait for the same token do not all ask in the same moment."""


class Leases(Protocol):
    """Where the fleet's tokens lie; see `RedisLeases`."""

    def take(self, most: int) -> Reply:
        """Lend a token."""
        ...

    def join(self, outstanding_s: Sequence[float]) -> Reply:
        """Make known what was lent elsewhere."""
        ...

    def put_back(self, token: int, wait_s: float) -> None:
        """The token may be lent again then."""
        ...

    def agree(self, cut: float) -> float:
        """Make a cut known and return the highest."""
        ...


class RedisTokens:
    """The `Tokens` of a `LeasedBucket`, shared by Redis.

    When Redis goes away, nothing is lent until the leases it knew are over (one window); then this process takes
    its part of the hundred, by the last known number of processes. When Redis comes back, what was lent meanwhile
    is made known there, and it is used again once every other process has had the time to do so too. No key is
    ever used by several processes as if each were alone.
    """

    def __init__(
        self,
        leases: Leases,
        notices: Notices,
        *,
        window_s: float = WINDOW_S,
        margin_s: float = MARGIN_S,
        request_timeout_s: float = 30.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._leases = leases
        self._notices = notices
        self._hold_s = window_s + margin_s
        self._longest_s = self._hold_s + request_timeout_s + UNANSWERED_EXTRA_S
        self._window_s = window_s
        self._uniform = uniform
        self._members: int | None = None
        self._asks_at = 0.0
        """Before this time Redis is not asked: it is away, or had no token for who wanted `_refused` or fewer out."""
        self._refused = CAPACITY
        self._away_since: float | None = None
        self._retry_s = _FIRST_RETRY_S
        self._share: StaticShare | None = None
        self._absences = 0

    def take(self, most: int, now: float) -> int | None:
        """Lend a token: its number in Redis, or a negative one, of this process's own part."""
        if now >= self._may_ask_at(most):
            token = self._ask(most, now)
            if token is not None:
                return token
        if self._away_since is None:
            return None
        share = self._own_share(now)
        return -self._absences if share is not None and share.take(most, now) else None

    def put_back(self, token: int, wait_s: float, now: float) -> None:
        """The token may be lent again in `wait_s` seconds."""
        if token < 0:
            if self._share is not None and token == -self._absences:
                self._share.put_back(wait_s, now)
            return
        if self._away_since is not None:
            return  # it comes back by itself
        try:
            self._leases.put_back(token, wait_s)
        except FleetUnreachableError as error:
            self._lose(error, now)

    def next_free(self, most: int, now: float) -> float:
        """When `take` may succeed."""
        asks_at = max(self._may_ask_at(most), now)
        if self._away_since is None:
            return asks_at
        share = self._own_share(now)
        own = self._away_since + self._quiet_s if share is None else share.next_free(most, now)
        return min(asks_at, max(own, now))

    def agree(self, cut: float, now: float) -> float:
        """The highest cut of the fleet within the last ten minutes; its own while Redis is away."""
        if self._away_since is not None:
            return cut
        try:
            return self._leases.agree(cut)
        except FleetUnreachableError as error:
            self._lose(error, now)
            return cut

    # -- with Redis ---------------------------------------------------------------------------------------------------

    def _may_ask_at(self, most: int) -> float:
        is_new_question = self._away_since is None and most > self._refused
        return 0.0 if is_new_question else self._asks_at

    def _ask(self, most: int, now: float) -> int | None:
        try:
            if self._share is not None:
                self._come_back(self._share, now)
                return None
            reply = self._leases.take(most)
        except FleetUnreachableError as error:
            self._lose(error, now)
            return None
        self._is_back(reply)
        if reply.token is None:
            wait_s = max(reply.wait_s, _SHORTEST_WAIT_S)
            self._asks_at = now + wait_s + self._uniform(0.0, min(wait_s / 4, _LONGEST_JITTER_S))
            self._refused = most
        return reply.token

    def _come_back(self, share: StaticShare, now: float) -> None:
        self._is_back(self._leases.join(share.outstanding_s(now, self._longest_s)))
        self._asks_at, self._refused = now + SETTLE_S, CAPACITY

    def _is_back(self, reply: Reply) -> None:
        self._members = reply.members
        self._away_since, self._share, self._retry_s = None, None, _FIRST_RETRY_S
        self._notices.over("redis")

    # -- without ------------------------------------------------------------------------------------------------------

    @property
    def _quiet_s(self) -> float:
        """By then what Redis knew to be lent is back, the tokens of requests that take seconds aside."""
        return self._hold_s + UNANSWERED_EXTRA_S + 1.0

    def _lose(self, error: FleetUnreachableError, now: float) -> None:
        if self._away_since is None:
            self._away_since = now
        self._asks_at = now + self._retry_s
        self._retry_s = min(self._retry_s * 2, RETRY_S)
        if now - self._away_since < RETRY_S:
            return  # one that restarts is back before anybody needs to know
        part = (
            "one trace a minute, since it is not known how many processes share the key"
            if self._members is None
            else f"its part, 1/{self._members} of the limit"
        )
        self._notices.say(
            "redis",
            f"pandaprobe-otel: the Redis of PANDAPROBE_REDIS_URL does not answer ({error}); from "
            f"{self._quiet_s:.0f} s on this process sends {part}, until it does.",
        )

    def _own_share(self, now: float) -> StaticShare | None:
        if self._share is None and self._away_since is not None and now - self._away_since >= self._quiet_s:
            members = CAPACITY if self._members is None else self._members
            self._absences += 1
            self._share = StaticShare(members, now, window_s=self._window_s, uniform=self._uniform)
        return self._share
