"""Effects of an outcome: a job is delivered, waits, changes or is given up."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.delivery.admission import FIRST_LOOK_S, Admission, Fate
from pandaprobe_otel.delivery.blockage import Blockage
from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.job import Attempt, Job
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.repair import MAX_REPAIRS, SMALLEST_CAP, fit, repair
from pandaprobe_otel.process.guard import counted
from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer, Outcome
from pandaprobe_otel.transport.server_text import json_object
from pandaprobe_otel.transport.verdict import Verdict, VerdictKind, judge

CHECK_AFTER_S: Final = 5.0
"""Delay of the look-up of a create whose outcome is unknown. By then, the server has stored an accepted one."""
FINISH_AFTER_DOUBT_S: Final = 10.0
"""Delay of a trace's end after a doubtful create: two copies of a create may be applied in any order."""
MISSING_AFTER_S: Final = 300.0
POISON_AFTER_ERRORS: Final = 5
_ENDS_OF_CONNECTIONS: Final = frozenset({401, 408})
"""Statuses with which servers end idle connections. Those from 500 on leave the outcome open in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Spans, scores and ends of traces that were given up."""

    spans: int = 0
    scores: int = 0
    ends: int = 0
    """Ends of traces that PandaProbe has and will show as RUNNING for ever."""


class OutcomeEffects:
    """Effects of outcomes, and the state of delivery. Not thread-safe: `SenderPool` calls it under its lock.

    A job leaves the outbox in one of two ways: it was delivered, or it was dropped for a reason that the ledger counts
    and a log line explains.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        bucket: LeasedBucket,
        ledger: Ledger,
        notices: Notices,
        project: str,
        max_traces_per_day: int | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.outbox = outbox
        self._bucket = bucket
        self._ledger = ledger
        self._project = project
        self._uniform = uniform
        self._notices = notices
        self.blockage = Blockage(notices, max_traces_per_day=max_traces_per_day, uniform=uniform)
        self._admission = Admission(
            outbox=outbox, bucket=bucket, ledger=ledger, notices=notices, blockage=self.blockage, project=project
        )
        self.offer = self._admission.offer
        self.closing = False
        """True while the process ends: what otherwise waits for another process is then decided at once."""
        self.last_error: str | None = None
        """Newest failure until a delivery succeeds. A failure that has cost something stays until the next.

        A look-up that does not find a trace replaces no failure: the trace may be missing because of it.
        """
        self._has_cost_spans = False

    def done(self, attempt: Attempt, outcome: Outcome, now: float) -> None:
        """Apply an outcome. Never raises: an error in this library costs only the job."""
        try:
            if isinstance(outcome, NoAnswer) and outcome.is_late:
                self._take_back(attempt, now)
                return
            if attempt.lease is not None:
                self._bucket.release(attempt.lease, now, answered=isinstance(outcome, Answer))
            verdict = _judged(outcome, attempt)
            is_delivered = verdict.kind is VerdictKind.DELIVERED
            if self.blockage.may_block or not is_delivered:
                self.blockage.answered(verdict, now, attempt)
            is_in_vain = attempt.is_check and verdict.kind is VerdictKind.NOT_FOUND
            if not is_delivered and not (is_in_vain and self.last_error):
                self.last_error = f"{attempt.target}: {verdict.message}"
                self._has_cost_spans = False
            self._ledger.answered(verdict.kind)  # after the error, which is read once the count shows
            if not attempt.job.in_flight:
                self._after_the_end(attempt, now, is_delivered=is_delivered)
            elif attempt.is_check:
                self._after_check(attempt.job, verdict, outcome, now)
            elif is_delivered:
                self._delivered(attempt.job, now)
            else:
                self._after_failure(attempt.job, verdict, now)
        except Exception as error:  # noqa: BLE001 - counted, and told by `give_up`
            counted("delivery", error)
            self.give_up(attempt, error, now)

    def give_up(self, attempt: Attempt, error: Exception, now: float) -> None:
        """Give a job up because of an error in this library."""
        self._notices.report("fault", error=type(error).__name__)
        if attempt.lease is not None:
            self._bucket.release(attempt.lease, now, answered=False)
        self.blockage.leave(is_create=attempt.lease is not None)
        if attempt.job.in_flight:
            self._drop(attempt.job, "internal_error", now)

    def drop_all(self, reason: str) -> Dropped:
        """Give up everything that is only in memory."""
        jobs = self.outbox.unsaved
        for job in jobs:
            self._drop(job, reason, math.inf)
        posted = {job.request.trace_id for job in jobs if job.request.step is Step.CREATE}
        ends = [job for job in jobs if job.request.step is Step.FINISH and job.request.trace_id not in posted]
        scores = sum(job.request.step is Step.SCORE for job in jobs)
        return Dropped(spans=sum(job.request.span_count for job in jobs), scores=scores, ends=len(ends))

    def _take_back(self, attempt: Attempt, now: float) -> None:
        """Return the token after a suspension so long that another process may have it.

        Nothing was sent, so ask for a new token.
        """
        if attempt.lease is not None:
            self._bucket.release(attempt.lease, now, was_used=False)
        self.blockage.leave(is_create=attempt.lease is not None, was_sent=False)
        self.outbox.retry(attempt.job, now)

    # -- by kind of request -------------------------------------------------------------------------------------------

    def _after_check(self, job: Job, verdict: Verdict, outcome: Outcome, now: float) -> None:
        is_score = job.request.step is Step.SCORE
        if job.may_be_scored and verdict.kind in (VerdictKind.DELIVERED, VerdictKind.NOT_FOUND):
            job.may_be_scored = False
            if _has_score(outcome, job.request):
                self._delivered(job, now)
            else:
                self.outbox.retry(job, now)
        elif verdict.kind is VerdictKind.DELIVERED and not is_score and not _lacks_spans(outcome, job.request):
            self._delivered(job, now)
        elif verdict.kind is VerdictKind.NOT_FOUND and is_score:
            self._not_there_yet(job, now)
        elif verdict.kind in (VerdictKind.DELIVERED, VerdictKind.NOT_FOUND):
            job.in_doubt = False
            self.outbox.retry(job, now)
        else:
            self._refused(job, verdict, now)

    def _after_the_end(self, attempt: Attempt, now: float, *, is_delivered: bool) -> None:
        """Correct the counts after a late answer: `drop_all` has counted the job as dropped."""
        request = attempt.job.request
        if is_delivered and not attempt.is_check:
            self._ledger.dropped("shutdown", -request.span_count)
            if request.step is Step.SCORE:
                self._ledger.score_dropped("shutdown", -1)
            self._delivered(attempt.job, now)

    def _after_failure(self, job: Job, verdict: Verdict, now: float) -> None:
        if verdict.kind is VerdictKind.NOT_FOUND and job.request.step is not Step.CREATE:
            self._not_there_yet(job, now)
        elif verdict.kind is VerdictKind.INVALID:
            self._mend(job, verdict, now)
        elif verdict.kind is VerdictKind.TOO_LARGE:
            self._shrink(job, verdict, now)
        elif verdict.kind is VerdictKind.UNKNOWN and verdict.status in _ENDS_OF_CONNECTIONS and _is_score(job):
            job.in_doubt = job.may_be_scored = True
            self.outbox.retry(job, now)
        elif verdict.kind is VerdictKind.UNKNOWN and _is_score(job):
            self._give_up(job, "outcome_unknown", verdict, now)  # a score that is sent twice may be recorded twice
        else:
            self._refused(job, verdict, now)

    # -- by outcome ---------------------------------------------------------------------------------------------------

    def _delivered(self, job: Job, now: float) -> None:
        request, admission = job.request, self._admission
        self.last_error = self.last_error if self._has_cost_spans else None
        next_at, is_new = now, False
        if request.step is Step.CREATE:
            if self.blockage.may_block:
                self._bucket.accepted(now)
                self.blockage.accepted()
            admission.attached.carried.pop(request.trace_id, None)
            is_new = not admission.orphans.ids or admission.orphans.is_first_post(request.trace_id)
            next_at = now + (FINISH_AFTER_DOUBT_S if job.in_doubt else FIRST_LOOK_S)
            for waiting in job.line.jobs:
                waiting.not_found_since = None  # they waited for another process, and the trace is on its way
        elif request.is_remote:
            admission.orphans.found(request)
        self._ledger.delivered(request.spans.count, traces=int(is_new))
        self.outbox.finish(job, now, next_at=next_at)

    def _refused(self, job: Job, verdict: Verdict, now: float) -> None:
        """Keep a job whose request failed for an external cause."""
        is_create = job.request.step is Step.CREATE
        match verdict.kind:
            case VerdictKind.RATE_LIMITED if is_create:
                self._bucket.limited(now, verdict.retry_after_s)
                self._notices.report("rate", words=verdict.message)
                self.outbox.retry(job, now)
            case VerdictKind.RATE_LIMITED:
                self.outbox.retry(job, now + (verdict.retry_after_s or self._backoff(job)))
            case VerdictKind.QUOTA if is_create:
                self.blockage.used_up(verdict, now)
                self.outbox.retry(job, now)
            case VerdictKind.QUOTA:
                self.outbox.retry(job, now + self._backoff(job))
            case VerdictKind.AUTH | VerdictKind.PROJECT | VerdictKind.NOT_FOUND | VerdictKind.REDIRECTED:
                self.blockage.refused(verdict, now)
                self.outbox.retry(job, now)
            case _:
                self._server_error(job, verdict, now)

    def _server_error(self, job: Job, verdict: Verdict, now: float) -> None:
        if verdict.status is not None and self.blockage.failures == 1:
            # The previous request did not fail, so the server may fail only on this body. Errors within an outage prove
            # nothing; counting them would drop traces that a server with short outages can accept.
            job.server_errors += 1
            if job.server_errors >= POISON_AFTER_ERRORS:
                self._give_up(job, "refused", verdict, now)
                return
        line = "outage" if verdict.status is None else "failing"
        self._notices.report(line, cause="outage", words=verdict.message)
        wait_s = 0.0 if self.blockage.is_outage else self._backoff(job)  # a closed gate sets the pace
        if job.request.step is Step.CREATE and not job.in_doubt and _may_be_done(verdict):
            job.in_doubt = True
            wait_s = max(wait_s, CHECK_AFTER_S)
        self.outbox.retry(job, now + wait_s)

    def _mend(self, job: Job, verdict: Verdict, now: float) -> None:
        """Send the trace without the fields that the server refused, or without their spans."""
        repaired = repair(job.request, verdict.errors) if verdict.errors and job.repairs < MAX_REPAIRS else None
        if repaired is None:
            self._give_up(job, "refused", verdict, now)
            return
        job.repairs += 1
        left_out = len(job.request.spans) - len(repaired.spans)
        self._has_cost_spans = left_out > 0
        self._ledger.dropped("refused", left_out)
        words = verdict.message
        self._notices.report("repaired", cause=f"repaired: {words[:60]}", request=job.request, words=words)
        self.outbox.replace(job, (repaired,), now)
        if left_out and not repaired.spans and job.request.step is Step.APPEND:
            self.outbox.finish(job, now)

    def _shrink(self, job: Job, verdict: Verdict, now: float) -> None:
        """Split a job whose body a proxy refuses for its size, and halve the bound on bodies."""
        size = len(job.request.body())
        if size <= SMALLEST_CAP:
            self._give_up(job, "too_large", verdict, now)
            return
        body_cap = self._admission.too_large(size)
        self._notices.report("split", size=size, cap=body_cap)
        self.outbox.replace(job, fit(job.request, body_cap), now)

    def _not_there_yet(self, job: Job, now: float) -> None:
        if job.not_found_since is None:
            job.not_found_since = now
            job.attempts = 1
        waited = now - job.not_found_since
        if job.request.is_remote and not self.outbox.has_create(job):
            if self._has_no_root(job, waited, now):
                return
        elif waited >= MISSING_AFTER_S:
            self._lost(job, job.not_found_since, now)
            return
        self.outbox.retry(job, now + self._admission.look_again_s(job))

    def _lost(self, job: Job, missing_since: float, now: float) -> None:
        """Drop a job whose trace is missing, and the jobs behind it that have waited for the trace just as long."""
        self._has_cost_spans = True
        for waiting in self.outbox.with_it(job):
            waiting.not_found_since = max(missing_since, waiting.since)
            if now - waiting.not_found_since < MISSING_AFTER_S:
                continue
            reason = "trace_not_found" if waiting.request.step is Step.SCORE else "trace_lost"
            self._drop(waiting, reason, now)
            self._notices.report(reason, request=waiting.request, after_s=MISSING_AFTER_S)

    def _has_no_root(self, job: Job, waited_s: float, now: float) -> bool:
        """Decide about spans whose root is missing; return False if they keep waiting."""
        request, orphans = job.request, self._admission.orphans
        is_strange = orphans.has_strange_root(request)
        fate = self._admission.fate(job, waited_s, now, is_strange=is_strange, closing=self.closing)
        if fate is Fate.LEAVE_OUT:
            for waiting in self.outbox.with_it(job):
                self._drop(waiting, "overload", now)
        elif fate is Fate.ADOPT:
            orphans.adopted(request)
            self.outbox.adopt(job, self._project, now)
        return fate is not Fate.WAIT

    def _give_up(self, job: Job, reason: str, verdict: Verdict, now: float) -> None:
        self._has_cost_spans = True
        words, size = verdict.message, len(job.request.body())
        given_up = [job]
        if job.request.step is Step.CREATE:  # without it, the server has no trace for its other parts
            given_up = [each for each in self.outbox.with_it(job) if each is job or not each.request.is_remote]
        spans = sum(each.request.span_count for each in given_up)
        for each in given_up:
            self.outbox.refused(each, words)
            self._drop(each, reason, now)
        line = "score_refused" if job.request.step is Step.SCORE else reason
        cause = f"{reason}: {words[:60]}"
        self._notices.report(line, cause=cause, request=job.request, words=words, spans=spans, size=size)

    def _drop(self, job: Job, reason: str, now: float) -> None:
        self._admission.count_dropped(job.request, reason)
        if job.request.step is Step.CREATE:
            self._admission.attached.gone(job.request)
        self.outbox.finish(job, now)

    def _backoff(self, job: Job) -> float:
        return self._uniform(0.0, min(60.0, 2.0 ** min(job.attempts, 6)))


def _judged(outcome: Outcome, attempt: Attempt) -> Verdict:
    """Return the verdict; a refusal of a trace or score that may be the end of an idle connection leaves it unknown.

    It is looked up before it is posted again. The look-up has a connection of its own, so its answer counts.
    """
    verdict = judge(outcome)
    is_post = attempt.job.request.step in (Step.CREATE, Step.SCORE) and not attempt.is_check
    if is_post and isinstance(outcome, Answer) and not outcome.is_first and outcome.status in _ENDS_OF_CONNECTIONS:
        return replace(verdict, kind=VerdictKind.UNKNOWN)
    return verdict


def _may_be_done(verdict: Verdict) -> bool:
    """Return whether the server may have carried out the request: it can store a trace and then fail (measured)."""
    return verdict.kind is VerdictKind.UNKNOWN or (verdict.status or 0) >= 500


def _is_score(job: Job) -> bool:
    return job.request.step is Step.SCORE


def _has_score(outcome: Outcome, request: Parcel) -> bool:
    """Return whether the newest scores of the trace contain this one."""
    try:
        stored: Any = orjson.loads(outcome.body) if isinstance(outcome, Answer) else None
        sent: Any = orjson.loads(request.body())
        return any(
            all(str(one.get(key)) == str(sent.get(key)) for key in ("name", "value", "reason")) for one in stored
        )
    except (ValueError, TypeError, AttributeError):
        return False


def _lacks_spans(outcome: Outcome, request: Parcel) -> bool:
    """Return whether the stored trace lacks spans of the request: another process, or an earlier part, posted it.

    Return False too if the answer has no list of spans, because nothing can be compared.
    """
    shown: list[Any] | None = json_object(outcome.body).get("spans") if isinstance(outcome, Answer) else None
    if not isinstance(shown, list):
        return False
    found = (cast("dict[str, Any]", span).get("span_id") for span in shown if isinstance(span, dict))
    ids = {span_id for span_id in found if isinstance(span_id, str)}
    return any(orjson.loads(span).get("span_id") not in ids for span in request.opened().spans)
