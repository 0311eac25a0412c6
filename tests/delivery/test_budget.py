"""The leased-token bucket against models of the server's window, in simulated time."""

from __future__ import annotations

import heapq
import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.budget import Lease, LeasedBucket

WINDOW_S = 60.0


def no_jitter(low: float, high: float) -> float:
    """Return the lower end of every random range."""
    return low


def simulate(up: list[float], down: list[float], seconds: float) -> list[float]:
    """Run a saturated client; return the times at which the server counted its requests."""
    bucket = LeasedBucket(uniform=no_jitter)
    answers: list[tuple[float, int, Lease]] = []
    hits: list[float] = []
    now, sent = 0.0, 0
    while now < seconds:
        while answers and answers[0][0] <= now:
            at, _, lease = heapq.heappop(answers)
            bucket.release(lease, at)
        lease_or_none = bucket.acquire(now)
        if lease_or_none is None:
            following = min(bucket.next_free(now), answers[0][0] if answers else math.inf)
            now = max(following, now + 1e-6)
            continue
        hit = now + up[sent % len(up)]
        hits.append(hit)
        heapq.heappush(answers, (hit + down[sent % len(down)], sent, lease_or_none))
        sent += 1
    return hits


def most_in_any_window(hits: list[float]) -> int:
    """Return the largest number of hits within less than 60 s."""
    hits = sorted(hits)
    first, most = 0, 0
    for last, at in enumerate(hits):
        while at - hits[first] >= WINDOW_S:
            first += 1
        most = max(most, last - first + 1)
    return most


@settings(max_examples=60, deadline=None)
@given(
    up=st.lists(st.floats(0.0, 5.0), min_size=1, max_size=40),
    down=st.lists(st.floats(0.0, 5.0), min_size=1, max_size=40),
)
def test_no_window_ever_sees_more_than_the_limit(up: list[float], down: list[float]) -> None:
    """No 60 s hold more than 100 requests, with any delays and order of arrival."""
    assert most_in_any_window(simulate(up, down, 400.0)) <= 100


def test_the_whole_limit_is_used() -> None:
    """With delays of 5 to 500 ms each way, at least 98.5 requests a minute go out."""
    rng = random.Random(7)
    delays = [rng.uniform(0.005, 0.5) for _ in range(997)]
    hits = simulate(delays, delays[::-1], 660.0)

    assert sum(60.0 <= at < 660.0 for at in hits) / 10 >= 98.5


def test_an_unanswered_request_holds_its_token_longer() -> None:
    """The server may count an unanswered request late, so the request's token stays out for five seconds more."""
    bucket = LeasedBucket(capacity=1)
    lease = bucket.acquire(0.0)
    assert lease is not None
    bucket.release(lease, 10.0, answered=False)

    assert bucket.acquire(75.0) is None
    assert bucket.next_free(70.2) == pytest.approx(75.1)
    assert bucket.acquire(75.2) is not None


def probes(bucket: LeasedBucket, seconds: float) -> list[float]:
    """Return the times at which a bucket that is always refused sends its probes."""
    now, times = 0.1, []
    while (now := bucket.next_free(now)) < seconds:
        probe = bucket.acquire(now)
        assert probe is not None
        assert probe.probe
        assert bucket.acquire(now) is None, "one at a time"
        times.append(now)
        bucket.release(probe, now)
        bucket.limited(now, None)
    return times


def test_a_refused_client_probes_at_the_end_of_the_window_and_then_less_and_less_often() -> None:
    """Probes go every 20 s, then at the end of the first refusal's window, then 60, 120 and 240 s later."""
    bucket = LeasedBucket(uniform=no_jitter)
    first = bucket.acquire(0.0)
    assert first is not None
    bucket.release(first, 0.1)
    bucket.limited(0.1, None)

    assert probes(bucket, 800.0) == pytest.approx([20.1, 40.1, 60.2, 120.2, 240.2, 480.2, 720.2])
    bucket.accepted(800.0)
    assert not bucket.episode


@given(opens=st.floats(0.0, 60.0), drawn=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=9))
def test_a_refused_client_is_back_soon_after_the_window_opens_whenever_that_is(
    opens: float, drawn: list[float]
) -> None:
    """If another process filled the window, a probe succeeds at most 35 s after the window has reopened."""
    turn = itertools.cycle(drawn)
    bucket = LeasedBucket(uniform=lambda low, high: low + (high - low) * next(turn))
    bucket.limited(0.0, None)
    now = bucket.next_free(0.0)
    while now < opens:
        probe = bucket.acquire(now)
        assert probe is not None
        bucket.release(probe, now)
        bucket.limited(now, None)
        now = bucket.next_free(now)

    assert now - opens <= 35.0
    assert now <= 60.1


@pytest.mark.parametrize(("asked_s", "waits"), [(1.0, [1.0, 2.0, 4.0, 5.0, 5.0]), (7.0, [7.0] * 5)])
def test_a_short_wait_that_the_server_names_each_time_is_five_seconds_in_the_end(
    asked_s: float, waits: list[float]
) -> None:
    """The wait grows to five seconds if the server's Retry-After is repeatedly one second."""
    bucket = LeasedBucket(uniform=no_jitter)
    now, found = 0.0, []
    for _ in waits:
        bucket.limited(now, asked_s)
        found.append(bucket.next_free(now) - now)
        now = bucket.next_free(now)

    assert found == waits


def test_retry_after_is_obeyed_to_the_second() -> None:
    """A Retry-After of the server replaces the bucket's own schedule."""
    bucket = LeasedBucket(uniform=no_jitter)
    bucket.limited(0.0, 7.0)

    assert bucket.acquire(6.9) is None
    assert bucket.acquire(7.0) is not None


def test_after_a_refusal_less_of_the_key_is_claimed_until_it_grows_back() -> None:
    """Right after a refusal 80 tokens are used, and about five minutes later 100 again."""
    bucket = LeasedBucket(uniform=no_jitter)
    bucket.limited(0.0, 1.0)
    probe = bucket.acquire(1.0)
    assert probe is not None
    bucket.release(probe, 1.0)
    bucket.accepted(1.0)

    at_once = 0
    while bucket.acquire(1.0) is not None:
        at_once += 1
    assert at_once == 79  # 80 tokens, of which the probe still holds one

    grown = LeasedBucket(uniform=no_jitter)
    grown.limited(0.0, 1.0)
    grown.accepted(1.0)
    later = 0
    while grown.acquire(310.0) is not None:
        later += 1
    assert later == 100


def test_several_refusals_of_one_burst_count_once() -> None:
    """Four requests refused together are one event: the pause does not grow, and the share shrinks once."""
    bucket = LeasedBucket(uniform=no_jitter)
    for _ in range(4):
        bucket.limited(0.0, None)

    assert bucket.next_free(0.0) == pytest.approx(20.0)
