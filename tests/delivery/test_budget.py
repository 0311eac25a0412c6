"""The leased-token bucket against models of the server's window, in simulated time."""

from __future__ import annotations

import heapq
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.budget import Lease, LeasedBucket
from simulated_world import most_in_a_window


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


@settings(max_examples=60, deadline=None)
@given(
    up=st.lists(st.floats(0.0, 5.0), min_size=1, max_size=40),
    down=st.lists(st.floats(0.0, 5.0), min_size=1, max_size=40),
)
def test_no_window_ever_sees_more_than_the_limit(up: list[float], down: list[float]) -> None:
    """No 60 s hold more than 100 requests, with any delays and order of arrival."""
    assert most_in_a_window(sorted(simulate(up, down, 400.0))) <= 100


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
