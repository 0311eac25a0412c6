"""The tokens of one key, which processes on any number of machines share through Redis.

Redis runs the scripts below one at a time, and by its own clock. Both keys of a fleet share one hash tag, so that a
cluster keeps them in one slot:

- `leases`: a sorted set of the numbers of tokens that are lent or have not returned, by the time of their return;
- `fleet`: a hash. `last`: the last token number. `epoch`: a random name, which is missing if Redis has lost its data.
  `guard`: the time before which nothing is lent. `forgot`: whether a process found that Redis had lost something.

A lent token is stored with the latest time at which it can be needed. If its holder dies, only that time is lost.

While Redis is unreachable, nothing is lent until every known lease is over. After that, each process uses the whole
limit by itself, as processes without Redis do: the server refuses the excess, and each process backs off. When Redis
is back, it lends nothing for `SETTLE_S`, in which all processes report the tokens that they have lent by themselves.
An empty Redis does the same; if a process then reports that Redis has lost leases, it waits until those are over.
"""

from __future__ import annotations

import inspect
import math
import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
    MemoryTokens,
    Tokens,
)
from pandaprobe_otel.delivery.notices import Notices

import_module("secrets")  # otherwise the client imports it

ANSWER_WITHIN_S: Final = 0.2
"""Redis answers in less than a millisecond. After this time, it counts as unreachable."""
RETRY_S: Final = 5.0
"""Interval of calls while a process holds tokens, and longest wait before it tries an unreachable Redis again."""
SETTLE_S: Final = RETRY_S + 1.0
"""Time after which every process has called a Redis that came back, and has reported its tokens."""
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
-- known epoch, new epoch, for how many ms a token stays out at most, bound on tokens that are out; whether the caller
-- has lent tokens by itself, for how many ms each of them stays out
local known, fresh, life, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local fleet = redis.call('HMGET', KEYS[2], 'epoch', 'guard', 'forgot')
local epoch, guard = fleet[1], tonumber(fleet[2] or 0)
local function keep(ms)
    local last = redis.call('HINCRBY', KEYS[2], 'last', 1)
    redis.call('ZADD', KEYS[1], now + ms, last)
    return last
end
if not epoch then epoch, guard = fresh, now + {SETTLE_S * 1000:.0f} end
if known ~= '' and known ~= epoch and not fleet[3] then
    guard = math.max(guard, now + life)
    redis.call('HSET', KEYS[2], 'forgot', 1)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if ARGV[5] == '1' then guard = math.max(guard, now + {SETTLE_S * 1000:.0f}) end
for place = 6, #ARGV do keep(tonumber(ARGV[place])) end
local token, wait = 0, math.ceil(guard - now)
if guard <= now then
    local over = redis.call('ZCARD', KEYS[1]) - most
    if over < 0 then
        token, wait = keep(life), 0
    else
        local next = redis.call('ZRANGE', KEYS[1], over, over, 'WITHSCORES')
        wait = next[2] and math.ceil(next[2] - now) or {SETTLE_S * 1000:.0f}
    end
end
redis.call('HSET', KEYS[2], 'epoch', epoch, 'guard', guard)
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
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._keys = tuple(f"pandaprobe:{{{key_digest}}}:{name}" for name in ("leases", "fleet"))
        self.margin_s = margin_s
        self._hold_s = window_s + margin_s
        self._grace_s = request_timeout_s + UNANSWERED_EXTRA_S
        self.life_s = self._hold_s + self._grace_s
        """Longest time for which a lent token can be needed."""
        self._answer_within_s = answer_within_s
        self._monotonic = monotonic
        self._epoch = ""
        self.lent_at = -math.inf
        """Time of the newest token that Redis knows of."""
        self._client: Any = None
        self._scripts: dict[str, Any] = {}

    def take(self, most: int, outstanding_s: Sequence[float] | None = None) -> Reply:
        """Lend a token, unless `most` or more tokens of the fleet are lent or have not returned yet.

        Each call notices whether Redis has lost its data; with a `most` of 0, it lends nothing. `outstanding_s`: the
        remaining seconds of each token that this process has lent by itself since it last reached Redis; None if it
        could lend none.
        """
        now = self._monotonic()
        holds_some = now - self.lent_at < self.life_s
        known = self._epoch if holds_some else ""  # without tokens, it loses nothing when Redis forgets
        lent = 0 if outstanding_s is None else 1, *map(_ms, outstanding_s or ())
        said = self._run(TAKE, known, uuid.uuid4().hex, _ms(self.life_s), most, *lent)
        try:
            token, wait_ms, epoch = said
            reply = Reply(int(token) or None, float(wait_ms) / 1000)
            self._epoch = epoch.decode("ascii")
        except (TypeError, ValueError, AttributeError) as error:
            raise FleetUnreachableError(f"an unexpected answer to the script: {said!r:.80}") from error
        if reply.token is not None or outstanding_s:
            self.lent_at = now
        elif reply.wait_s > self._hold_s + UNANSWERED_EXTRA_S:  # of a request under way, which may be answered at once
            return replace(reply, wait_s=reply.wait_s - self._grace_s)
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


class _OwnTokens(MemoryTokens):
    """Tokens that this process lends by itself while Redis is unreachable."""

    def outstanding_s(self, now: float, longest_s: float) -> list[float]:
        """Return the remaining seconds of each lent token; `longest_s` for a token whose request is under way."""
        self._taken(now)
        return [until - now for until in self._returning] + [longest_s] * self._out


class RedisTokens(Tokens):
    """The `Tokens` of a `LeasedBucket`, shared through Redis; the module describes when each process has its own."""

    def __init__(
        self,
        leases: RedisLeases,
        notices: Notices,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._leases = leases
        self._notices = notices
        self._alone_after_s = leases.life_s + leases.margin_s
        self._uniform = uniform
        self._called_at = -math.inf
        self._asks_at = 0.0
        """Time before which Redis is not asked: it is unreachable, or no token was free at a bound of `_refused`."""
        self._refused = CAPACITY
        self._away_since: float | None = None
        self._retry_s = _FIRST_RETRY_S
        self._own: _OwnTokens | None = None
        self._absences = 0

    def take(self, most: int, now: float) -> int | None:
        """Lend a token: its number in Redis, or a negative number for a token that this process lends by itself."""
        if now >= self._may_ask_at(most):
            token = self._ask(most, now)
            if token is not None:
                return token
        own = self._own_tokens(now)
        return -self._absences if own is not None and own.take(most, now) is not None else None

    def put_back(self, token: int, wait_s: float, now: float) -> None:
        """Return a token, which may be lent again in `wait_s` seconds."""
        if token < 0:
            if self._own is not None and token == -self._absences:
                self._own.put_back(token, wait_s, now)
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
        own = self._own_tokens(now)
        return min(asks_at, self._away_since + self._alone_after_s if own is None else own.next_free(most, now))

    def heartbeat(self, now: float) -> float:
        """Call Redis if due; return the next due time.

        A process that holds tokens notices in time that Redis has lost them, or that Redis is back.
        """
        if now >= self._calls_at(now):
            self._ask(0, now)
        return self._calls_at(now)

    def _calls_at(self, now: float) -> float:
        if self._away_since is not None:
            return self._asks_at
        return self._called_at + RETRY_S if now < self._leases.lent_at + self._leases.life_s else math.inf

    def _may_ask_at(self, most: int) -> float:
        if self._away_since is None:
            return 0.0 if most > self._refused else self._asks_at
        if self._own is None:  # once more, before this process lends tokens by itself
            return min(self._asks_at, self._away_since + self._alone_after_s)
        return self._asks_at

    def _ask(self, most: int, now: float) -> int | None:
        """Ask Redis for a token, or with a `most` of 0 only whether it has lost its data."""
        self._called_at = now
        own = self._own
        try:
            reply = self._leases.take(most, None if own is None else own.outstanding_s(now, self._leases.life_s))
        except FleetUnreachableError as error:
            self._lose(error, now)
            return None
        if reply.token is None and most:
            wait_s = max(reply.wait_s, _SHORTEST_WAIT_S)
            self._asks_at = now + wait_s + self._uniform(0.0, min(wait_s / 4, _LONGEST_JITTER_S))
            self._refused = most
        elif self._away_since is not None:
            self._asks_at, self._refused = now, CAPACITY
        self._away_since, self._own, self._retry_s = None, None, _FIRST_RETRY_S
        self._notices.over("redis")
        return reply.token

    def _lose(self, error: FleetUnreachableError, now: float) -> None:
        if self._away_since is None:
            self._away_since = now
        self._asks_at = now + self._retry_s
        self._retry_s = min(self._retry_s * 2, RETRY_S)
        if now - self._away_since < RETRY_S:
            return  # a Redis that restarts is back before this matters
        self._notices.say(
            "redis",
            f"pandaprobe-otel: the Redis of PANDAPROBE_REDIS_URL does not answer ({error}); this process sends nothing "
            f"for {self._alone_after_s:.0f} s. Until Redis answers, it then uses the whole limit of {CAPACITY} traces "
            "a minute, and slows down if the server refuses some.",
        )

    def _own_tokens(self, now: float) -> _OwnTokens | None:
        if self._away_since is None:
            return None
        if self._own is None and now - self._away_since >= self._alone_after_s:
            self._absences += 1
            self._own = _OwnTokens()
        return self._own
