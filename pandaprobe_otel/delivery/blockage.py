"""Causes that stop all requests or all new traces: an outage, refused settings, a used-up quota or daily budget."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from typing import Final

from pandaprobe_otel.delivery.gates import AUTH, OUTAGE, QUOTA, Gate
from pandaprobe_otel.delivery.log_causes import Causes
from pandaprobe_otel.transport.verdict import Verdict, VerdictKind

OUTAGE_AFTER_FAILURES: Final = 3
_DAY_S: Final = 86_400.0


class DailyBudget:
    """Bound of `limit` traces in any 24 hours, because each trace is billed; a `limit` of None means no bound."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._spent: deque[float] = deque()

    def free_at(self, now: float) -> float:
        """Return the time from which the next trace may be sent."""
        while self._spent and self._spent[0] + _DAY_S <= now:
            self._spent.popleft()
        if self._limit is None or len(self._spent) < self._limit:
            return 0.0
        return self._spent[0] + _DAY_S if self._spent else math.inf

    def spend(self, now: float) -> None:
        """Count a trace as sent."""
        if self._limit is not None:
            self._spent.append(now)

    def take_back(self) -> None:
        """Uncount the newest trace, because it was not sent after all."""
        if self._spent:
            self._spent.pop()


class Blockage:
    """Gates and the daily budget. Not thread-safe: the policy calls it under its lock."""

    def __init__(
        self,
        causes: Causes,
        *,
        max_traces_per_day: int | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._causes = causes
        self._outage = Gate(OUTAGE, uniform)
        self._auth = Gate(AUTH, uniform)
        self._quota = Gate(QUOTA, uniform)
        self.daily = DailyBudget(max_traces_per_day)
        self.is_in_trouble = False
        """True if an answer since the last accepted create was not a success. Only then can a gate be closed."""
        self.failures = 0
        """Failed requests in a row."""
        self.unreachable = False
        """True if the newest request got no answer from any server."""

    @property
    def is_outage(self) -> bool:
        """True while the server is assumed to be down."""
        return self._outage.closed

    def opens_at(self) -> float:
        """Return the time at which the gates allow a request."""
        return max(self._outage.opens_at(), self._auth.opens_at()) if self.is_in_trouble else 0.0

    def creates_from(self, now: float) -> float:
        """Return the time at which the plan and the daily budget allow a trace to be posted."""
        free_at = self.daily.free_at(now)
        return max(free_at, self._quota.opens_at()) if self.is_in_trouble else free_at

    def enter(self, now: float, *, is_create: bool) -> None:
        """Note that a request is about to be sent. It becomes the probe of each closed gate."""
        if self.is_in_trouble:
            self._outage.enter(now)
            self._auth.enter(now)
            if is_create:
                self._quota.enter(now)

    def leave(self, *, is_create: bool) -> None:
        """End a request whose outcome proves nothing."""
        if is_create:
            self._quota.leave()
        self._outage.leave()
        self._auth.leave()

    def answered(self, verdict: Verdict, now: float, *, is_create: bool, is_check: bool, is_audit: bool) -> None:
        """Close the outage's gate after failures, and open the gates whose cause the answer disproves."""
        kind = verdict.kind
        self.is_in_trouble = self.is_in_trouble or kind is not VerdictKind.DELIVERED
        if not self.is_in_trouble:
            return
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
            self._causes.over("outage")
        elif not is_audit:
            self._outage.leave()  # a server that shows a trace may still be unable to accept one
        if kind in (VerdictKind.DELIVERED, VerdictKind.RATE_LIMITED, VerdictKind.QUOTA, VerdictKind.INVALID):
            self._auth.open()
            self._causes.over("auth")
        else:
            self._auth.leave()

    def used_up(self, verdict: Verdict, now: float) -> None:
        """Post no trace for a while, because the plan's quota is used up."""
        self._quota.close(now)
        self._causes.quota(verdict)

    def refused(self, verdict: Verdict, now: float) -> None:
        """Send nothing for a while, because the key, the project or the endpoint is refused."""
        self._auth.close(now)
        self._causes.auth(verdict)

    def accepted(self) -> None:
        """Note an accepted trace: neither plan nor limit is used up."""
        self._quota.open()
        self._causes.over("quota")
        self._causes.over("rate")
        self.is_in_trouble = self._outage.closed or self._auth.closed
