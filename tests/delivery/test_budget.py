"""The leased-token bucket against models of the server's window, in simulated time."""

from __future__ import annotations

import heapq
import math

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
