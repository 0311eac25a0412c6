"""Causes that stop all requests or all new traces: an outage, refused settings, a used-up quota or daily budget.

Each cause but the last closes a gate, which then lets single probes through.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.transport.outcome import Verdict, VerdictKind, lacks_key

OUTAGE_AFTER_FAILURES: Final = 3
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Pace of a closed gate's probes: shortest and longest wait, in seconds."""

    first_s: float
    longest_s: float
    share: float | None = None
    """Length of a wait as a share of the time since the cause was first seen.

    The wait is drawn from the upper half of that length, so that clients do not all return at one moment. None: each
    wait is twice the previous one.
    """


OUTAGE = Pace(first_s=2.0, longest_s=60.0, share=0.25)
"""The server is down or failing.

After an outage of half a minute, waiting traces are sent within seven seconds after its end. An outage of ten minutes
costs fewer than 40 connections.
"""
AUTH = Pace(first_s=60.0, longest_s=3600.0)
"""The key, project or URL is refused, and stays refused until somebody corrects the settings."""
QUOTA = Pace(first_s=900.0, longest_s=21600.0)
"""The plan's quota is used up until the next period or an upgrade."""


class Gate:
    """Gate that is open, or closed until a time. After that time, one probe at a time may pass."""

    def __init__(self, pace: Pace, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._pace = pace
        self._uniform = uniform
        self._wait_s = 0.0
        self._since: float | None = None
        self._until: float | None = None
        self._probing = False

    @property
    def closed(self) -> bool:
        """True if the gate is closed."""
        return self._until is not None

    def opens_at(self) -> float:
        """Return the time at which a request may pass: 0 if open, infinity while a probe is under way."""
        if self._until is None:
            return 0.0
        return float("inf") if self._probing else self._until

    def enter(self) -> None:
        """Let a request pass, which becomes the probe if the gate is closed."""
        self._probing = self._until is not None

    def close(self, now: float, *, at_least_s: float = 0.0) -> None:
        """Close the gate after a failure, longer after each failure in a row."""
        if self._until is not None and not self._probing and self._until > now:
            return  # answers to requests that were sent before it closed prove nothing new
        self._probing = False
        self._since = now if self._since is None else self._since
        self._until = now + max(self._next_wait(now - self._since), at_least_s)

    def _next_wait(self, age_s: float) -> float:
        pace = self._pace
        grown_s = self._wait_s * 2 if pace.share is None else age_s * pace.share
        self._wait_s = min(max(grown_s, pace.first_s), pace.longest_s)
        return self._wait_s if pace.share is None else self._uniform(self._wait_s / 2, self._wait_s)

    def open(self) -> None:
        """Open the gate, because the cause is gone."""
        self._since, self._until, self._wait_s, self._probing = None, None, 0.0, False

    def hasten(self, now: float) -> None:
        """Let the next probe through now."""
        if self._until is not None:
            self._until = min(self._until, now)

    def leave(self) -> None:
        """End a probe whose answer neither proves nor disproves this gate's cause."""
        self._probing = False


class Blockage:
    """Gates and the daily budget. Not thread-safe: the policy calls it under its lock."""

    def __init__(
        self,
        notices: Notices,
        *,
        max_traces_per_day: int | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._notices = notices
        self._outage = Gate(OUTAGE, uniform)
        self._auth = Gate(AUTH, uniform)
        self._quota = Gate(QUOTA, uniform)
        self._most_a_day = math.inf if max_traces_per_day is None else max_traces_per_day
        self._posted: deque[float] = deque()
        """Times of the traces of the last 24 hours, each of which is billed, if there is a daily budget."""
        self.may_block = max_traces_per_day is not None
        """True if there is a daily budget, or if an answer since the last accepted create was not a success. While it
        is False, no gate is closed, and only a failure needs to be reported here.
        """
        self.failures = 0
        """Failed requests in a row."""
        self.unreachable = False
        """True if the newest request got no answer from any server."""

    @property
    def is_outage(self) -> bool:
        """True while the server is assumed to be down."""
        return self._outage.closed

    @property
    def is_refused(self) -> bool:
        """True while the key, the project or the URL counts as refused."""
        return self._auth.closed

    def opens_at(self) -> float:
        """Return the time at which the gates allow a request."""
        return max(self._outage.opens_at(), self._auth.opens_at())

    def creates_from(self, now: float) -> float:
        """Return the time at which the plan and the daily budget allow a trace to be posted."""
        while self._posted and self._posted[0] + _DAY_S <= now:
            self._posted.popleft()
        free_at = self._posted[0] + _DAY_S if len(self._posted) >= self._most_a_day else 0.0
        return max(free_at, self._quota.opens_at())

    def hasten(self, now: float) -> None:
        """Let a request through that finds out whether the server is back."""
        self._outage.hasten(now)

    def enter(self, now: float, *, is_create: bool) -> None:
        """Note that a request is about to be sent. It becomes the probe of each closed gate."""
        self._outage.enter()
        self._auth.enter()
        if is_create:
            self._quota.enter()
            if self._most_a_day < math.inf:
                self._posted.append(now)

    def leave(self, *, is_create: bool, was_sent: bool = True) -> None:
        """End a request whose outcome proves nothing."""
        if is_create:
            self._quota.leave()
            if self._posted and not was_sent:
                self._posted.pop()
        self._outage.leave()
        self._auth.leave()

    def answered(self, verdict: Verdict, now: float, *, is_create: bool, is_check: bool) -> None:
        """Close the outage's gate after failures, and open the gates whose cause the answer disproves."""
        kind = verdict.kind
        self.may_block = True
        if is_create:
            self._quota.leave()
        self.unreachable = kind is VerdictKind.UNAVAILABLE and verdict.status is None
        is_failing = kind in (VerdictKind.UNAVAILABLE, VerdictKind.UNKNOWN)
        if is_failing or (not is_create and kind in (VerdictKind.RATE_LIMITED, VerdictKind.QUOTA)):
            self.failures += 1
            if self.failures >= OUTAGE_AFTER_FAILURES or self._outage.closed:
                asked_s = verdict.retry_after_s if is_failing else None
                self._outage.close(now, at_least_s=asked_s or 0.0)
            self._auth.leave()
            return
        if not is_check:
            self.failures = 0
            self._outage.open()
            self._notices.over("outage")
        else:
            self._outage.leave()  # a server that shows a trace may still be unable to accept one
        if kind in (VerdictKind.DELIVERED, VerdictKind.RATE_LIMITED, VerdictKind.QUOTA, VerdictKind.INVALID):
            self._auth.open()
            self._notices.over("auth")
        else:
            self._auth.leave()

    def used_up(self, verdict: Verdict, now: float) -> None:
        """Post no trace for a while, because the plan's quota is used up."""
        self._quota.close(now)
        self._notices.report("quota", words=verdict.message)

    def refused(self, verdict: Verdict, now: float) -> None:
        """Send nothing for a while, because the key, the project or the endpoint is refused."""
        self._auth.close(now)
        line = "no_key" if lacks_key(verdict) else "auth"
        self._notices.report(line, cause="auth", words=verdict.message)

    def accepted(self) -> None:
        """Note an accepted trace: neither plan nor limit is used up."""
        self._quota.open()
        self._notices.over("quota")
        self._notices.over("rate")
        self.may_block = self._outage.closed or self._auth.closed or self._most_a_day < math.inf
