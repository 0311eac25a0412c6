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

    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        self._uniform = uniform
        self.open()

    def open(self) -> None:
        """Open the gate, because the cause is gone."""
        self.pace: Pace | None = None
        """Pace of the cause for which the gate is closed; None if it is open."""
        self._wait_s = self._since = self._until = 0.0
        self._probing = False

    def opens_at(self) -> float:
        """Return the time at which a request may pass: 0 if open, infinity while a probe is under way."""
        return math.inf if self._probing else self._until

    def enter(self) -> None:
        """Let a request pass, which becomes the probe if the gate is closed."""
        self._probing = self.pace is not None

    def close(self, pace: Pace, now: float, *, at_least_s: float = 0.0) -> None:
        """Close the gate after a failure, longer after each failure in a row with the same cause."""
        if self._until > now and not self._probing:
            return  # answers to requests that were sent before it closed prove nothing new
        if self.pace is not pace:
            self.pace, self._since, self._wait_s = pace, now, 0.0
        self._probing = False
        grown_s = self._wait_s * 2 if pace.share is None else (now - self._since) * pace.share
        self._wait_s = min(max(grown_s, pace.first_s), pace.longest_s)
        wait_s = self._wait_s if pace.share is None else self._uniform(self._wait_s / 2, self._wait_s)
        self._until = now + max(wait_s, at_least_s)

    def hasten(self, now: float) -> None:
        """Let the next probe through now."""
        self._until = min(self._until, now)

    def leave(self) -> None:
        """End a probe whose answer neither proves nor disproves the cause."""
        self._probing = False


class Blockage:
    """Gates and the daily budget, which hold requests back. Not thread-safe: the policy calls it under its lock.

    One gate is for all requests: it is closed by an outage, or by a refusal of the key, the project or the URL. The
    other one is for new traces, while the plan's quota is used up.
    """

    def __init__(
        self,
        notices: Notices,
        *,
        max_traces_per_day: int | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._notices = notices
        self._all = Gate(uniform)
        self._creates = Gate(uniform)
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
        return self._all.pace is OUTAGE

    @property
    def is_refused(self) -> bool:
        """True while the key, the project or the URL counts as refused."""
        return self._all.pace is AUTH

    def opens_at(self) -> float:
        """Return the time at which the gate allows a request."""
        return self._all.opens_at()

    def creates_from(self, now: float) -> float:
        """Return the time at which the plan and the daily budget allow a trace to be posted."""
        while self._posted and self._posted[0] + _DAY_S <= now:
            self._posted.popleft()
        free_at = self._posted[0] + _DAY_S if len(self._posted) >= self._most_a_day else 0.0
        return max(free_at, self._creates.opens_at())

    def hasten(self, now: float) -> None:
        """Let a request through that finds out whether the server is back."""
        if self.is_outage:
            self._all.hasten(now)

    def enter(self, now: float, *, is_create: bool) -> None:
        """Note that a request is about to be sent. It becomes the probe of each closed gate."""
        self._all.enter()
        if is_create:
            self._creates.enter()
            if self._most_a_day < math.inf:
                self._posted.append(now)

    def leave(self, *, is_create: bool, was_sent: bool = True) -> None:
        """End a request whose outcome proves nothing."""
        if is_create:
            self._creates.leave()
            if self._posted and not was_sent:
                self._posted.pop()
        self._all.leave()

    def answered(self, verdict: Verdict, now: float, *, is_create: bool, is_check: bool) -> None:
        """Close the gate after failures, and open it if the answer disproves its cause."""
        kind = verdict.kind
        self.may_block = True
        if is_create:
            self._creates.leave()
        self.unreachable = kind is VerdictKind.UNAVAILABLE and verdict.status is None
        is_failing = kind in (VerdictKind.UNAVAILABLE, VerdictKind.UNKNOWN)
        if is_failing or (not is_create and kind in (VerdictKind.RATE_LIMITED, VerdictKind.QUOTA)):
            self.failures += 1
            if self.failures >= OUTAGE_AFTER_FAILURES or self.is_outage:
                self._all.close(OUTAGE, now, at_least_s=(verdict.retry_after_s if is_failing else None) or 0.0)
            self._all.leave()
            return
        accepts = kind in (VerdictKind.DELIVERED, VerdictKind.RATE_LIMITED, VerdictKind.QUOTA, VerdictKind.INVALID)
        # A server that shows a trace may still be unable to accept one.
        if accepts if self.is_refused else not is_check:
            self._all.open()
        self._all.leave()
        if not is_check:
            self.failures = 0
            self._notices.over("outage")
        if accepts:
            self._notices.over("auth")

    def used_up(self, verdict: Verdict, now: float) -> None:
        """Post no trace for a while, because the plan's quota is used up."""
        self._creates.close(QUOTA, now)
        self._notices.report("quota", words=verdict.message)

    def refused(self, verdict: Verdict, now: float) -> None:
        """Send nothing for a while, because the key, the project or the endpoint is refused."""
        self._all.close(AUTH, now)
        line = "no_key" if lacks_key(verdict) else "auth"
        self._notices.report(line, cause="auth", words=verdict.message)

    def accepted(self) -> None:
        """Note an accepted trace: neither plan nor limit is used up."""
        self._creates.open()
        self._notices.over("quota")
        self._notices.over("rate")
        self.may_block = self._all.pace is not None or self._most_a_day < math.inf
