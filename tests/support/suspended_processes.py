"""Processes that share a limit and are suspended at any moment, even between taking a token and sending a request."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence

from pandaprobe_otel.delivery.budget import REQUEST_TIMEOUT_S, UNANSWERED_EXTRA_S, Lease, LeasedBucket


def suspended_at_random(
    clock: Callable[[], float],
    buckets: Sequence[LeasedBucket],
    rng: random.Random,
    stopped_s: float,
    advance: Callable[[float], None],
    *,
    seconds: float = 300.0,
) -> list[float]:
    """Let saturated processes run; return the times at which the server counted their requests.

    From time to time, one process is suspended with up to twenty tokens in hand. The server may count a request until
    its lease or its timeout ends, and a little later.
    """
    resumes: list[tuple[float, int, int, Lease]] = []
    answers: list[tuple[float, int, int, Lease]] = []
    stopped_until = [0.0] * len(buckets)
    hits: list[float] = []
    numbers = itertools.count()
    ends, next_stop = clock() + seconds, clock() + rng.uniform(0.0, 60.0)
    while (now := clock()) < ends:
        while answers and answers[0][0] <= now:
            _, _, owner, lease = heapq.heappop(answers)
            buckets[owner].release(lease, now)
        owner = rng.choice([index for index, until in enumerate(stopped_until) if until <= now])
        taken = buckets[owner].acquire(now)
        if taken is not None:
            heapq.heappush(resumes, (now, next(numbers), owner, taken))
        if taken is not None and now >= next_stop and max(stopped_until) <= now:
            next_stop = now + rng.uniform(60.0, 120.0)
            stopped_until[owner] = now + stopped_s
            for _ in range(20):
                if (more := buckets[owner].acquire(now)) is not None:
                    heapq.heappush(resumes, (now + stopped_s, next(numbers), owner, more))
        while resumes and resumes[0][0] <= now:
            _, _, owner, lease = heapq.heappop(resumes)
            left_s = lease.time_left_s()
            if left_s <= 0:
                buckets[owner].release(lease, now, was_used=False)
                continue
            is_slow = rng.random() < 0.02
            hits.append(
                now + (rng.uniform(0.0, min(left_s, REQUEST_TIMEOUT_S) + UNANSWERED_EXTRA_S) if is_slow else 0.1)
            )
            heapq.heappush(answers, (hits[-1] + 0.1, next(numbers), owner, lease))
        advance(0.05 if taken is None else 0.001)
    return hits
