"""Scripts that Redis runs for a fleet, one at a time and by its own clock.

All keys of a fleet share one hash tag, so that a cluster keeps them in one slot:

- `leases`: a sorted set of the numbers of tokens that are lent or have not returned, by the time of their return;
- `members`: a sorted set of the processes that have called recently, by the time of their last call;
- `fleet`: a hash. `last`: the last token number. `epoch`: a random name, which is missing if Redis has lost its data.
  `guard`: the time before which nothing is lent. `settled`: the time before which no part grows. `forgot`: whether a
  process found that Redis had lost something. `cut` with `cut_until`: see `Tokens.publish_cutoff`;
- `parts`: a hash of the tokens that each process may use while Redis is unreachable, and the number of the call that
  set them;
- `silent`: a sorted set of the members that have missed their calls, by the time until which their part counts.

A lent token is stored with the latest time at which it can be needed. If its holder dies, only that time is lost.

The parts never add up to more than 100. `parts` has at least the number that each process believes it has, and a new
part comes only from the remaining tokens. A process sends its belief with each call. A larger part is stored here
before the process learns of it, a smaller part after the process has repeated it. So a new process waits until the
others know of their smaller parts. If a process does not call, its part is kept until Redis has been reachable long
enough for a call; a process that has not called for that long no longer uses its part. If Redis has lost its data, it
lends nothing for so long that every process that still uses a part has called.
"""

from __future__ import annotations

from typing import Final

from pandaprobe_otel.delivery.budget import CAPACITY

LOOK_S: Final = 15.0
"""Interval of calls that keep the part of a process without tokens."""
RETRY_S: Final = 5.0
"""Interval of calls while a process holds tokens, and longest wait before it tries an unreachable Redis again."""
FORFEIT_S: Final = 28.0
"""Time after which a process that has not tried to call has no part any more."""
_SILENT_S: Final = 30.0
"""Time without a call after which the process has ended or Redis has been unreachable."""
SETTLE_S: Final = RETRY_S + 1.0
"""Time after which every process has called a Redis that came back, and has reported its tokens."""
PART_AFTER_S: Final = 95.0
"""Time without Redis before which no process uses its part."""
_AWAY_S: Final = PART_AFTER_S - 5.0
_WITHHELD_S: Final = 65.0
"""Time for which a part counts as used unless its process denies it. After that, all its requests are over."""
_KEPT_S: Final = 30 * 86_400
"""Lifetime of the keys: longer than the breaks of a fleet that works once a month. A new fleet waits `SETTLE_S`."""

_TIME: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
"""

_BEGIN: Final = f"""{_TIME}
local member, part, call = ARGV[1], tonumber(ARGV[5]), tonumber(ARGV[6])
local function said_by(name)
    local said = redis.call('HGET', KEYS[4], name) or '0 0'
    local tokens, number = string.match(said, '(%d+) (%d+)')
    return tonumber(tokens), tonumber(number)
end
local function write(tokens) redis.call('HSET', KEYS[4], member, string.format('%d %d', tokens, call)) end
local function generation(known, fresh, guard_ms)
    local fleet = redis.call('HMGET', KEYS[3], 'epoch', 'guard', 'settled', 'forgot')
    local epoch, guard, settled = fleet[1], tonumber(fleet[2] or 0), tonumber(fleet[3] or 0)
    if not epoch then
        epoch, guard, settled = fresh, now + {SETTLE_S * 1000:.0f}, now + {_SILENT_S * 1000:.0f}
    end
    if known ~= '' and known ~= epoch and not fleet[4] then
        guard = math.max(guard, now + guard_ms)
        redis.call('HSET', KEYS[3], 'forgot', 1)
    end
    redis.call('HSET', KEYS[3], 'epoch', epoch, 'guard', guard, 'settled', settled)
    return epoch, guard, settled
end
local function look_for_silent()
    local withheld = 0
    for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - {_SILENT_S * 1000:.0f})) do
        local seen = tonumber(redis.call('ZSCORE', KEYS[2], other))
        local counts = tonumber(redis.call('ZSCORE', KEYS[5], other) or 0)
        if counts == 0 then
            counts = now + (now - seen >= {_AWAY_S * 1000:.0f} and {_WITHHELD_S * 1000:.0f} or {_SILENT_S * 1000:.0f})
            redis.call('ZADD', KEYS[5], counts, other)
        end
        if counts <= now then
            redis.call('ZREM', KEYS[2], other)
            redis.call('ZREM', KEYS[5], other)
            redis.call('HDEL', KEYS[4], other)
        elseif counts - seen >= {(_AWAY_S + _WITHHELD_S) * 1000:.0f} then
            withheld = withheld + said_by(other)
        end
    end
    return withheld
end
local function part_of_caller(settled)
    local target = math.max(math.floor({CAPACITY} / redis.call('ZCARD', KEYS[2])), 1)
    if part >= target or settled > now then return math.min(part, target) end
    local left = {CAPACITY}
    for _, said in ipairs(redis.call('HVALS', KEYS[4])) do left = left - tonumber(string.match(said, '%d+')) end
    part = part + math.max(math.min(target - part, left), 0)
    write(part)
    return part
end
local function begin()
    local epoch, guard, settled = generation(ARGV[2], ARGV[3], tonumber(ARGV[4]))
    local _, newest = said_by(member)
    redis.call('ZADD', KEYS[2], now, member)
    redis.call('ZREM', KEYS[5], member)
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
    local withheld = look_for_silent()
    if call > newest then
        write(part)
        part = part_of_caller(settled)
    end
    for key = 1, 5 do redis.call('EXPIRE', KEYS[key], {_KEPT_S}) end
    return epoch, guard, withheld
end
local function keep(ms)
    local id = redis.call('HINCRBY', KEYS[3], 'last', 1)
    redis.call('ZADD', KEYS[1], now + ms, id)
    redis.call('EXPIRE', KEYS[1], {_KEPT_S})
    return id
end
local epoch, guard, withheld = begin()
"""
"""ARGV: member, known epoch, new epoch, guard in ms, part that the caller believes it has, number of the call."""

TAKE: Final = (
    _BEGIN
    + f"""
-- most, longest life in ms
if guard > now then return {{0, math.ceil(guard - now), part, epoch}} end
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[7]) + withheld
if over >= 0 then
    local next = redis.call('ZRANGE', KEYS[1], over, over, 'WITHSCORES')
    return {{0, next[2] and math.ceil(next[2] - now) or {SETTLE_S * 1000:.0f}, part, epoch}}
end
return {{keep(tonumber(ARGV[8])), 0, part, epoch}}
"""
)

LOOK: Final = (
    _BEGIN
    + """
-- for how many ms each token that was lent elsewhere stays out
for place = 7, #ARGV do keep(tonumber(ARGV[place])) end
return {0, 0, part, epoch}
"""
)

LEAVE: Final = """
-- member
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
"""

PUT_BACK: Final = f"""{_TIME}
-- id, for how many ms it stays out
redis.call('ZADD', KEYS[1], 'XX', now + ARGV[2], ARGV[1])
"""

AGREE: Final = f"""{_TIME}
-- cut, for how many ms it counts
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
