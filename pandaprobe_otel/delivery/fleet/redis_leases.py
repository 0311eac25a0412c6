"""The tokens of one key in Redis: taken and put back by scripts, which Redis runs one at a time, by its own clock.

All keys of a fleet share one hash tag, so that a cluster keeps them in one slot:

- `leases`: a sorted set, the number of each token that is out or not back yet, with the time at which it is back;
- `members`: a sorted set, each process that has asked lately, with the time at which it last did;
- `fleet`: a hash with the last number given, the `epoch`, a name that a Redis without memory lacks, `guard`, the time
  before which nothing is lent, since leases were forgotten, and `cut` with `cut_until`: see `Tokens.agree`.

A token that is out stands there with the latest time at which it can be needed, so that the death of its holder
costs nothing but that time.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pandaprobe_otel.delivery.budget import CUT_COUNTS_S, MARGIN_S, UNANSWERED_EXTRA_S, WINDOW_S
from pandaprobe_otel.forks import loading

ANSWER_WITHIN_S: Final = 0.2
"""Redis answers in less than a millisecond; what takes longer than this counts as away."""

_ACTIVE_S: Final = 600
"""A process that has not asked for so long has no share of its own."""
_KEPT_S: Final = 86_400

_BEGIN: Final = f"""
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local function begin(member, known, fresh, guard_ms)
    local epoch = redis.call('HGET', KEYS[3], 'epoch')
    local forgot = known ~= '' and known ~= epoch
    if not epoch then
        epoch = fresh
        redis.call('HSET', KEYS[3], 'epoch', epoch)
    end
    if forgot and not redis.call('HGET', KEYS[3], 'guard') then
        redis.call('HSET', KEYS[3], 'guard', now + guard_ms)
    end
    redis.call('ZADD', KEYS[2], now, member)
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - {_ACTIVE_S * 1000})
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
    for key = 1, 3 do redis.call('EXPIRE', KEYS[key], {_KEPT_S}) end
    return epoch, redis.call('ZCARD', KEYS[2])
end
local function keep(ms)
    local id = redis.call('HINCRBY', KEYS[3], 'last', 1)
    redis.call('ZADD', KEYS[1], now + ms, id)
    redis.call('EXPIRE', KEYS[1], {_KEPT_S})
    return id
end
"""

_TAKE: Final = (
    _BEGIN
    + """
-- member, known epoch, fresh epoch, guard in ms, most, longest life in ms
local epoch, members = begin(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local guard = tonumber(redis.call('HGET', KEYS[3], 'guard') or 0)
if guard > now then return {0, math.ceil(guard - now), members, epoch} end
local most = tonumber(ARGV[5])
local over = redis.call('ZCARD', KEYS[1]) - most
if over >= 0 then
    local next = redis.call('ZRANGE', KEYS[1], over, over, 'WITHSCORES')
    return {0, math.ceil(next[2] - now), members, epoch}
end
return {keep(tonumber(ARGV[6])), 0, members, epoch}
"""
)

_JOIN: Final = (
    _BEGIN
    + """
-- member, known epoch, fresh epoch, guard in ms, then for how many ms each token that was lent elsewhere stays out
local epoch, members = begin(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
for place = 5, #ARGV do keep(tonumber(ARGV[place])) end
return {0, 0, members, epoch}
"""
)

_PUT_BACK: Final = """
-- id, for how many ms it stays out
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
redis.call('ZADD', KEYS[1], 'XX', now + ARGV[2], ARGV[1])
"""


_AGREE: Final = """
-- cut, for how many ms it counts
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local found = redis.call('HMGET', KEYS[3], 'cut', 'cut_until')
local known = tonumber(found[1] or 0)
if tonumber(found[2] or 0) <= now then known = 0 end
local mine = tonumber(ARGV[1])
if mine > 0 and mine >= known then
    known = mine
    redis.call('HSET', KEYS[3], 'cut', ARGV[1], 'cut_until', now + ARGV[2])
end
return tostring(known)
"""


class FleetUnreachableError(Exception):
    """Redis does not answer, or not as it should. The text says what it or its client said."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of the wish for a token, and how many processes share the key, this one included."""

    token: int | None
    wait_s: float
    members: int


class RedisLeases:
    """Talks to Redis for one process. Not thread-safe.

    Every method raises FleetUnreachableError instead of waiting for longer than about 0.2 s (the look-up of the
    host's name aside).
    """

    def __init__(
        self,
        url: str,
        key_digest: str,
        *,
        window_s: float = WINDOW_S,
        margin_s: float = MARGIN_S,
        request_timeout_s: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._keys = tuple(f"pandaprobe:{{{key_digest}}}:{name}" for name in ("leases", "members", "fleet"))
        self._hold_s = window_s + margin_s
        self._grace_s = request_timeout_s + UNANSWERED_EXTRA_S
        self._guard_s = self._hold_s + UNANSWERED_EXTRA_S
        self._monotonic = monotonic
        self._member = uuid.uuid4().hex
        self._epoch = ""
        self._lent_at = -math.inf
        self._client: Any = None
        self._scripts: dict[str, Any] = {}

    def take(self, most: int) -> Reply:
        """Lend a token, unless `most` or more of the fleet's are out or not back yet."""
        now = self._monotonic()
        holds_some = now - self._lent_at < self._guard_s
        life_s = self._hold_s + self._grace_s
        reply = self._ask(_TAKE, self._epoch if holds_some else "", most, _ms(life_s))
        if reply.token is not None:
            self._lent_at = now
        elif reply.wait_s > self._guard_s:  # of a request under way: it may be answered at once
            return replace(reply, wait_s=reply.wait_s - self._grace_s)
        return reply

    def join(self, outstanding_s: Sequence[float]) -> Reply:
        """Make known what this process has lent without Redis: for how many seconds each token stays out.

        For processes that did without it for a window: whatever it has forgotten is over.
        """
        return self._ask(_JOIN, "", *map(_ms, outstanding_s))

    def put_back(self, token: int, wait_s: float) -> None:
        """The token may be lent again in `wait_s` seconds."""
        self._run(_PUT_BACK, token, _ms(wait_s))

    def agree(self, cut: float) -> float:
        """Make a cut known (0: none), and return the highest of the fleet within the last ten minutes."""
        said = self._run(_AGREE, cut, _ms(CUT_COUNTS_S))
        try:
            return float(said)
        except (TypeError, ValueError) as error:
            raise FleetUnreachableError(f"an answer that is not one of the script: {said!r:.80}") from error

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        self._scripts.clear()
        if client is not None:
            client.close()

    def _ask(self, script: str, known_epoch: str, *arguments: int) -> Reply:
        said = self._run(script, self._member, known_epoch, uuid.uuid4().hex, _ms(self._guard_s), *arguments)
        try:
            token, wait_ms, members, epoch = said
            reply = Reply(int(token) or None, float(wait_ms) / 1000, int(members))
            self._epoch = epoch.decode("ascii")
        except (TypeError, ValueError, AttributeError) as error:
            raise FleetUnreachableError(f"an answer that is not one of the script: {said!r:.80}") from error
        return reply

    def _run(self, script: str, *arguments: Any) -> Any:
        from opentelemetry.instrumentation.utils import suppress_instrumentation

        try:
            with suppress_instrumentation():
                return self._script(script)(keys=self._keys, args=arguments)
        except Exception as error:
            raise FleetUnreachableError(str(error) or type(error).__name__) from error

    def _script(self, text: str) -> Any:
        if text not in self._scripts:
            if self._client is None:
                self._client = _connect(self._url)
            self._scripts[text] = self._client.register_script(text)
        return self._scripts[text]


def _connect(url: str) -> Any:
    with loading():
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

    return Redis.from_url(  # pyright: ignore[reportUnknownMemberType] - its options have no types
        url,
        socket_timeout=ANSWER_WITHIN_S,
        socket_connect_timeout=ANSWER_WITHIN_S,
        retry=Retry(NoBackoff(), 0),
        client_name="pandaprobe-otel",
    )


def _ms(seconds: float) -> int:
    return max(round(seconds * 1000), 1)
