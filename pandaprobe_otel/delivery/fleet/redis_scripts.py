"""The scripts that Redis runs for a fleet: one at a time, by its own clock.

All keys of a fleet share one hash tag, so that a cluster keeps them in one slot:

- `leases`: a sorted set of the tokens that are out or not back yet, by number, with the time at which each is back;
- `members`: a sorted set of the processes that have called lately, with the time of their last call;
- `fleet`: a hash. `last`: the last number given. `epoch`: a name that a Redis without its memory lacks. `guard`: the
  time before which nothing is lent. `settled`: the time before which no part grows. `forgot`: whether a process missed
  something that it knew. `cut` with `cut_until`: see `Tokens.publish_cutoff`;
- `parts`: a hash of the tokens that each process may use while Redis is unreachable, and the number of the call that
  set them;
- `silent`: a sorted set of the members that have not called as they should, with the time until which that counts.

A lent token is stored with the latest time at which it can be needed. If its holder dies, only that time is lost.

The parts never add up to more than the hundred. `parts` has at least what each process believes to have, and a part
is given only from what `parts` leaves over. A process sends its belief with each call. A larger part counts here
before the process hears of it, a smaller one once the process has repeated it; so a newcomer waits until the others
know. The part of a process that does not call is kept until Redis has been reachable for long enough for it to call;
a process that has not called for that long no longer uses its part. A Redis that has lost its memory gives nothing
until every process that believes in a part must have called.
"""

from __future__ import annotations

from typing import Final

from pandaprobe_otel.delivery.budget import CAPACITY

LOOK_S: Final = 15.0
"""Interval of calls that keep the part of a process which needs no token."""
RETRY_S: Final = 5.0
"""The same interval while a process holds tokens, and the longest wait before it tries an unreachable Redis again."""
FORFEIT_S: Final = 28.0
"""A process that has not even tried to call for this long no longer has a part."""
_SILENT_S: Final = 30.0
"""After this time without a call, either the process has ended or Redis has been unreachable."""
SETTLE_S: Final = RETRY_S + 1.0
"""Every process has called a Redis that came back by this time, and has reported the tokens it holds."""
PART_AFTER_S: Final = 95.0
"""No process uses its part before it has been without Redis for this long."""
_AWAY_S: Final = PART_AFTER_S - 5.0
_WITHHELD_S: Final = 65.0
"""Time for which a possibly used part counts if nobody denies its use: its requests are over by then."""
_KEPT_S: Final = 30 * 86_400
"""Longer than the breaks of a fleet that works once a day, a week or a month: a new fleet waits for `SETTLE_S`."""

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
"""ARGV: member, known epoch, fresh epoch, guard in ms, the part in which the caller believes, number of the call."""

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
