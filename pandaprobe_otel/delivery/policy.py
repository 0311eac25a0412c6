"""Choice of the next request: a state machine without threads, I/O or clock."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Final

from pandaprobe_otel.delivery.audit import Audit
from pandaprobe_otel.delivery.blockage import Blockage
from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.job import Attempt
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.log_causes import Causes
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.delivery.outbox_entry import OutboxEntry
from pandaprobe_otel.delivery.outcome_effects import Dropped, OutcomeEffects
from pandaprobe_otel.process.guard import counted
from pandaprobe_otel.transport.request_outcome import Outcome

_AFTER_FAULT_S: Final = 1.0


class DeliveryPolicy:
    """Choice of the next request, and effects of its outcome.

    Not thread-safe: `SenderPool` calls it, its outbox and its blockage under one lock.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        bucket: LeasedBucket,
        ledger: Ledger,
        notices: Notices,
        project: str,
        verify: float = 0.0,
        max_traces_per_day: int | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.outbox = outbox
        self._bucket = bucket
        self._ledger = ledger
        self._causes = Causes(notices)
        self.blockage = Blockage(self._causes, max_traces_per_day=max_traces_per_day, uniform=uniform)
        self._audit = Audit(verify) if verify else None
        self._entry = OutboxEntry(
            outbox=outbox, bucket=bucket, ledger=ledger, causes=self._causes, project=project, blocked=self._is_blocked
        )
        self._effects = OutcomeEffects(
            outbox=outbox,
            bucket=bucket,
            ledger=ledger,
            causes=self._causes,
            blockage=self.blockage,
            entry=self._entry,
            audit=self._audit,
            project=project,
            uniform=uniform,
        )
        self.closing = False
        """True while the process ends; see `close`."""
        self.expected_at = math.inf
        """Time of the next heartbeat to those that share the budget. It is due even while all senders are busy."""
        self.offer = self._entry.offer
        self.put = self._entry.put
        self.give_up = self._effects.give_up
        self.drop_all: Callable[[str], Dropped] = self._effects.drop_all

    @property
    def kept_share(self) -> float:
        """Probability of admission for a trace without priority; 1 without overload."""
        return 1.0 - self._entry.admission.sampler.cut

    def is_choosing(self, now: float) -> bool:
        """Return whether traces are left out because of the limit, and not because sending is impossible."""
        return self.kept_share < 1.0 and not self._is_blocked(now)

    @property
    def last_error(self) -> str | None:
        """Newest failure, if it still matters."""
        return self._effects.last_error

    def close(self) -> None:
        """Decide at once from now on, instead of waiting for another process, because this process ends."""
        self.closing = self._effects.closing = True

    def leave(self) -> None:
        """Tell the processes that share the budget, and the store, that this process sends nothing more."""
        self._bucket.leave()
        self.outbox.leave()

    def next(self, now: float) -> Attempt | float:
        """Return the next request, or the time at which to ask again. Never raises.

        Infinity: ask again after the next change.
        """
        try:
            return self._step(now)
        except Exception as error:  # noqa: BLE001 - the guard of the senders: a fault of ours costs time, no thread
            counted("delivery", error)
            self._causes.stumbled(error)
            return now + _AFTER_FAULT_S

    def done(self, attempt: Attempt, outcome: Outcome, now: float) -> None:
        """Apply an outcome. Never raises: an error in this library costs only the job."""
        try:
            self._effects.apply(attempt, outcome, now)
        except Exception as error:  # noqa: BLE001 - counted, and told by `give_up`
            counted("delivery", error)
            self.give_up(attempt, error, now)

    # -- choosing ---------------------------------------------------------------------------------------------------

    def _step(self, now: float) -> Attempt | float:
        if now >= self.outbox.inspect_at:
            self._entry.tended(self.outbox.inspect(now), now)
        if self._bucket.is_shared:
            self._heartbeat(now)
        blocked_until = self.blockage.opens_at()
        step: Attempt | float = blocked_until
        if blocked_until <= now:
            step = self._next_other(now) or self._next_create(now) or self._next_audit(now) or self._wake_at(now)
        if self._bucket.is_shared:
            self._heartbeat(now)
        return step if isinstance(step, Attempt) else min(step, self.expected_at, self.outbox.inspect_at)

    def _heartbeat(self, now: float) -> None:
        self.expected_at = math.inf if self.closing else self._bucket.heartbeat(now)

    def _is_blocked(self, now: float) -> bool:
        """Return whether no trace can be sent now for a cause other than the budget."""
        return self._bucket.paused or max(self.blockage.opens_at(), self.blockage.creates_from(now)) > now

    def _next_other(self, now: float) -> Attempt | None:
        job = self.outbox.next_other(now)
        if job is None or not self._entry.opened(job, now):
            return None
        return self._start(Attempt(job=job, is_check=job.in_doubt), now)

    def _next_create(self, now: float) -> Attempt | None:
        job = self.outbox.next_create(now)
        if job is None:
            return None
        entry = self._entry
        if job.in_doubt:
            return self._start(Attempt(job=job, is_check=True), now) if entry.opened(job, now) else None
        if self.blockage.creates_from(now) > now:
            return None
        lease = self._bucket.acquire(now, leave=entry.left_to_errors(job, now))
        if lease is None:
            return None
        if not entry.opened(job, now):
            self._bucket.release(lease, now)
            return None
        self.blockage.daily.spend(now)
        entry.admission.sampler.sent()
        self._ledger.leased(now - job.since)
        dropped = self._ledger.dropped_so_far()
        if dropped or entry.attached.has_something:
            reported = entry.attached.attach(job.request, dropped)
            if reported is not job.request:
                self.outbox.amend(job, reported)
        return self._start(Attempt(job=job, lease=lease), now)

    def _next_audit(self, now: float) -> Attempt | None:
        job = None if self.closing or self._audit is None else self._audit.next(now)
        return None if job is None else Attempt(job=job, is_check=True, is_audit=True)

    def _start(self, attempt: Attempt, now: float) -> Attempt:
        self.blockage.enter(now, is_create=attempt.lease is not None)
        attempt.job.attempts += 1
        self.outbox.start(attempt.job, now)
        return attempt

    def _wake_at(self, now: float) -> float:
        create_at, other_at = self.outbox.schedule.next_due(now)
        job = self.outbox.next_create(now)
        if job is not None:
            free_at = self._bucket.next_free(now, leave=self._entry.left_to_errors(job, now))
            create_at = max(free_at, self.blockage.creates_from(now))
        audit_at = None if self._audit is None else self._audit.next_due()
        times = [at for at in (create_at, other_at, audit_at) if at is not None]
        return min(times, default=math.inf)
