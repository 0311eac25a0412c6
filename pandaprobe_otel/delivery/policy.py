"""Choice of the next request: a state machine without threads, I/O or clock."""

from __future__ import annotations

import math
from typing import Final

from pandaprobe_otel.delivery.job import Attempt
from pandaprobe_otel.delivery.outcome_effects import OutcomeEffects
from pandaprobe_otel.process.guard import counted

_AFTER_FAULT_S: Final = 1.0


class DeliveryPolicy(OutcomeEffects):
    """Choice of the next request; the base class applies its outcome.

    Not thread-safe: `SenderPool` calls it, its outbox and its blockage under one lock.
    """

    expected_at: float = math.inf
    """Time of the next heartbeat to those that share the budget. It is due even while all senders are busy."""

    last_try_at: float = math.inf
    """Time at which a process that ends tries an unreachable server once more, even if the next try was to be later."""

    @property
    def kept_share(self) -> float:
        """Probability of admission for a trace without priority; 1 without overload."""
        return 1.0 - self._admission.sampler.others.cut

    def is_choosing(self, now: float) -> bool:
        """Return whether traces are left out because of the limit, and not because sending is impossible."""
        return self.kept_share < 1.0 and not self._admission.is_blocked(now)

    def leave(self) -> None:
        """Tell the store that this process sends nothing more."""
        self.outbox.leave()

    def next(self, now: float) -> Attempt | float:
        """Return the next request, or the time at which to ask again. Never raises.

        Infinity: ask again after the next change.
        """
        outbox, blockage = self.outbox, self.blockage
        try:
            if outbox.has_store and now >= outbox.inspect_at:
                self._admission.tended(outbox.inspect(now), now)
            if now >= self.last_try_at:
                self.last_try_at = math.inf
                if blockage.unreachable:
                    blockage.hasten(now)
                    outbox.schedule.hasten(now)
            if self._bucket.is_shared:
                self._heartbeat(now)
            blocked_until = blockage.opens_at() if blockage.may_block else now
            step: Attempt | float = blocked_until
            if blocked_until <= now:
                schedule = outbox.schedule
                job = schedule.next_other(now) if schedule.due_others else None
                if job is not None and self._admission.opened(job, now):
                    step = self._start(Attempt(job=job, is_check=job.in_doubt), now)
                else:
                    step = self._next_create(now) or self._wake_at(now)
            if self._bucket.is_shared:
                self._heartbeat(now)
            if isinstance(step, Attempt):
                return step
            last_try_at = self.last_try_at if blockage.unreachable else math.inf
            return min(step, self.expected_at, outbox.inspect_at, last_try_at)
        except Exception as error:  # noqa: BLE001 - the guard of the senders: a fault of ours costs time, no thread
            counted("delivery", error)
            self._notices.report("stumbled", error=type(error).__name__)
            return now + _AFTER_FAULT_S

    def _heartbeat(self, now: float) -> None:
        self.expected_at = math.inf if self.closing else self._bucket.tokens.heartbeat(now)

    def _next_create(self, now: float) -> Attempt | None:
        job = self.outbox.schedule.next_create(now)
        if job is None:
            return None
        admission = self._admission
        if job.in_doubt:
            return self._start(Attempt(job=job, is_check=True), now) if admission.opened(job, now) else None
        if self.blockage.may_block and self.blockage.creates_from(now) > now:
            return None
        lease = self._bucket.acquire(now, leave=admission.left_to_errors(job, now))
        if lease is None:
            return None
        if not admission.opened(job, now):
            self._bucket.release(lease, now)
            return None
        admission.sampler.sent()
        self._ledger.leased(now - job.since)
        if self._ledger.has_drops or admission.attached.unsent:
            reported = admission.attached.attach(job.request, self._ledger.read().dropped)
            if reported is not job.request:
                self.outbox.amend(job, reported)
        return self._start(Attempt(job=job, lease=lease), now)

    def _start(self, attempt: Attempt, now: float) -> Attempt:
        if self.blockage.may_block:
            self.blockage.enter(now, is_create=attempt.lease is not None)
        attempt.job.attempts += 1
        self.outbox.start(attempt.job, now)
        return attempt

    def _wake_at(self, now: float) -> float:
        create_at, other_at = self.outbox.schedule.next_due()
        job = self.outbox.schedule.next_create(now)
        if job is not None:
            create_at = self._bucket.next_free(now, leave=self._admission.left_to_errors(job, now))
            if self.blockage.may_block:
                create_at = max(create_at, self.blockage.creates_from(now))
        return min(create_at, other_at)
