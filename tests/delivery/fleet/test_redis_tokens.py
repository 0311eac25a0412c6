"""A fleet while Redis fails and returns, in simulated time, against a server that counts requests over any 60 s."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.budget import Lease, LeasedBucket
from pandaprobe_otel.delivery.fleet.redis_tokens import RedisTokens, StaticShare
from pandaprobe_otel.delivery.notices import Notices
from redis_model import ModelLeases, ModelRedis
from simulated_world import most_in_a_window
from suspended_processes import suspended_at_random

REQUEST_S = 0.2
CYCLE_S = 60.1 + REQUEST_S
"""The time after which a token is lent again; counts over whole cycles do not depend on when the first cycle begins."""


class Fleet:
    """Processes that always have a request to send, one at a time each; those in `idle` pause."""

    def __init__(self, processes: int) -> None:
        self.now = 0.0
        self.redis = ModelRedis()
        self.notices = Notices(lambda: self.now)
        self.buckets: list[LeasedBucket] = []
        self.idle: set[int] = set()
        self.hits: list[float] = []
        self._under_way: list[tuple[float, int, Lease]] = []
        self._rates: list[float] = []
        self._due: list[float] = []
        for _ in range(processes):
            self.join()

    def join(self, rate: float = 1.0) -> None:
        """Add a process whose clock runs at this rate."""
        number = len(self.buckets)
        leases = ModelLeases(self.redis, number, lambda: self.now * rate)
        jitter = random.Random(number).uniform
        self.buckets.append(LeasedBucket(tokens=RedisTokens(leases, self.notices, uniform=jitter), uniform=jitter))
        self._rates.append(rate)
        self._due.append(self.now)

    def end(self, number: int) -> None:
        """Kill this process."""
        self._due[number] = math.inf
        self._under_way = [entry for entry in self._under_way if entry[1] != number]

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.redis.now = self.now
            self._answer()
            for number, bucket in enumerate(self.buckets):
                if self._due[number] <= self.now:
                    self._due[number] = max(self._step(number, bucket), self.now + 0.001)
            answers = [at for at, _, _ in self._under_way]
            self.now = min(end, max(min([*self._due, *answers, end]), self.now + 1e-6))

    def _step(self, number: int, bucket: LeasedBucket) -> float:
        rate = self._rates[number]
        clock = self.now * rate
        bucket.tokens.heartbeat(clock)
        if number in self.idle:
            return min(bucket.tokens.heartbeat(clock), clock + 1.0) / rate
        lease = bucket.acquire(clock)
        if lease is None:
            return min(bucket.tokens.heartbeat(clock), bucket.next_free(clock)) / rate
        self.hits.append(self.now)
        self._under_way.append((self.now + REQUEST_S, number, lease))
        return self.now + REQUEST_S

    def _answer(self) -> None:
        for entry in [entry for entry in self._under_way if entry[0] <= self.now]:
            self._under_way.remove(entry)
            self.buckets[entry[1]].release(entry[2], self.now * self._rates[entry[1]])
            self._due[entry[1]] = self.now

    def per_minute(self, begin: float, end: float) -> float:
        return sum(begin <= at < end for at in self.hits) * 60 / (end - begin)


def test_the_whole_limit_and_no_more() -> None:
    """Eight busy processes send at least 98.5 requests a minute after the first minute."""
    fleet = Fleet(8)
    fleet.run(600)
    assert most_in_a_window(fleet.hits) <= 100
    assert fleet.per_minute(66, 600) >= 98.5
    assert fleet.redis.calls < 10 * len(fleet.hits)


@pytest.mark.parametrize("forgets", [True, False], ids=["comes back empty", "remembers"])
@pytest.mark.parametrize("away_s", [1.0, 64.0, 70.0, 1200.0])
@pytest.mark.parametrize("processes", [1, 32])
def test_redis_goes_and_comes_back(processes: int, away_s: float, forgets: bool) -> None:
    """No 60 s hold more than 100 requests; after its first window without Redis, each process sends its share."""
    fleet = Fleet(processes)
    fleet.run(200)
    fleet.redis.away = True
    fleet.run(away_s)
    gone = fleet.now
    fleet.redis.away = False
    if forgets:
        fleet.redis.forget()
    fleet.run(400)
    assert most_in_a_window(fleet.hits) <= 100
    if away_s >= 180:
        assert fleet.per_minute(gone - away_s, gone) >= 60
        share = 100 // processes * processes
        assert fleet.per_minute(gone - away_s + 96, gone) >= 0.95 * share
        assert fleet.per_minute(gone + 20, gone + 20 + 5 * CYCLE_S) >= 95
    assert fleet.per_minute(gone + 150, gone + 150 + 4 * CYCLE_S) >= 97


def test_one_line_for_an_absence_and_another_for_the_next(caplog: pytest.LogCaptureFixture) -> None:
    """Each absence of Redis is logged once, with the setting and the share that each process now uses."""
    fleet = Fleet(3)
    for _ in range(2):
        fleet.run(100)
        fleet.redis.away = True
        fleet.run(200)
        fleet.redis.away = False
    fleet.run(100)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert all("PANDAPROBE_REDIS_URL" in line and "its part (33 of the 100" in line for line in lines)


def test_who_was_promised_nothing_sends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A process without a promised share sends nothing while Redis is away, and asks Redis every 5 s."""
    fleet = Fleet(4)
    fleet.redis.away = True
    fleet.run(600)
    assert fleet.hits == []
    assert "sends nothing until Redis answers" in caplog.records[0].getMessage()
    assert fleet.redis.calls <= 4 * 600 / 5 + 40
    fleet.redis.away = False
    fleet.run(120)
    assert most_in_a_window(fleet.hits) <= 100
    assert fleet.per_minute(660, 720) >= 95


def test_a_newcomer_waits_until_the_others_have_less() -> None:
    """Promised shares never exceed 100 together, and soon each of five processes has a fifth."""
    fleet = Fleet(1)
    fleet.run(40)
    assert fleet.redis.promised == 100
    for _ in range(4):
        fleet.join()
        fleet.run(0.05)
        assert fleet.redis.promised <= 100
    fleet.run(35)
    assert fleet.redis.promised == 100
    fleet.redis.away = True
    fleet.run(180)
    assert most_in_a_window(fleet.hits) == 100
    assert fleet.per_minute(fleet.now - 65, fleet.now - 5) >= 95


@pytest.mark.parametrize(("leaves", "after_s"), [(True, 6.0), (False, 66.0)])
def test_the_part_of_one_who_ended_goes_to_the_other(leaves: bool, after_s: float) -> None:
    """The share of a process that shut down is free at once, that of a killed process after a minute."""
    fleet = Fleet(2)
    fleet.run(60)
    assert fleet.redis.promised == 100
    if leaves:
        fleet.buckets[1].tokens.leave()
        assert fleet.redis.promised == 50
    fleet.end(1)
    fleet.run(after_s)
    assert fleet.redis.promised == 100
    fleet.redis.away = True
    fleet.run(165)
    assert most_in_a_window(fleet.hits) == 100


events = st.tuples(
    st.sampled_from(["join", "join many", "away", "back", "back, empty", "idle", "busy"]),
    st.floats(6.0, 40.0) | st.sampled_from([95.0, 97.0, 130.0]),
)


@settings(max_examples=30, deadline=None)
@given(processes=st.integers(1, 9), story=st.lists(events, min_size=3, max_size=14), seed=st.integers(0, 99))
def test_never_more_than_the_limit(processes: int, story: Sequence[tuple[str, float]], seed: int) -> None:
    """The limit holds while processes join, pause and wake, Redis fails and forgets, and clocks are 500 ppm off."""
    rng = random.Random(seed)
    fleet = Fleet(0)
    for _ in range(processes):
        fleet.join(rng.uniform(0.9995, 1.0005))
    fleet.run(rng.choice([0.05, 3.0, 29.0, 50.0]))
    for what, seconds in story:
        if what.startswith("join"):
            for _ in range(12 if what == "join many" else 1):
                fleet.join(rng.uniform(0.9995, 1.0005))
        elif what == "away":
            fleet.redis.away = True
        elif what == "idle":
            fleet.idle = set(rng.sample(range(len(fleet.buckets)), len(fleet.buckets) // 2))
        elif what == "busy":
            fleet.idle = set()
        else:
            fleet.redis.away = False
            if what.endswith("empty"):
                fleet.redis.forget()
        fleet.run(seconds)
    assert most_in_a_window(fleet.hits) <= 100


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), stopped_s=st.sampled_from([31.0, 96.0, 110.0, 130.0, 200.0]))
def test_processes_that_are_suspended_at_any_moment_never_exceed_the_limit(seed: int, stopped_s: float) -> None:
    """A resumed process sends if its lease still allows it; otherwise it returns the token and takes another."""
    redis = ModelRedis()
    buckets = [
        LeasedBucket(
            tokens=RedisTokens(ModelLeases(redis, number), Notices(lambda: redis.now)), clock=lambda: redis.now
        )
        for number in range(3)
    ]

    def advance(seconds: float) -> None:
        redis.now += seconds

    hits = suspended_at_random(lambda: redis.now, buckets, random.Random(seed), stopped_s, advance)

    assert most_in_a_window(sorted(hits)) <= 100
    assert len(hits) >= 300


def test_who_may_take_more_asks_although_others_wait() -> None:
    """A caller that may use all tokens gets a token, even after a caller that leaves 95 free was refused."""
    redis = ModelRedis()
    tokens = RedisTokens(ModelLeases(redis, 1), Notices(lambda: 0.0))
    assert tokens.take(100, 0.0) is None  # from a Redis that lost its data, which lends nothing yet
    redis.now = 7.0
    for _ in range(5):
        assert tokens.take(100, 7.0) is not None
    assert tokens.take(5, 7.0) is None
    assert tokens.next_free(5, 7.0) > 8.0
    assert tokens.next_free(100, 7.0) == 7.0
    assert tokens.take(100, 7.0) is not None


def test_leases_lent_without_redis_count_as_long_as_a_request_may_take() -> None:
    """A share gives its tokens, less if the fleet claims less; a token under way counts for the longest request."""
    share = StaticShare(2)
    assert [share.take(50, 0.0), share.take(100, 0.0), share.take(100, 0.0), share.take(100, 0.0)].count(None) == 2
    assert share.next_free(100, 0.0) == math.inf
    share.put_back(0, 60.0, 1.0)
    assert share.outstanding_s(2.0, 95.0) == [59.0, 95.0]
    assert share.outstanding_s(70.0, 95.0) == [95.0]
    share.forfeit()
    assert share.take(100, 200.0) is None


def test_the_highest_cutoff_applies_to_all_while_redis_is_there() -> None:
    """The highest cutoff applies to all processes; without Redis each process uses its own."""
    redis = ModelRedis()
    one, other = (RedisTokens(ModelLeases(redis, number), Notices(lambda: 0.0)) for number in (1, 2))
    assert one.publish_cutoff(0.75, 0.0) == 0.75
    assert other.publish_cutoff(0.5, 0.0) == 0.75
    redis.away = True
    assert other.publish_cutoff(0.5, 1.0) == 0.5
    assert one.publish_cutoff(0.0, 1.0) == 0.0
