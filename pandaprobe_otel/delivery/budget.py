"""The budget of POST /traces, as leased tokens.

There are 100 tokens. A token is lent when a request is sent, and returns 60 s (plus a margin) after the *answer* to
that request has arrived. Then no interval of 60 s on the server, however aligned, contains more than 100 requests.
Proof: request i is sent at s_i, counted at h_i and answered at r_i, with s_i <= h_i <= r_i. Suppose that 101 hits lie
within less than W = 60 s. Let * be the request that was sent last. For each other request i, h_i > h* - W, so its
token returns at r_i + W >= h_i + W > h* >= s*. All 100 tokens are therefore lent at s*, yet one was taken.
Contradiction. Returning a token earlier is unsafe, because the delays are unknown, so no safe schedule is faster.

If a shared token is not handed back, it is lent again once its request can no longer be counted. A request therefore
starts only within `Lease.time_left_s` and lasts no longer. A process that was suspended hands its token back and asks
for a new one.

If a 429 arrives nevertheless, another client uses the key, and an episode begins (see `_Episode`).
"""

from __future__ import annotations

import heapq
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

CAPACITY: Final = 100
"""Limit of POST /traces per minute and key (measured: a fixed window of 60 s, opened by the first request)."""
WINDOW_S: Final = 60.0
MARGIN_S: Final = 0.1
"""Margin for clocks that differ by 500 ppm on both sides over one window, and more."""
UNANSWERED_EXTRA_S: Final = 5.0
"""The server may count a request without an answer this much later than the time at which we gave up on it."""
REQUEST_TIMEOUT_S: Final = 30.0

_PROBE_S: Final = 20.0
_FIRST_BACKOFF_S: Final = 60.0
_LONGEST_BACKOFF_S: Final = 240.0
_LONGEST_FLOOR_S: Final = 5.0
_SHRINK: Final = 0.8
_REGROW_S: Final = 300.0
_LOOK_EVERY_S: Final = 5.0

_BOOTTIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


def boot_clock() -> float:
    """Return the seconds since this machine started, including sleep; equal in all its processes.

    A system without such a clock uses the monotonic one, which differs only by the sleep.
    """
    return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)


@dataclass(slots=True, eq=False)
class Lease:
    """A lent token. Return it with `LeasedBucket.release`."""

    token: int
    asked_at: float
    """Reading of the bucket's `clock`. If the tokens are shared, that clock includes the machine's sleep."""
    clock: Callable[[], float]
    probe: bool = False
    is_back: bool = False

    def time_left_s(self) -> float:
        """Return the seconds that a request may take. Later, the token may already be lent to another process."""
        return self.asked_at + REQUEST_TIMEOUT_S - self.clock()


class Tokens:
    """Tokens of this process alone, and the base of those that processes share, each of which counts its own too.

    `now` and the waits are in seconds of the owner's monotonic clock. No method blocks or raises.
    """

    def __init__(self) -> None:
        self._out = 0
        self._returning: list[float] = []

    def take(self, most: int, now: float) -> int | None:
        """Lend a token and return its number; None if `most` or more are lent or have not returned yet."""
        if self._out + len(self._returning) >= most and self._taken(now) >= most:
            return None
        self._out += 1
        return 0

    def put_back(self, token: int, wait_s: float, now: float) -> None:
        """Return a token, which may be lent again in `wait_s` seconds."""
        self._out -= 1
        heapq.heappush(self._returning, now + wait_s)

    def next_free(self, most: int, now: float) -> float:
        """Return the time at which `take` may succeed; `math.inf` if that depends on requests under way."""
        if self._taken(now) < most:
            return now
        return self._returning[0] if self._returning else math.inf

    def _taken(self, now: float) -> int:
        while self._returning and self._returning[0] <= now:
            heapq.heappop(self._returning)
        return self._out + len(self._returning)


class LeasedBucket:
    """Tokens for one key at one endpoint. Not thread-safe: its owner calls it under one lock.

    Times are readings of one monotonic clock, in seconds. Each refusal by the server reduces the number of tokens to
    80 %. Within five minutes, the number grows back along a cubic curve, so that another client of the same key gets
    its part.
    """

    def __init__(
        self,
        *,
        capacity: int = CAPACITY,
        window_s: float = WINDOW_S,
        margin_s: float = MARGIN_S,
        uniform: Callable[[float, float], float] = random.uniform,
        tokens: Tokens | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity = capacity
        self._clock = clock
        self._hold_s = window_s + margin_s
        self._uniform = uniform
        self.tokens = Tokens() if tokens is None else tokens
        self.is_shared = tokens is not None
        """True if other processes take from the same tokens."""
        self._failed_at, self._failed_since = capacity, -math.inf
        """Number of tokens that were claimed at the newest refusal, and its time."""
        self.episode: _Episode | None = None
        """Time in which refused requests (429) hold back all others, or None."""
        self._is_crowded = False
        self._looks_at = -math.inf

    def acquire(self, now: float, *, leave: int = 0) -> Lease | None:
        """Take a token; return None if no token is free yet, or if only the last `leave` tokens are free."""
        episode, asked_at = self.episode, self._clock()
        if episode is None:
            token = self.tokens.take(self._most(now, leave), now)
            return None if token is None else Lease(token, asked_at, self._clock)
        if episode.probing or now < episode.until:
            return None
        token = self.tokens.take(self._capacity, now)
        if token is None:
            return None
        episode.probing = True
        return Lease(token, asked_at, self._clock, probe=True)

    def next_free(self, now: float, *, leave: int = 0) -> float:
        """Return the time at which `acquire` may succeed; `math.inf` if that depends on a request under way."""
        if self.episode is None:
            return self.tokens.next_free(self._most(now, leave), now)
        if self.episode.probing:
            return math.inf
        return max(self.episode.until, self.tokens.next_free(self._capacity, now))

    def release(self, lease: Lease, now: float, *, answered: bool = True, was_used: bool = True) -> None:
        """Return the token of a request that was answered now, that will never be answered, or that was not sent."""
        if lease.is_back:
            return
        lease.is_back = True
        if lease.probe and self.episode is not None:
            self.episode.probing = False
        hold_s = self._hold_s if answered else self._hold_s + UNANSWERED_EXTRA_S
        self.tokens.put_back(lease.token, hold_s if was_used else 0.0, now)

    def limited(self, now: float, retry_after_s: float | None) -> None:
        """Pause after a 429, and claim fewer tokens for a while."""
        if self.episode is None:
            self._failed_at, self._failed_since = self._most(now), now
            self.episode = _Episode(until=now, window_ends=now + self._hold_s)
        self.episode.extend(now, retry_after_s, self._uniform)

    def accepted(self, now: float) -> None:
        """End the episode, if there is one: the server accepted a request."""
        self.episode = None

    def _most(self, now: float, leave: int = 0) -> int:
        """Return the number of tokens to claim, without the last `leave`: all, or fewer after a refusal.

        It grows back along a cubic curve (CUBIC, RFC 9438).
        """
        if self._failed_since == -math.inf:
            return max(self._capacity - leave, 1)
        scale = self._failed_at * (1 - _SHRINK) / _REGROW_S**3
        grown = scale * (now - self._failed_since - _REGROW_S) ** 3 + self._failed_at
        return max(int(min(grown, self._capacity)) - leave, 1)

    def is_crowded(self, now: float, *, leave: int) -> bool:
        """Return whether traces may wait in some process that shares the tokens; look every five seconds.

        They may if only the last `leave` tokens are free, because every other one is taken at once. False if the tokens
        are not shared.
        """
        if self.is_shared and now >= self._looks_at:
            self._looks_at = now + _LOOK_EVERY_S
            lease = self.acquire(now, leave=leave)
            self._is_crowded = lease is None
            if lease is not None:
                self.release(lease, now, was_used=False)
        return self._is_crowded


@dataclass(slots=True)
class _Episode:
    """Time in which another client has used up the window: all requests wait, and one probe at a time is sent.

    If the server sends Retry-After, that decides the wait; after repeated refusals, the wait is at least five seconds.
    Otherwise a probe is sent every 20 to 25 s until the window of the first refusal is over, and one at its end,
    because refusals do not prolong the window (measured). If the next window is full too, the waits grow. They have
    jitter, so that clients that share the key do not probe in step.
    """

    until: float
    window_ends: float
    refusals: int = 0
    backoff_s: float = _FIRST_BACKOFF_S
    probing: bool = False

    def extend(self, now: float, retry_after_s: float | None, uniform: Callable[[float, float], float]) -> None:
        is_news = now >= self.until  # several refusals of one burst are one event
        self.refusals += is_news
        if retry_after_s is not None:
            floor_s = min(2.0 ** min(self.refusals - 1, 10), _LONGEST_FLOOR_S)
            self.until = max(self.until, now + max(retry_after_s, floor_s))
        elif is_news and now < self.window_ends:
            probe_at = now + _PROBE_S * uniform(1.0, 1.25)
            self.until = probe_at if probe_at < self.window_ends - _PROBE_S / 2 else self.window_ends
        elif is_news:
            self.until = now + self.backoff_s * uniform(1.0, 1.25)
            self.backoff_s = min(self.backoff_s * 2, _LONGEST_BACKOFF_S)
