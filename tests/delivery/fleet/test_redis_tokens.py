"""What a fleet does while Redis goes and comes, in simulated time, against a server that counts any 60 s."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.fleet.redis_leases import FleetUnreachableError, Reply
from pandaprobe_otel.delivery.fleet.redis_tokens import RedisTokens
from pandaprobe_otel.delivery.fleet.static_share import StaticShare
from pandaprobe_otel.delivery.notices import Notices

REQUEST_S = 0.2
CYCLE_S = 60.1 + REQUEST_S
"""After this time a token is lent again; what is counted over whole cycles does not depend on where one begins."""


class ModelRedis:
    """What the scripts do, on a clock of its own (`now`), with the power to be away and to forget."""

    def __init__(self) -> None:
        self.now = 0.0
        self.away = False
        self.calls = 0
        self.forget()

    def forget(self) -> None:
        self._leases: dict[int, float] = {}
        self._members: set[int] = set()
        self._guard = 0.0
        self._last = 0
        self._cut = 0.0
        self.epoch = object()

    def greet(self, member: int, known: object | None) -> None:
        self.calls += 1
        if self.away:
            raise FleetUnreachableError("connection refused")
        if known is not None and known is not self.epoch and not self._guard:
            self._guard = self.now + 65.1
        self._members.add(member)
        self._leases = {token: until for token, until in self._leases.items() if until > self.now}

    def take(self, most: int) -> Reply:
        if self._guard > self.now:
            return Reply(None, self._guard - self.now, len(self._members))
        over = len(self._leases) - most
        if over >= 0:
            return Reply(None, sorted(self._leases.values())[over] - self.now, len(self._members))
        return Reply(self._lend(95.1), 0.0, len(self._members))

    def join(self, outstanding_s: Sequence[float]) -> Reply:
        for wait_s in outstanding_s:
            self._lend(wait_s)
        return Reply(None, 0.0, len(self._members))

    def put_back(self, token: int, wait_s: float) -> None:
        if self.away:
            raise FleetUnreachableError("connection refused")
        if token in self._leases:
            self._leases[token] = self.now + wait_s

    def agree(self, cut: float) -> float:
        if self.away:
            raise FleetUnreachableError("connection refused")
        self._cut = max(self._cut, cut)
        return self._cut

    def _lend(self, wait_s: float) -> int:
        self._last += 1
        self._leases[self._last] = self.now + wait_s
        return self._last


class ModelLeases:
    """One process's way to it."""

    def __init__(self, redis: ModelRedis, member: int) -> None:
        self._redis, self._member = redis, member
        self._known: object | None = None
        self._lent_at = -math.inf

    def take(self, most: int) -> Reply:
        holds_some = self._redis.now - self._lent_at < 65.1
        self._redis.greet(self._member, self._known if holds_some else None)
        reply, self._known = self._redis.take(most), self._redis.epoch
        if reply.token is not None:
            self._lent_at = self._redis.now
        return reply

    def join(self, outstanding_s: Sequence[float]) -> Reply:
        self._redis.greet(self._member, None)
        self._known = self._redis.epoch
        return self._redis.join(outstanding_s)

    def agree(self, cut: float) -> float:
        return self._redis.agree(cut)

    def put_back(self, token: int, wait_s: float) -> None:
        self._redis.put_back(token, wait_s)


class Fleet:
    """Processes that always have something to send, one request at a time each."""

    def __init__(self, processes: int) -> None:
        self.now = 0.0
        self.redis = ModelRedis()
        self.notices = Notices(lambda: self.now)
        self.buckets = [
            LeasedBucket(tokens=RedisTokens(ModelLeases(self.redis, number), self.notices))
            for number in range(processes)
        ]
        self.under_way: list[tuple[float, int, object]] = []
        self.hits: list[float] = []
        self._due = [0.0] * processes

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.redis.now = self.now
            self._answer()
            for number, bucket in enumerate(self.buckets):
                if self._due[number] <= self.now:
                    self._send(number, bucket)
            answers = [at for at, _, _ in self.under_way]
            self.now = min(end, max(min([*self._due, *answers, end]), self.now + 1e-6))

    def _send(self, number: int, bucket: LeasedBucket) -> None:
        lease = bucket.acquire(self.now)
        if lease is None:
            self._due[number] = max(bucket.next_free(self.now), self.now + 0.001)
            return
        self.hits.append(self.now)
        self.under_way.append((self.now + REQUEST_S, number, lease))
        self._due[number] = self.now + REQUEST_S

    def _answer(self) -> None:
        for entry in [entry for entry in self.under_way if entry[0] <= self.now]:
            self.under_way.remove(entry)
            self.buckets[entry[1]].release(entry[2], self.now)  # type: ignore[arg-type]
            self._due[entry[1]] = self.now

    def most_in_a_window(self) -> int:
        most, first = 0, 0
        for last, at in enumerate(self.hits):
            while self.hits[first] <= at - 60.0:
                first += 1
            most = max(most, last - first + 1)
        return most

    def per_minute(self, begin: float, end: float) -> float:
        return sum(begin <= at < end for at in self.hits) * 60 / (end - begin)


def test_the_whole_limit_and_no_more() -> None:
    """Eight processes that always have something: at least 98.5 a minute after the first."""
    fleet = Fleet(8)
    fleet.run(600)
    assert fleet.most_in_a_window() <= 100
    assert fleet.per_minute(60, 600) >= 98.5
    assert fleet.redis.calls < 10 * len(fleet.hits)


@pytest.mark.parametrize("forgets", [True, False], ids=["comes back empty", "remembers"])
@pytest.mark.parametrize("away_s", [1.0, 20.0, 64.0, 70.0, 180.0, 1200.0])
@pytest.mark.parametrize("processes", [1, 8, 32])
def test_redis_goes_and_comes_back(processes: int, away_s: float, forgets: bool) -> None:
    """Never more than 100 in any 60 s; after the first window without it, each sends its part."""
    fleet = Fleet(processes)
    fleet.run(200)
    fleet.redis.away = True
    fleet.run(away_s)
    gone = fleet.now
    fleet.redis.away = False
    if forgets:
        fleet.redis.forget()
    fleet.run(400)
    assert fleet.most_in_a_window() <= 100
    if away_s >= 180:
        assert fleet.per_minute(gone - away_s, gone) >= 60
        share = 100 // processes * processes
        assert fleet.per_minute(gone - away_s + 67, gone) >= 0.95 * share
        assert fleet.per_minute(gone + 20, gone + 20 + 5 * CYCLE_S) >= 95
    assert fleet.per_minute(gone + 150, gone + 150 + 4 * CYCLE_S) >= 97


def test_a_short_absence_is_nobodys_business(caplog: pytest.LogCaptureFixture) -> None:
    """A Redis that restarts with its data within a second costs a second, and no line in the log."""
    fleet = Fleet(4)
    fleet.run(120)
    fleet.redis.away = True
    fleet.run(1)
    fleet.redis.away = False
    before = len(fleet.hits)
    fleet.run(120)
    assert len(fleet.hits) - before >= 195
    assert caplog.records == []


def test_one_line_for_an_absence_and_another_for_the_next(caplog: pytest.LogCaptureFixture) -> None:
    """It names the setting and what happens now; no process repeats it with each trace."""
    fleet = Fleet(3)
    for _ in range(2):
        fleet.run(100)
        fleet.redis.away = True
        fleet.run(200)
        fleet.redis.away = False
    fleet.run(100)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert all("PANDAPROBE_REDIS_URL" in line and "1/3 of the limit" in line for line in lines)


def test_never_there_means_one_a_minute() -> None:
    """Nobody knows how many share the key, so nobody acts as if alone; Redis is asked every five seconds."""
    fleet = Fleet(4)
    fleet.redis.away = True
    fleet.run(600)
    assert fleet.most_in_a_window() == 4
    assert 8 <= len(fleet.hits) / 4 <= 10
    assert fleet.redis.calls <= 4 * 600 / 5 + 40
    fleet.redis.away = False
    fleet.run(120)
    assert fleet.most_in_a_window() <= 100
    assert fleet.per_minute(660, 720) >= 95


def test_who_may_take_more_asks_although_others_wait() -> None:
    """A refusal to one who leaves tokens to errors says nothing to the error itself."""
    redis = ModelRedis()
    tokens = RedisTokens(ModelLeases(redis, 1), Notices(lambda: 0.0))
    for _ in range(5):
        assert tokens.take(100, 0.0) is not None
    assert tokens.take(5, 0.0) is None
    assert tokens.next_free(5, 0.0) > 1.0
    assert tokens.next_free(100, 0.0) == 0.0
    assert tokens.take(100, 0.0) is not None


class TestStaticShare:
    """The part of one process among many."""

    @pytest.mark.parametrize(("members", "tokens"), [(1, 100), (3, 33), (8, 12), (100, 1)])
    def test_up_to_a_hundred_processes(self, members: int, tokens: int) -> None:
        """100 // members tokens, which come back as any."""
        share = StaticShare(members, 0.0, window_s=60.0, uniform=lambda low, high: high)
        assert sum(share.take(100, 0.0) for _ in range(200)) == tokens
        assert share.next_free(100, 0.0) == math.inf
        share.put_back(60.1, 1.0)
        assert share.next_free(100, 1.0) == 61.1
        assert share.take(100, 61.1)

    def test_more_than_a_hundred(self) -> None:
        """One each, at a moment of its own, and 75 together for each hundred."""
        late = StaticShare(300, 0.0, window_s=60.0, uniform=lambda low, high: high)
        early = StaticShare(300, 0.0, window_s=60.0, uniform=lambda low, high: low)
        assert not late.take(100, 239.0)
        assert late.take(100, 240.0)
        assert early.take(100, 0.0)
        early.put_back(60.0, 0.0)
        assert early.next_free(100, 0.0) == 240.0  # 300 processes in 240 s: 75 a minute

    def test_a_fleet_that_claims_less_lends_less(self) -> None:
        """With half of the limit left to the fleet, each has half of its part."""
        share = StaticShare(10, 0.0, window_s=60.0, uniform=lambda low, high: high)
        assert sum(share.take(50, 0.0) for _ in range(20)) == 5

    def test_what_stays_out(self) -> None:
        """Tokens of requests under way count for as long as a request may take."""
        share = StaticShare(50, 0.0, window_s=60.0, uniform=lambda low, high: high)
        assert share.take(100, 0.0)
        assert share.take(100, 0.0)
        share.put_back(60.0, 1.0)
        assert share.outstanding_s(2.0, 95.0) == [59.0, 95.0]
        assert share.outstanding_s(70.0, 95.0) == [95.0]


def test_what_the_fleet_leaves_out_is_known_to_all_until_redis_is_away() -> None:
    """The highest cut of all; without Redis each knows its own, and goes on."""
    redis = ModelRedis()
    one, other = (RedisTokens(ModelLeases(redis, number), Notices(lambda: 0.0)) for number in (1, 2))
    assert one.agree(0.75, 0.0) == 0.75
    assert other.agree(0.5, 0.0) == 0.75
    redis.away = True
    assert other.agree(0.5, 1.0) == 0.5
    assert one.agree(0.0, 1.0) == 0.0
