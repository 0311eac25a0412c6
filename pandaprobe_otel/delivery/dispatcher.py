"""The choice of the next request and the consequences of an answer: a state machine without threads, I/O or clock."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pandaprobe_otel.delivery.admission import FIRST_LOOK_S, Admission, Fate
from pandaprobe_otel.delivery.attempt import Attempt
from pandaprobe_otel.delivery.audit import Audit
from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.causes import Causes
from pandaprobe_otel.delivery.daily import DailyBudget
from pandaprobe_otel.delivery.fitting import SMALLEST_CAP, fit
from pandaprobe_otel.delivery.gates import AUTH, OUTAGE, QUOTA, Gate
from pandaprobe_otel.delivery.in_band import InBand
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.look import lacks_spans
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.orphans import Orphans
from pandaprobe_otel.delivery.outbox import Inspection, Job, Outbox
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.repair import MAX_REPAIRS, repair
from pandaprobe_otel.delivery.reserve import Reserve
from pandaprobe_otel.process.guard import counted
from pandaprobe_otel.transport.messages import Answer, NoAnswer, Outcome
from pandaprobe_otel.transport.verdict import Verdict, VerdictKind, judge

if TYPE_CHECKING:
    from pandaprobe_otel.delivery.spool.rows import JournalChange

CHECK_AFTER_S: Final = 5.0
"""Delay of the look-up of a create whose outcome is unknown: the server has stored an accepted one by then."""
FINISH_AFTER_DOUBT_S: Final = 10.0
"""Two copies of one create may be applied in any order; the end of the trace waits until both are."""
MISSING_AFTER_S: Final = 300.0
LARGEST_BODY: Final = 4 << 20
"""Bytes of one request until a server refuses that size. The server itself has no bound, but lags behind large ones."""
OUTAGE_AFTER_FAILURES: Final = 3
POISON_AFTER_ERRORS: Final = 5
_AFTER_FAULT_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Spans and ends of traces that were given up."""

    spans: int = 0
    ends: int = 0
    """Ends of traces that PandaProbe has and will show as RUNNING for ever."""

    def __bool__(self) -> bool:
        return bool(self.spans or self.ends)


class Dispatcher:
    """The delivery policy. Not thread-safe: `Delivery` calls it under one lock.

    A job leaves the outbox in one of two ways: it was delivered, or it was dropped under a reason that the ledger
    counts and a log line explains.
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
        self._outbox = outbox
        self._bucket = bucket
        self._ledger = ledger
        self._causes = Causes(notices)
        self._project = project
        self._uniform = uniform
        self._outage = Gate(OUTAGE, uniform)
        self._auth = Gate(AUTH, uniform)
        self._quota = Gate(QUOTA, uniform)
        self._audit = Audit(verify) if verify else None
        self._daily = DailyBudget(max_traces_per_day) if max_traces_per_day is not None else None
        self._is_in_trouble = False
        """True if an answer since the last accepted create was not a success. Only then can a gate be closed."""
        self._in_band = InBand()
        self._admission = Admission(bucket, outbox, self._is_blocked)
        self._reserve = Reserve()
        self._repeated: set[str] = set()
        """Traces that are posted once more."""
        self._body_cap = LARGEST_BODY
        self._failures = 0
        self.unreachable = False
        """True if the newest request got no answer from any server."""
        self._orphans = Orphans(project)
        self.closing = False
        """True while the process ends. Decisions that would wait for another process are then made at once."""
        self.last_error: str | None = None
        """The newest failure until something is delivered. A failure that has cost spans stays until the next one."""
        self._has_cost_spans = False
        self.expected_at = math.inf
        """Time of the next heartbeat to those that share the budget. It is due even while all senders are busy."""

    @property
    def fill(self) -> float:
        """The share of the memory bound that waiting parcels take, from 0 to 1."""
        return self._outbox.fill

    @property
    def kept_share(self) -> float:
        """The probability of admission for a trace without priority; 1 without overload."""
        return self._admission.kept_share

    def is_choosing(self, now: float) -> bool:
        """Return whether traces are left out because of the limit, and not because nothing can be sent."""
        return self.kept_share < 1.0 and not self._is_blocked(now)

    @property
    def idle(self) -> bool:
        """True if nothing waits, nothing is under way, and nothing is left to find on disk."""
        return self._outbox.is_done

    @property
    def is_kept(self) -> bool:
        """True if everything that waits would outlive the process."""
        return self._outbox.is_kept

    @property
    def saved_spans(self) -> int:
        """Spans that wait on disk."""
        return self._outbox.saved_spans

    @property
    def has_ready(self) -> bool:
        """True if a trace waits only for a token and a sender."""
        return self._outbox.waiting_for_tokens > 0

    def save(self, journal: Sequence[JournalChange] = ()) -> None:
        """Write the changes to the store, if there is one. Call this before releasing the lock."""
        self._outbox.save(journal)

    def offer(self, parcel: Parcel, now: float) -> None:
        """Take over a new parcel, unless its trace is left out: see `TailSampler`."""
        admitted = self._admission.admit(parcel, now)
        if admitted is None:
            self._ledger.dropped("overload", parcel.span_count)
            self._causes.overload()
        else:
            self.put(admitted, now)

    def _is_blocked(self, now: float) -> bool:
        """Return whether no trace can be sent now for a cause other than the budget."""
        gates = max(self._outage.opens_at(), self._auth.opens_at())
        return self._bucket.paused or max(gates, self._creates_from(now)) > now

    def put(self, parcel: Parcel, now: float) -> None:
        """Take over a parcel, in pieces that fit into a request."""
        given, parcel = parcel, self._orphans.followed(parcel)
        if parcel.step is Step.CREATE:
            if parcel is not given:
                self._repeated.add(parcel.trace_id)
            if parcel.is_error:
                self._reserve.error_came(now)
        pieces = parcel.split()
        if parcel.size > self._body_cap:
            pieces = tuple(small for piece in pieces for small in fit(piece, self._body_cap))
        for piece in pieces:
            gone = self._outbox.put(piece, now)
            unposted = {job.parcel.trace_id for job, _ in gone if job.parcel.step is Step.CREATE}
            for job, reason in gone:
                is_end = job.parcel.step is Step.FINISH and job.parcel.trace_id not in unposted
                if not is_end or job.parcel.is_bare:  # an end that was on disk alone no longer exists
                    self._had_to_go(job, reason)
                    continue
                # Some of its spans are lost and counted, but the trace is over all the same.
                for other, why in self._outbox.put(job.parcel, now):
                    self._had_to_go(other, why)

    def _had_to_go(self, job: Job, reason: str) -> None:
        self._ledger.dropped(reason, job.parcel.span_count)
        if job.parcel.step is Step.CREATE:
            self._admission.evicted(job.parcel.trace_id)
            self._in_band.evicted(job.parcel)
        self._causes.had_to_go(reason)

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

    def _step(self, now: float) -> Attempt | float:
        if now >= self._outbox.inspect_at:
            self._note(self._outbox.inspect(now), now)
        self._stay(now)
        step = self._choose(now)
        self._stay(now)
        return step if isinstance(step, Attempt) else min(step, self.expected_at, self._outbox.inspect_at)

    def _note(self, inspection: Inspection, now: float) -> None:
        self._ledger.ended(sum(parcel.span_count for parcel in inspection.found) + inspection.damaged_spans)
        self._ledger.dropped("spool_damaged", inspection.damaged_spans)
        for parcel in inspection.found:
            if parcel.is_error and parcel.step is Step.CREATE:
                self._reserve.error_came(now)
        for job, reason in inspection.gone:
            self._had_to_go(job, reason)
        if inspection.body_cap is not None:
            self._body_cap = max(min(inspection.body_cap, self._body_cap), SMALLEST_CAP)

    def _stay(self, now: float) -> None:
        if self._bucket.is_shared:
            self.expected_at = math.inf if self.closing else self._bucket.stay(now)

    def leave(self) -> None:
        """Tell those that share the budget, and the store, that this process sends nothing more."""
        self._bucket.leave()
        self._outbox.leave()

    def before_fork(self) -> None:
        """Close in the parent what must not cross a fork."""
        self._outbox.before_fork()

    def abandon(self, *, is_quiet: bool) -> None:
        """Give up, in a forked child, what is on disk: it is the parent's.

        `is_quiet`: nobody wrote to it during the fork.
        """
        self._outbox.abandon(is_quiet=is_quiet)

    def _choose(self, now: float) -> Attempt | float:
        if self._is_in_trouble:
            blocked_until = max(self._outage.opens_at(), self._auth.opens_at())
            if blocked_until > now:
                return blocked_until
        return self._next_other(now) or self._next_create(now) or self._next_audit(now) or self._wake_at(now)

    def done(self, attempt: Attempt, outcome: Outcome, now: float) -> None:
        """Apply an outcome. Never raises: an error of ours costs the job and nothing else."""
        try:
            if isinstance(outcome, NoAnswer) and outcome.is_late:
                self._take_back(attempt, now)
            else:
                self._conclude(attempt, outcome, now)
        except Exception as error:  # noqa: BLE001 - counted, and told by `give_up`
            counted("delivery", error)
            self.give_up(attempt, error, now)

    def give_up(self, attempt: Attempt, error: Exception, now: float) -> None:
        """Give a job up because of an error of ours."""
        self._causes.fault(error)
        self._release(attempt, now, answered=False)
        self._outage.leave()
        self._auth.leave()
        if attempt.is_audit and self._audit is not None:
            self._audit.unknown(now)
        elif attempt.job.in_flight:
            self._drop(attempt.job, "internal_error", now)

    def _take_back(self, attempt: Attempt, now: float) -> None:
        """Return the token of a process that slept until somebody else may have it.

        Nothing was sent, so ask for a new token.
        """
        if attempt.lease is not None:
            self._bucket.take_back(attempt.lease, now)
            if self._daily is not None:
                self._daily.take_back()
            self._quota.leave()
        self._outage.leave()
        self._auth.leave()
        self._outbox.retry(attempt.job, now)

    def _release(self, attempt: Attempt, now: float, *, answered: bool) -> None:
        if attempt.lease is not None:
            self._bucket.release(attempt.lease, now, answered=answered)
            self._quota.leave()

    def _conclude(self, attempt: Attempt, outcome: Outcome, now: float) -> None:
        self._release(attempt, now, answered=isinstance(outcome, Answer))
        verdict = judge(outcome)
        self._ledger.answered(verdict.kind)
        is_delivered = verdict.kind is VerdictKind.DELIVERED
        self._is_in_trouble = self._is_in_trouble or not is_delivered
        if self._is_in_trouble:
            self._leave_gates(attempt, verdict, now)
        if not is_delivered:
            self.last_error = f"{attempt.method} {attempt.path}: {verdict.message}"
            self._has_cost_spans = False
        if attempt.is_audit and self._audit is not None:
            self._after_audit(self._audit, verdict, now)
        elif attempt.is_check:
            self._after_check(attempt.job, verdict, outcome, now)
        else:
            self._after_send(attempt.job, verdict, now)

    def drop_all(self, reason: str) -> Dropped:
        """Give up everything that is in memory only."""
        jobs = self._outbox.unsaved
        for job in jobs:
            self._drop(job, reason, math.inf)
        posted = {job.parcel.trace_id for job in jobs if job.parcel.step is Step.CREATE}
        ends = [job for job in jobs if job.parcel.step is Step.FINISH and job.parcel.trace_id not in posted]
        return Dropped(spans=sum(job.parcel.span_count for job in jobs), ends=len(ends))

    # -- choosing ---------------------------------------------------------------------------------------------------

    def _next_other(self, now: float) -> Attempt | None:
        job = self._outbox.next_other(now)
        if job is None or not self._opened(job, now):
            return None
        return self._start(Attempt(job=job, is_check=job.in_doubt), now)

    def _next_create(self, now: float) -> Attempt | None:
        job = self._outbox.next_create(now)
        if job is None:
            return None
        if job.in_doubt:
            return self._start(Attempt(job=job, is_check=True), now) if self._opened(job, now) else None
        if self._creates_from(now) > now:
            return None
        lease = self._bucket.acquire(now, leave=self._left_to_errors(job, now))
        if lease is None:
            return None
        if not self._opened(job, now):
            self._bucket.release(lease, now)
            return None
        if self._daily is not None:
            self._daily.spend(now)
        self._admission.sent()
        self._ledger.leased(now - job.since)
        dropped = self._ledger.dropped_so_far()
        if dropped or self._in_band.has_something:
            reported = self._in_band.attach(job.parcel, dropped)
            if reported is not job.parcel:
                self._outbox.amend(job, reported)
        return self._start(Attempt(job=job, lease=lease), now)

    def _opened(self, job: Job, now: float) -> bool:
        """Load the job's content into memory; return False if that must wait, or has turned the job into others."""
        if not self._outbox.open(job, now):
            return False
        if self._orphans.followed(job.parcel) is not job.parcel:
            self._outbox.finish(job, now)
            self.put(job.parcel, now)
            return False
        if job.parcel.size > self._body_cap and len(pieces := fit(job.parcel, self._body_cap)) > 1:
            self._outbox.replace(job, pieces, now)
            return False
        return True

    def _creates_from(self, now: float) -> float:
        """Return the time from which the plan and the daily budget allow a trace to be posted."""
        free_at = 0.0 if self._daily is None else self._daily.free_at(now)
        return max(free_at, self._quota.opens_at()) if self._is_in_trouble else free_at

    def _left_to_errors(self, job: Job, now: float) -> int:
        return 0 if job.parcel.is_error else self._reserve.tokens(self._outbox.waiting_for_tokens, now)

    def _next_audit(self, now: float) -> Attempt | None:
        job = None if self.closing or self._audit is None else self._audit.next(now)
        return None if job is None else Attempt(job=job, is_check=True, is_audit=True)

    def _start(self, attempt: Attempt, now: float) -> Attempt:
        if self._is_in_trouble:
            self._outage.enter(now)
            self._auth.enter(now)
            if attempt.lease is not None:
                self._quota.enter(now)
        attempt.job.attempts += 1
        self._outbox.start(attempt.job, now)
        return attempt

    def _wake_at(self, now: float) -> float:
        create_at, other_at = self._outbox.next_due(now)
        job = self._outbox.next_create(now)
        if job is not None:
            free_at = self._bucket.next_free(now, leave=self._left_to_errors(job, now))
            create_at = max(free_at, self._creates_from(now))
        audit_at = None if self._audit is None else self._audit.next_due()
        times = [at for at in (create_at, other_at, audit_at) if at is not None]
        return min(times, default=math.inf)

    # -- consequences -----------------------------------------------------------------------------------------------

    def _leave_gates(self, attempt: Attempt, verdict: Verdict, now: float) -> None:
        """Open the gates whose cause an answer disproves."""
        kind = verdict.kind
        self.unreachable = kind is VerdictKind.UNAVAILABLE and verdict.status is None
        is_failing = kind in (VerdictKind.UNAVAILABLE, VerdictKind.UNKNOWN)
        if is_failing or (attempt.lease is None and kind in (VerdictKind.RATE_LIMITED, VerdictKind.QUOTA)):
            self._failures += 1
            if self._failures >= OUTAGE_AFTER_FAILURES or self._outage.closed:
                asked_s = verdict.retry_after_s if is_failing else None
                self._outage.close(now, at_least_s=asked_s or 0.0)
            self._auth.leave()
            return
        if not attempt.is_check:
            self._failures = 0
            self._outage.open()
            self._causes.over("outage")
        elif not attempt.is_audit:
            self._outage.leave()  # a server that shows a trace may still be unable to accept one
        if kind in (VerdictKind.DELIVERED, VerdictKind.RATE_LIMITED, VerdictKind.QUOTA, VerdictKind.INVALID):
            self._auth.open()
            self._causes.over("auth")
        else:
            self._auth.leave()

    def _after_audit(self, audit: Audit, verdict: Verdict, now: float) -> None:
        if verdict.kind is VerdictKind.DELIVERED:
            audit.found()
            self._ledger.answered("verified")
        elif verdict.kind is not VerdictKind.NOT_FOUND:
            audit.unknown(now)
        elif (lost := audit.missing(now)) is not None:
            self._causes.lost(lost)
            self._ledger.answered("lost by the server")
            self._ledger.undelivered(len(lost.spans))
            self._repeated.add(lost.trace_id)
            self.put(lost, now)

    def _after_check(self, job: Job, verdict: Verdict, outcome: Outcome, now: float) -> None:
        is_score = job.parcel.step is Step.SCORE
        if verdict.kind is VerdictKind.DELIVERED and not is_score and not lacks_spans(outcome, job.parcel):
            self._delivered(job, now)
        elif verdict.kind is VerdictKind.NOT_FOUND and is_score:
            self._not_there_yet(job, now)
        elif verdict.kind in (VerdictKind.DELIVERED, VerdictKind.NOT_FOUND):
            job.in_doubt = False
            self._outbox.retry(job, now)
        else:
            self._refused(job, verdict, now)

    def _after_send(self, job: Job, verdict: Verdict, now: float) -> None:
        if verdict.kind is VerdictKind.DELIVERED:
            self._delivered(job, now)
        elif verdict.kind is VerdictKind.NOT_FOUND and job.parcel.step is not Step.CREATE:
            self._not_there_yet(job, now)
        elif verdict.kind is VerdictKind.INVALID:
            self._mend(job, verdict, now)
        elif verdict.kind is VerdictKind.TOO_LARGE:
            self._shrink(job, verdict, now)
        elif verdict.kind is VerdictKind.UNKNOWN and job.parcel.step is Step.SCORE:
            self._give_up(job, "outcome_unknown", verdict, now)  # a score that is sent again may be recorded twice
        else:
            self._refused(job, verdict, now)

    def _delivered(self, job: Job, now: float) -> None:
        parcel = job.parcel
        self.last_error = self.last_error if self._has_cost_spans else None
        next_at, is_new = now, False
        if parcel.step is Step.CREATE:
            if self._is_in_trouble:
                self._recover(now)
            if self._in_band.has_something:
                self._in_band.arrived(parcel)
            is_new = parcel.trace_id not in self._repeated
            self._repeated.discard(parcel.trace_id)
            if is_new and self._audit is not None:
                self._audit.accepted(parcel, now)
            next_at = now + (FINISH_AFTER_DOUBT_S if job.in_doubt else FIRST_LOOK_S)
        elif parcel.is_remote:
            self._orphans.found(parcel)
        self._ledger.delivered(len(parcel.spans), traces=int(is_new))
        self._outbox.finish(job, now, next_at=next_at)

    def _recover(self, now: float) -> None:
        """Reset limit, plan and outage after an accepted trace."""
        self._bucket.accepted(now)
        self._quota.open()
        self._causes.over("quota")
        self._causes.over("rate")
        self._is_in_trouble = self._outage.closed or self._auth.closed

    def _refused(self, job: Job, verdict: Verdict, now: float) -> None:
        """Keep a job whose request failed for a cause outside of it."""
        is_create = job.parcel.step is Step.CREATE
        match verdict.kind:
            case VerdictKind.RATE_LIMITED if is_create:
                self._bucket.limited(now, verdict.retry_after_s)
                self._causes.rate(verdict)
                self._outbox.retry(job, now)
            case VerdictKind.RATE_LIMITED:
                self._outbox.retry(job, now + (verdict.retry_after_s or self._backoff(job)))
            case VerdictKind.QUOTA if is_create:
                self._quota.close(now)
                self._causes.quota(verdict)
                self._outbox.retry(job, now)
            case VerdictKind.QUOTA:
                self._outbox.retry(job, now + self._backoff(job))
            case VerdictKind.AUTH | VerdictKind.PROJECT | VerdictKind.NOT_FOUND | VerdictKind.REDIRECTED:
                self._auth.close(now)
                self._causes.auth(verdict)
                self._outbox.retry(job, now)
            case _:
                self._server_error(job, verdict, now)

    def _server_error(self, job: Job, verdict: Verdict, now: float) -> None:
        if verdict.status is not None and self._failures == 1:
            # The request before this one did not fail: perhaps the server fails on this body alone. Errors within an
            # outage prove nothing; counting them would drop traces that a server with short outages can accept.
            job.server_errors += 1
            if job.server_errors >= POISON_AFTER_ERRORS:
                self._give_up(job, "refused", verdict, now)
                return
        self._causes.outage(verdict)
        wait_s = 0.0 if self._outage.closed else self._backoff(job)  # a closed gate sets the pace
        if job.parcel.step is Step.CREATE and not job.in_doubt and _may_be_done(verdict):
            job.in_doubt = True
            wait_s = max(wait_s, CHECK_AFTER_S)
        self._outbox.retry(job, now + wait_s)

    def _mend(self, job: Job, verdict: Verdict, now: float) -> None:
        """Send the trace without the fields that the server refused, or without their spans."""
        repaired = repair(job.parcel, verdict.errors) if verdict.errors and job.repairs < MAX_REPAIRS else None
        if repaired is None:
            self._give_up(job, "refused", verdict, now)
            return
        job.repairs += 1
        self._ledger.dropped("refused", repaired.left_out)
        self._causes.repaired(job.parcel, verdict)
        if repaired.left_out and not repaired.parcel.spans and job.parcel.step is Step.APPEND:
            self._outbox.replace(job, (repaired.parcel,), now)
            self._outbox.finish(job, now)
        else:
            self._outbox.replace(job, (repaired.parcel,), now)

    def _shrink(self, job: Job, verdict: Verdict, now: float) -> None:
        """Split a job whose body a proxy refuses for its size, and halve the bound on bodies."""
        size = len(job.parcel.body())
        if size <= SMALLEST_CAP:
            self._give_up(job, "too_large", verdict, now)
            return
        self._body_cap = max(min(size, self._body_cap) // 2, SMALLEST_CAP)
        self._outbox.remember_cap(self._body_cap)
        self._causes.too_large(size, self._body_cap)
        self._outbox.replace(job, fit(job.parcel, self._body_cap), now)

    def _not_there_yet(self, job: Job, now: float) -> None:
        if job.not_found_since is None:
            job.not_found_since = now
            job.attempts = 1
        waited = now - job.not_found_since
        if job.parcel.is_remote and not self._outbox.has_create(job):
            if self._has_no_root(job, waited, now):
                return
        elif waited >= MISSING_AFTER_S:
            self._drop(job, "trace_lost", now)
            self._causes.never_stored(job.parcel, MISSING_AFTER_S)
            return
        self._outbox.retry(job, now + self._admission.look_again_s(job))

    def _has_no_root(self, job: Job, waited_s: float, now: float) -> bool:
        """Decide about spans whose root is missing; return False if they keep waiting."""
        parcel = job.parcel
        is_strange = self._orphans.has_strange_root(parcel)
        fate = self._admission.fate(job, waited_s, now, is_strange=is_strange, closing=self.closing)
        if fate is Fate.LEAVE_OUT:
            for waiting in self._outbox.with_it(job):
                self._drop(waiting, "overload", now)
        elif fate is Fate.ADOPT:
            self._orphans.adopted(parcel)
            self._outbox.adopt(job, self._project, now)
        return fate is not Fate.WAIT

    def _give_up(self, job: Job, reason: str, verdict: Verdict, now: float) -> None:
        self._has_cost_spans = True
        self._outbox.refused(job, verdict.message)
        self._drop(job, reason, now)
        self._causes.refused(reason, job.parcel, verdict)

    def _drop(self, job: Job, reason: str, now: float) -> None:
        self._ledger.dropped(reason, job.parcel.span_count)
        if job.parcel.step is Step.CREATE:
            self._in_band.gone(job.parcel)
        self._outbox.finish(job, now)

    def _backoff(self, job: Job) -> float:
        return self._uniform(0.0, min(60.0, 2.0 ** min(job.attempts, 6)))


def _may_be_done(verdict: Verdict) -> bool:
    """Return whether the server may have carried the request out: it has stored traces and then failed (measured)."""
    return verdict.kind is VerdictKind.UNKNOWN or (verdict.status or 0) >= 500
