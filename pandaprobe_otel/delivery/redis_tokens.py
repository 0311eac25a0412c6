"""The tokens of one key, which processes on any number of machines share through Redis.

Redis runs the scripts below one at a time, and by its own clock. Both keys of a fleet share one hash tag, so that a
cluster keeps them in one slot:

- `leases`: a sorted set of the numbers of tokens that are lent or have not returned, by the time of their return;
- `fleet`: a hash. `epoch`: the time of the first call since Redis was empty, from which `last`, the last token
  number, counts. `guard`: the time before which nothing is lent.

A lent token is stored with the latest time at which it can be needed. If its holder dies, only that time is lost.

While Redis is unreachable, nothing is lent until every known lease is over. After that, each process uses the whole
limit by itself, as processes without Redis do: the server refuses the excess, and each process backs off. An empty
Redis lends nothing for `SETTLE_S`. In that time, every process that waits for a token calls it, and one that has held a
token before shows by its epoch that Redis has lost leases: then nothing is lent until those are over.
"""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from opentelemetry.instrumentation.utils import suppress_instrumentation
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pandaprobe_otel.delivery.budget import (
    CAPACITY,
    MARGIN_S,
    REQUEST_TIMEOUT_S,
    UNANSWERED_EXTRA_S,
    WINDOW_S,
    Tokens,
)
from pandaprobe_otel.delivery.notices import Notices

import_module("secrets")  # otherwise the client imports it

ANSWER_WITHIN_S: Final = 0.2
"""Redis answers in less than a millisecond. After this time, it counts as unreachable."""
RETRY_S: Final = 5.0
"""Longest wait of a process that has something to send, before it calls Redis again."""
SETTLE_S: Final = RETRY_S + 1.0
"""Time after which every process that waits for a token has called a Redis that came back."""
_FIRST_RETRY_S: Final = 0.25
"""Wait before the first retry, which is shorter than `RETRY_S`."""
_SHORTEST_WAIT_S: Final = 0.005
_LONGEST_JITTER_S: Final = 0.25
"""Jitter that keeps processes from asking for the same token at the same moment."""
_KEPT_S: Final = 30 * 86_400
"""Lifetime of the keys: longer than the breaks of a fleet that works once a month. A new fleet waits `SETTLE_S`."""

_TIME: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
"""
TAKE: Final = f"""{_TIME}
-- epoch that the caller knows, for how many ms a token stays out at most, bound on tokens that are out
local known, life, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local fleet = redis.call('HMGET', KEYS[2], 'epoch', 'guard')
local epoch, guard = fleet[1], tonumber(fleet[2] or 0)
if not epoch then
    epoch, guard = string.format('%.0f', now), now + {SETTLE_S * 1000:.0f}
    redis.call('HSET', KEYS[2], 'last', epoch)
end
if known ~= '' and known ~= epoch then guard = math.max(guard, tonumber(epoch) + life) end
redis.call('HSET', KEYS[2], 'epoch', epoch, 'guard', guard)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local token, wait = 0, math.ceil(guard - now)
if wait <= 0 then
    local over = redis.call('ZCARD', KEYS[1]) - most
    if over < 0 then
        token, wait = redis.call('HINCRBY', KEYS[2], 'last', 1), 0
        redis.call('ZADD', KEYS[1], now + life, token)
    else
        wait = math.ceil(redis.call('ZRANGE', KEYS[1], over, over, 'WITHSCORES')[2] - now)
    end
end
for key = 1, 2 do redis.call('EXPIRE', KEYS[key], {_KEPT_S}) end
return {{token, wait, epoch}}
"""
PUT_BACK: Final = f"""{_TIME}
-- id, for how many ms it stays out
redis.call('ZADD', KEYS[1], 'XX', now + ARGV[2], ARGV[1])
"""


class FleetUnreachableError(Exception):
    """Redis does not answer, or answers unexpectedly. The text quotes Redis or its client."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer to a request for a token: the token, or the seconds after which one may be free."""

    token: int | None
    wait_s: float


class RedisLeases:
    """Client of the scripts, for one process. Not thread-safe.

    Every method raises FleetUnreachableError instead of waiting for longer than about `answer_within_s` seconds. Only
    the look-up of the host's name may take longer.
    """

    def __init__(
        self,
        url: str,
        key_digest: str,
        *,
        window_s: float = WINDOW_S,
        margin_s: float = MARGIN_S,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        answer_within_s: float = ANSWER_WITHIN_S,
    ) -> None:
        self._url = url
        self._keys = tuple(f"pandaprobe:{{{key_digest}}}:{name}" for name in ("leases", "fleet"))
        self.margin_s = margin_s
        self.life_s = window_s + margin_s + request_timeout_s + UNANSWERED_EXTRA_S
        """Longest time for which a lent token can be needed."""
        self._answer_within_s = answer_within_s
        self._epoch = ""
        """Epoch of the newest token that was lent to this process."""
        self._client: Any = None
        self._scripts: dict[str, Any] = {}

    def take(self, most: int) -> Reply:
        """Lend a token, unless `most` or more tokens of the fleet are lent or have not returned yet."""
        answer = self._run(TAKE, self._epoch, _ms(self.life_s), most)
        try:
            token, wait_ms, epoch = answer
            reply = Reply(int(token) or None, float(wait_ms) / 1000)
            if self._epoch or reply.token is not None:  # who never held a token has nothing that Redis could lose
                self._epoch = epoch.decode("ascii")
        except (TypeError, ValueError, AttributeError) as error:
            raise FleetUnreachableError(f"an unexpected answer to the script: {answer!r:.80}") from error
        return reply

    def put_back(self, token: int, wait_s: float) -> None:
        """Return a token, which may be lent again in `wait_s` seconds."""
        self._run(PUT_BACK, token, _ms(wait_s))

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        self._scripts.clear()
        if client is not None:
            client.close()

    def _run(self, script: str, *arguments: Any) -> Any:
        try:
            with suppress_instrumentation():
                return self._script(script)(keys=self._keys, args=arguments)
        except Exception as error:
            raise FleetUnreachableError(str(error) or type(error).__name__) from error

    def _script(self, text: str) -> Any:
        if text not in self._scripts:
            if self._client is None:
                self._client = _connect(self._url, self._answer_within_s)
            self._scripts[text] = self._client.register_script(text)
        return self._scripts[text]


def _connect(url: str, answer_within_s: float) -> Any:
    class Untraced(Redis):
        """Client that skips the wrappers of instrumentations: before version 0.60, these ignore their suppression."""

        def execute_command(self, *args: Any, **options: Any) -> Any:
            command: Any = getattr(Redis, "execute_command")  # noqa: B009 - its type is not known to the last part
            return inspect.unwrap(command)(self, *args, **options)

    return Untraced.from_url(  # pyright: ignore[reportUnknownMemberType] - its options have no types
        url,
        socket_timeout=answer_within_s,
        socket_connect_timeout=answer_within_s,
        retry=Retry(NoBackoff(), 0),
        client_name="pandaprobe-otel",
    )


def _ms(seconds: float) -> int:
    return max(round(seconds * 1000), 1)


class RedisTokens(Tokens):
    """The `Tokens` of a `LeasedBucket`, shared through Redis; the module describes when each process has its own.

    This process also counts its tokens by itself, and never lends more than the limit.
    """

    def __init__(
        self,
        leases: RedisLeases,
        notices: Notices,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        super().__init__()
        self._leases = leases
        self._notices = notices
        self._alone_after_s = leases.life_s + leases.margin_s
        self._uniform = uniform
        self._asks_at = 0.0
        """Time before which Redis is not asked: it is unreachable, or no token was free at a bound of `_refused`."""
        self._refused = CAPACITY
        self._alone_at = math.inf
        """Time from which this process lends by itself, because Redis is unreachable; infinity while it answers."""
        self._retry_s = _FIRST_RETRY_S

    def take(self, most: int, now: float) -> int | None:
        """Lend a token: its number in Redis, or 0 for a token that this process lends by itself."""
        if super().next_free(most, now) > now:
            return None
        token = self._ask(most, now) if now >= self._may_ask_at(most) else None
        if token is None and now < self._alone_at:
            return None
        super().take(most, now)
        return token or 0

    def put_back(self, token: int, wait_s: float, now: float) -> None:
        """Return a token, which may be lent again in `wait_s` seconds."""
        super().put_back(token, wait_s, now)
        if token and self._alone_at == math.inf:  # else it returns by itself
            try:
                self._leases.put_back(token, wait_s)
            except FleetUnreachableError as error:
                self._lose(error, now)

    def next_free(self, most: int, now: float) -> float:
        """Return the time at which `take` may succeed."""
        return max(super().next_free(most, now), min(self._may_ask_at(most), self._alone_at))

    def _may_ask_at(self, most: int) -> float:
        return 0.0 if self._alone_at == math.inf and most > self._refused else self._asks_at

    def _ask(self, most: int, now: float) -> int | None:
        try:
            reply = self._leases.take(most)
        except FleetUnreachableError as error:
            self._lose(error, now)
            return None
        if reply.token is None:
            wait_s = min(max(reply.wait_s, _SHORTEST_WAIT_S), RETRY_S)
            self._asks_at = now + wait_s + self._uniform(0.0, min(wait_s / 4, _LONGEST_JITTER_S))
            self._refused = most
        elif self._alone_at < math.inf:
            self._asks_at, self._refused = now, CAPACITY
        self._alone_at, self._retry_s = math.inf, _FIRST_RETRY_S
        self._notices.over("redis")
        return reply.token

    def _lose(self, error: FleetUnreachableError, now: float) -> None:
        self._alone_at = min(self._alone_at, now + self._alone_after_s)
        self._asks_at = now + self._retry_s
        if now < self._alone_at:
            self._asks_at = min(self._asks_at, self._alone_at)  # once more, before this process lends by itself
        self._retry_s = min(self._retry_s * 2, RETRY_S)
        if now < self._alone_at - self._alone_after_s + RETRY_S:
            return  # a Redis that restarts is back before this matters
        self._notices.say(
            "redis",
            f"pandaprobe-otel: the Redis of PANDAPROBE_REDIS_URL does not answer ({error}); this process sends nothing "
            f"for {self._alone_after_s:.0f} s. Until Redis answers, it then uses the whole limit of {CAPACITY} traces "
            "a minute, and slows down if the server refuses some.",
        )
