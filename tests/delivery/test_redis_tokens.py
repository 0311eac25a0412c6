"""A fleet while Redis fails and returns, in simulated time, against a server that counts requests over any 60 s."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.budget import Lease, LeasedBucket
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.redis_tokens import RedisTokens
from redis_model import ModelLeases, ModelRedis
from simulated_world import most_in_a_window

REQUEST_S = 0.2
CYCLE_S = 60.1 + REQUEST_S
"""The time after which a token is lent again; counts over whole cycles do not depend on when the first cycle begins."""


class Fleet:
    """Processes that always have a request to send, one at a time each."""

    def __init__(self, processes: int) -> None:
        self.now = 0.0
        self.redis = ModelRedis()
        self.notices = Notices(lambda: self.now)
        self.buckets: list[LeasedBucket] = []
        self.hits: list[float] = []
        self._under_way: list[tuple[float, int, Lease]] = []
        self._rates: list[float] = []
        self._due: list[float] = []
        for _ in range(processes):
            self.join()

    def join(self, rate: float = 1.0) -> None:
        """Add a process whose clock runs at this rate."""
        number = len(self.buckets)
        leases = ModelLeases(self.redis)
        jitter = random.Random(number).uniform
        self.buckets.append(LeasedBucket(tokens=RedisTokens(leases, self.notices, uniform=jitter), uniform=jitter))
        self._rates.append(rate)
        self._due.append(self.now)

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
        lease = bucket.acquire(clock)
        if lease is None:
            return bucket.next_free(clock) / rate
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
@pytest.mark.parametrize("away_s", [1.0, 64.0, 90.0])
@pytest.mark.parametrize("processes", [1, 32])
def test_redis_is_away_for_a_while(processes: int, away_s: float, forgets: bool) -> None:
    """No 60 s hold more than 100 requests, although Redis is away or loses its data."""
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
    assert fleet.per_minute(gone + 150, gone + 150 + 4 * CYCLE_S) >= 97


def test_processes_that_wait_too_long_for_redis_send_by_themselves(caplog: pytest.LogCaptureFixture) -> None:
    """Without Redis, nothing is sent for 95 s; then each process uses the limit. One line names the setting.

    Processes that never found Redis do the same, and ask for it every few seconds.
    """
    fleet = Fleet(3)
    fleet.redis.away = True
    for _ in range(2):
        begun = fleet.now
        fleet.run(400)
        assert fleet.per_minute(begun + 1, begun + 94) == 0
        assert 290 <= fleet.per_minute(begun + 96, begun + 96 + 4 * CYCLE_S) <= 300
        fleet.redis.away = False
        back = fleet.now
        fleet.run(300)
        assert fleet.per_minute(back + 70, back + 70 + 3 * CYCLE_S) >= 95
        assert most_in_a_window([at for at in fleet.hits if at > back + 66]) <= 100
        fleet.redis.away, fleet.redis.calls = True, 0
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert all("PANDAPROBE_REDIS_URL" in line and "nothing for 95 s" in line for line in lines)
    fleet.run(600)
    assert fleet.redis.calls <= 3 * 600 / 5 + 40


events = st.tuples(
    st.sampled_from(["join", "join many", "away", "back", "back, empty"]),
    st.floats(6.0, 40.0) | st.sampled_from([80.0, 94.0]),
)


@settings(max_examples=30, deadline=None)
@given(processes=st.integers(1, 9), story=st.lists(events, min_size=3, max_size=14), seed=st.integers(0, 99))
def test_never_more_than_the_limit(processes: int, story: Sequence[tuple[str, float]], seed: int) -> None:
    """The limit holds while processes join, Redis fails for a while, and clocks are 500 ppm off."""
    rng = random.Random(seed)
    fleet = Fleet(0)
    for _ in range(processes):
        fleet.join(rng.uniform(0.9995, 1.0005))
    fleet.run(rng.choice([0.05, 3.0, 29.0, 50.0]))
    gone = 0.0
    for what, seconds in story:
        if what.startswith("join"):
            for _ in range(12 if what == "join many" else 1):
                fleet.join(rng.uniform(0.9995, 1.0005))
        elif what == "away" and not fleet.redis.away:
            fleet.redis.away, gone = True, fleet.now
        elif what.startswith("back"):
            fleet.redis.away = False
            if what.endswith("empty"):
                fleet.redis.forget()
        if fleet.now + seconds - gone > 94:  # after 95 s, each process has a limit of its own
            fleet.redis.away = False
        fleet.run(seconds)
    assert most_in_a_window(fleet.hits) <= 100


def test_who_may_take_more_asks_although_others_wait() -> None:
    """A caller that may use all tokens gets a token, even after a caller that leaves 95 free was refused."""
    redis = ModelRedis()
    tokens = RedisTokens(ModelLeases(redis), Notices(lambda: 0.0))
    assert tokens.take(100, 0.0) is None  # from a Redis that lost its data, which lends nothing yet
    redis.now = 7.0
    for _ in range(5):
        assert tokens.take(100, 7.0) is not None
    assert tokens.take(5, 7.0) is None
    assert tokens.next_free(5, 7.0) > 8.0
    assert tokens.next_free(100, 7.0) == 7.0
    assert tokens.take(100, 7.0) is not None
