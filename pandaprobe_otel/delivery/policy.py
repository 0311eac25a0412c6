"""The policy of delivery: a state machine without threads, I/O or clock.

It decides which parcels enter the outbox, which one is sent next, and the consequence of each answer. A parcel leaves
in one of two ways: it was delivered, or it was dropped for a reason that the ledger counts and a log line explains.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.delivery.blockage import Blockage
from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Names, Outbox
from pandaprobe_otel.delivery.parcel import MAX_SPANS, Parcel, Step, adopted_id
from pandaprobe_otel.delivery.repair import MAX_REPAIRS, SMALLEST_CAP, AttachedMetadata, fit, repair
from pandaprobe_otel.process.guard import counted
from pandaprobe_otel.transport.outcome import Answer, NoAnswer, Outcome, Verdict, VerdictKind, json_object, judge

ADOPT_AFTER_S: Final = 300.0
"""Time for the root's process to post a trace. After that, the trace's other spans become a trace of their own."""
ADOPT_LATE_S: Final = 3600.0
"""Value of `ADOPT_AFTER_S` after an overload of the fleet: the trace may wait for a token in the other process."""
FIRST_LOOK_S: Final = 0.5
"""Delay of the first look-up. An idle server stores an accepted trace within this time (measured: 0.15 to 0.5 s)."""
_LAST_LOOK_S: Final = 60.0
CHECK_AFTER_S: Final = 5.0
"""Delay of the look-up of a create whose outcome is unknown. By then, the server has stored an accepted one."""
FINISH_AFTER_DOUBT_S: Final = 10.0
"""Delay of a trace's end after a doubtful create: two copies of a create may be applied in any order."""
MISSING_AFTER_S: Final = 300.0
POISON_AFTER_ERRORS: Final = 5
_FEWEST_RESERVED: Final = 5
_MOST_RESERVED: Final = 20
_OVERLOAD: Final = 100
"""Number of waiting traces above which sending them takes more than a minute."""
_ERRORS_COUNT_S: Final = 600.0
_ERRORS_PER_TOKEN: Final = 40
"""Number of errors within ten minutes (four a minute) that reserve one more token."""
LARGEST_BODY: Final = 4 << 20
"""Bytes of a request until a server refuses this size. The server has no bound, but lags behind with large bodies."""
_REMEMBERED: Final = 10_000
_AFTER_FAULT_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Spans, scores and ends of traces that were given up."""

    spans: int = 0
    scores: int = 0
    ends: int = 0
    """Ends of traces that PandaProbe has and will show as RUNNING for ever."""


class DeliveryPolicy:
    """Admission, choice and consequences. Times are monotonic, in seconds.

    Not thread-safe: `SenderPool` calls it, its outbox and its blockage under one lock. If the outbox keeps everything,
    everything is admitted.
    """

    last_try_at: float = math.inf
    """Time at which a process that ends tries an unreachable server once more, even if the next try was to be later."""
    closing = False
    """True while the process ends: what otherwise waits for another process is then decided at once."""
    last_error: str | None = None
    """Newest failure until a delivery succeeds. A failure that has cost something stays until the next.

    A look-up that does not find a trace replaces no failure: the trace may be missing because of it.
    """
    _has_cost_spans = False

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
        self._errors: deque[float] = deque(maxlen=(_MOST_RESERVED - _FEWEST_RESERVED) * _ERRORS_PER_TOKEN)
        """Times at which traces with an error came."""
        self._body_cap = LARGEST_BODY
        self._names = Names()
        self._left_out: OrderedDict[str, None] = OrderedDict()
        """Newest traces that were left out, whose later parcels are left out too."""
        self._attached = AttachedMetadata()
        self._adopted: OrderedDict[str, str] = OrderedDict()
        """Derived id of each adopted trace. `_is_posted`: whether the server has accepted a create under that id."""
        self._is_posted: dict[str, bool] = {}

    # -- admission ----------------------------------------------------------------------------------------------------

    def offer(self, parcel: Parcel, now: float) -> None:
        """Take over a parcel, split into parts that the server accepts, unless its trace was left out."""
        if not parcel.is_remote and parcel.trace_id in self._left_out:
            self._count_dropped(parcel, "overload")
            return
        if parcel.trace_id in self._adopted:
            # Even a root that reaches a gateway later belongs to the adopted trace.
            parcel = parcel.under(self._adopted[parcel.trace_id])
        if parcel.step is Step.CREATE:
            self._names.look_at(parcel, now)
            if parcel.is_error:
                self._errors.append(now)
        pieces: Sequence[Parcel] = parcel.split() if parcel.spans.count > MAX_SPANS else (parcel,)
        if parcel.size > self._body_cap:
            pieces = [small for piece in pieces for small in fit(piece, self._body_cap)]
        for piece in pieces:
            if gone := self.outbox.put(piece, now):
                self._evicted(gone, now)

    def _look_at_disk(self, now: float) -> None:
        """Take over the parcels of other processes, and count those that are gone."""
        tended = self.outbox.inspect(now)
        self._ledger.ended(sum(found.span_count for found in tended.found) + tended.damaged_spans)
        self._ledger.dropped("spool_damaged", tended.damaged_spans)
        self._errors.extend(now for found in tended.found if found.is_error and found.step is Step.CREATE)
        for parcel, reason in tended.gone:
            self._had_to_go(parcel, reason)

    def _evicted(self, gone: list[tuple[Parcel, str]], now: float) -> None:
        unposted = {parcel.trace_id for parcel, _ in gone if _is_unposted(parcel)}
        for parcel, reason in gone:
            is_end = parcel.step is Step.FINISH and parcel.trace_id not in unposted
            if not is_end or parcel.is_bare:  # an end that was only on disk no longer exists
                self._had_to_go(parcel, reason)
                continue
            # Some of its spans are lost and counted, but the trace is over nevertheless.
            parcel.unpack()
            for other, why in self.outbox.put(replace(parcel), now):
                self._had_to_go(other, why)

    def _had_to_go(self, parcel: Parcel, reason: str) -> None:
        self._count_dropped(parcel, reason)
        if parcel.step is Step.CREATE:
            self._attached.evicted(parcel)
        if _is_unposted(parcel):
            self._left_out[parcel.trace_id] = None
            if len(self._left_out) > _REMEMBERED:
                self._left_out.popitem(last=False)
        self._notices.report(reason)

    def _count_dropped(self, parcel: Parcel, reason: str) -> None:
        """Count the spans, or the score, of a parcel that is given up."""
        self._ledger.dropped(reason, parcel.span_count)
        if parcel.step is Step.SCORE:
            self._ledger.score_dropped(reason)

    # -- the next request ---------------------------------------------------------------------------------------------

    def next(self, now: float) -> Parcel | float:
        """Return the next parcel to send, or the time at which to ask again. Never raises.

        Infinity: ask again after the next change.
        """
        outbox, blockage, inspect_at = self.outbox, self.blockage, math.inf
        try:
            if outbox.store is not None:
                if now >= outbox.inspect_at:
                    self._look_at_disk(now)
                inspect_at = outbox.inspect_at
            if now >= self.last_try_at:
                self.last_try_at = math.inf
                if blockage.unreachable:
                    blockage.hasten(now)
                    outbox.hasten(now)
            blocked_until = blockage.opens_at() if blockage.may_block else now
            step: Parcel | float = blocked_until
            if blocked_until <= now:
                step = self._next(now)
            if isinstance(step, Parcel):
                return step
            last_try_at = self.last_try_at if blockage.unreachable else math.inf
            return min(step, inspect_at, last_try_at)
        except Exception as error:  # noqa: BLE001 - the guard of the senders: a fault of ours costs time, no thread
            counted("delivery", error)
            self._notices.report("stumbled", error=type(error).__name__)
            return now + _AFTER_FAULT_S

    def _next(self, now: float) -> Parcel | float:
        parcel, due_at = self.outbox.next(now)
        if parcel is None:
            return due_at
        if parcel.in_doubt or parcel.step is not Step.CREATE:
            return self._start(parcel, now, is_check=parcel.in_doubt) if self._is_opened(parcel, now) else now
        if self.blockage.may_block and (free_at := self.blockage.creates_from(now)) > now:
            return min(due_at, free_at)
        leave = self._left_to_errors(parcel, now)
        lease = self._bucket.acquire(now, leave=leave)
        if lease is None:
            return min(due_at, self._bucket.next_free(now, leave=leave))
        if not self._is_opened(parcel, now):
            self._bucket.release(lease, now, was_used=False)
            return now
        self._ledger.leased(now - parcel.since)
        if self._ledger.has_drops or self._attached.unsent or self._attached.carried:
            fields = self._attached.attach(parcel, self._ledger.read().dropped)
            if fields is not None:
                self.outbox.amend(parcel, fields)
        parcel.lease = lease
        return self._start(parcel, now)

    def _start(self, parcel: Parcel, now: float, *, is_check: bool = False) -> Parcel:
        parcel.is_check = is_check
        if is_check or parcel.step is not Step.CREATE:
            parcel.lease = None
        if self.blockage.may_block:
            self.blockage.enter(now, is_create=parcel.lease is not None)
        parcel.attempts += 1
        self.outbox.start(parcel, now)
        return parcel

    def _is_opened(self, parcel: Parcel, now: float) -> bool:
        """Load the content into memory; return False if the parcel must wait or was split."""
        if (parcel.packed or parcel.is_bare) and not self.outbox.open(parcel, now):
            return False
        if parcel.trace_id in self._adopted:
            self.outbox.finish(parcel, now)
            self.offer(parcel, now)
            return False
        if parcel.size > self._body_cap and len(pieces := fit(parcel, self._body_cap)) > 1:
            self.outbox.replace(parcel, pieces, now)
            return False
        return True

    def _left_to_errors(self, parcel: Parcel, now: float) -> int:
        """Return the tokens that the parcel may not take, while more traces wait than can be sent in a minute.

        Under overload, every token is lent, and a new error would wait up to a minute for one. So other traces leave a
        few tokens. They lose that part of the limit while errors come, and nothing otherwise.
        """
        while self._errors and self._errors[0] < now - _ERRORS_COUNT_S:
            self._errors.popleft()
        if parcel.is_error or not self._errors or self.outbox.waiting_for_tokens < _OVERLOAD:
            return 0
        return _FEWEST_RESERVED + len(self._errors) // _ERRORS_PER_TOKEN

    # -- its outcome --------------------------------------------------------------------------------------------------

    def done(self, parcel: Parcel, outcome: Outcome | Exception, now: float) -> None:
        """Apply the outcome of an attempt. Never raises: an error in this library costs only the parcel."""
        try:
            if isinstance(outcome, Exception):
                raise outcome  # the fault of a transport costs what a fault here does
            if isinstance(outcome, NoAnswer) and outcome.is_late:
                self._take_back(parcel, now)
                return
            if parcel.lease is not None:
                self._bucket.release(parcel.lease, now, answered=isinstance(outcome, Answer))
            verdict = judge(outcome)
            is_delivered = verdict.kind is VerdictKind.DELIVERED
            if self.blockage.may_block or not is_delivered:
                self.blockage.answered(verdict, now, is_create=parcel.lease is not None, is_check=parcel.is_check)
            is_in_vain = parcel.is_check and verdict.kind is VerdictKind.NOT_FOUND
            if not is_delivered and not (is_in_vain and self.last_error):
                self.last_error = f"{parcel.tried}: {verdict.message}"
                self._has_cost_spans = False
            self._ledger.answered(verdict.kind)  # after the error, which is read once the count shows
            if not parcel.in_flight:
                self._after_the_end(parcel, now, is_delivered=is_delivered)
            elif parcel.is_check:
                self._after_check(parcel, verdict, outcome, now)
            elif is_delivered:
                self._delivered(parcel, now)
            else:
                self._after_failure(parcel, verdict, now)
        except Exception as error:  # noqa: BLE001 - counted and logged
            if error is not outcome:
                counted("delivery", error)
            self._notices.report("fault", error=type(error).__name__)
            if parcel.lease is not None:
                self._bucket.release(parcel.lease, now, answered=False)
            self.blockage.leave(is_create=parcel.lease is not None)
            if parcel.in_flight:
                self._drop(parcel, "internal_error", now)

    def drop_all(self, reason: str) -> Dropped:
        """Give up everything that is only in memory."""
        unsaved = [parcel for parcel in self.outbox if not parcel.row]
        for parcel in unsaved:
            self._drop(parcel, reason, math.inf)
        posted = {parcel.trace_id for parcel in unsaved if parcel.step is Step.CREATE}
        return Dropped(
            spans=sum(parcel.span_count for parcel in unsaved),
            scores=sum(parcel.step is Step.SCORE for parcel in unsaved),
            ends=sum(parcel.step is Step.FINISH and parcel.trace_id not in posted for parcel in unsaved),
        )

    def _take_back(self, parcel: Parcel, now: float) -> None:
        """Return the token after a suspension so long that another process may have it.

        Nothing was sent, so ask for a new token.
        """
        if parcel.lease is not None:
            self._bucket.release(parcel.lease, now, was_used=False)
        self.blockage.leave(is_create=parcel.lease is not None, was_sent=False)
        self.outbox.retry(parcel, now)

    def _after_check(self, parcel: Parcel, verdict: Verdict, outcome: Outcome, now: float) -> None:
        is_score = parcel.step is Step.SCORE
        if verdict.kind is VerdictKind.DELIVERED and not is_score and not _lacks_spans(outcome, parcel):
            self._delivered(parcel, now)
        elif verdict.kind is VerdictKind.NOT_FOUND and is_score:
            self._not_there_yet(parcel, now)
        elif verdict.kind in (VerdictKind.DELIVERED, VerdictKind.NOT_FOUND):
            parcel.in_doubt = False
            self.outbox.retry(parcel, now)
        else:
            self._refused(parcel, verdict, now)

    def _after_the_end(self, parcel: Parcel, now: float, *, is_delivered: bool) -> None:
        """Correct the counts after a late answer: `drop_all` has counted the parcel as dropped."""
        if is_delivered and not parcel.is_check:
            self._ledger.dropped("shutdown", -parcel.span_count)
            if parcel.step is Step.SCORE:
                self._ledger.score_dropped("shutdown", -1)
            self._delivered(parcel, now)

    def _after_failure(self, parcel: Parcel, verdict: Verdict, now: float) -> None:
        if verdict.kind is VerdictKind.NOT_FOUND and parcel.step is not Step.CREATE:
            self._not_there_yet(parcel, now)
        elif verdict.kind is VerdictKind.INVALID:
            self._mend(parcel, verdict, now)
        elif verdict.kind is VerdictKind.TOO_LARGE:
            self._shrink(parcel, verdict, now)
        elif verdict.kind is VerdictKind.UNKNOWN and parcel.step is Step.SCORE:
            self._give_up(parcel, "outcome_unknown", verdict, now)  # a score that is sent twice may be recorded twice
        else:
            self._refused(parcel, verdict, now)

    def _delivered(self, parcel: Parcel, now: float) -> None:
        self.last_error = self.last_error if self._has_cost_spans else None
        next_at, is_new = now, False
        if parcel.step is Step.CREATE:
            if self.blockage.may_block:
                self._bucket.accepted(now)
                self.blockage.accepted()
            self._attached.carried.pop(parcel.trace_id, None)
            is_new = not self._is_posted.get(parcel.trace_id, False)
            if parcel.trace_id in self._is_posted:
                self._is_posted[parcel.trace_id] = True
            next_at = now + (FINISH_AFTER_DOUBT_S if parcel.in_doubt else FIRST_LOOK_S)
            for waiting in () if parcel.line is None else parcel.line.parcels:
                waiting.not_found_since = None  # they waited for another process, and the trace is on its way
        self._ledger.delivered(parcel.span_count, traces=int(is_new))
        self.outbox.finish(parcel, now, next_at=next_at)

    def _refused(self, parcel: Parcel, verdict: Verdict, now: float) -> None:
        """Keep a parcel whose request failed for an external cause."""
        is_create = parcel.step is Step.CREATE
        retry_at = now
        match verdict.kind:
            case VerdictKind.RATE_LIMITED if is_create:
                self._bucket.limited(now, verdict.retry_after_s)
                self._notices.report("rate", words=verdict.message)
            case VerdictKind.RATE_LIMITED:
                retry_at += verdict.retry_after_s or self._backoff(parcel)
            case VerdictKind.QUOTA if is_create:
                self.blockage.used_up(verdict, now)
            case VerdictKind.QUOTA:
                retry_at += self._backoff(parcel)
            case VerdictKind.PROJECT if parcel.project:  # one of many, which must not stop the others
                self._give_up(parcel, "refused", verdict, now)
                return
            case VerdictKind.AUTH | VerdictKind.PROJECT | VerdictKind.NOT_FOUND | VerdictKind.REDIRECTED:
                self.blockage.refused(verdict, now)
            case _:
                self._server_error(parcel, verdict, now)
                return
        self.outbox.retry(parcel, retry_at)

    def _server_error(self, parcel: Parcel, verdict: Verdict, now: float) -> None:
        if verdict.status is not None and self.blockage.failures == 1:
            # The previous request did not fail, so the server may fail only on this body. Errors within an outage prove
            # nothing; counting them would drop traces that a server with short outages can accept.
            parcel.server_errors += 1
            if parcel.server_errors >= POISON_AFTER_ERRORS:
                self._give_up(parcel, "refused", verdict, now)
                return
        line = "outage" if verdict.status is None else "failing"
        self._notices.report(line, cause="outage", words=verdict.message)
        wait_s = 0.0 if self.blockage.is_outage else self._backoff(parcel)  # a closed gate sets the pace
        may_be_done = verdict.kind is VerdictKind.UNKNOWN or (verdict.status or 0) >= 500  # it may fail after storing
        if parcel.step is Step.CREATE and not parcel.in_doubt and may_be_done:
            parcel.in_doubt = True
            wait_s = max(wait_s, CHECK_AFTER_S)
        self.outbox.retry(parcel, now + wait_s)

    def _mend(self, parcel: Parcel, verdict: Verdict, now: float) -> None:
        """Send the trace without the fields that the server refused, or without their spans."""
        repaired = repair(parcel, verdict.errors) if verdict.errors and parcel.repairs < MAX_REPAIRS else None
        if repaired is None:
            self._give_up(parcel, "refused", verdict, now)
            return
        parcel.repairs += 1
        left_out = len(parcel.spans) - len(repaired.spans)
        self._has_cost_spans = left_out > 0
        self._ledger.dropped("refused", left_out)
        words = verdict.message
        self._notices.report("repaired", cause=f"repaired: {words[:60]}", parcel=parcel, words=words)
        self.outbox.replace(parcel, (repaired,), now)
        if left_out and not repaired.spans and parcel.step is Step.APPEND:
            self.outbox.finish(parcel, now)

    def _shrink(self, parcel: Parcel, verdict: Verdict, now: float) -> None:
        """Split a parcel whose body a proxy refuses for its size, and halve the bound on bodies."""
        size = len(parcel.body())
        if size <= SMALLEST_CAP:
            self._give_up(parcel, "too_large", verdict, now)
            return
        self._body_cap = max(min(size, self._body_cap) // 2, SMALLEST_CAP)
        self._notices.report("split", size=size, cap=self._body_cap)
        self.outbox.replace(parcel, fit(parcel, self._body_cap), now)

    # -- a trace that is not there ------------------------------------------------------------------------------------

    def _not_there_yet(self, parcel: Parcel, now: float) -> None:
        if parcel.not_found_since is None:
            parcel.not_found_since = now
            parcel.attempts = 1
            parcel.came_in_overload = self._bucket.is_crowded(now, leave=_MOST_RESERVED)
        waited = now - parcel.not_found_since
        if parcel.is_remote and not self.outbox.has_create(parcel):
            if self._has_no_root(parcel, waited, now):
                return
        elif waited >= MISSING_AFTER_S:
            self._lost(parcel, parcel.not_found_since, now)
            return
        wait_s = min(FIRST_LOOK_S * 2 ** (parcel.attempts - 1), _LAST_LOOK_S)
        self.outbox.retry(parcel, now + wait_s)

    def _lost(self, parcel: Parcel, missing_since: float, now: float) -> None:
        """Drop a parcel whose trace is missing, and those behind it that have waited for the trace just as long."""
        self._has_cost_spans = True
        for waiting in self.outbox.with_it(parcel):
            waiting.not_found_since = max(missing_since, waiting.since)
            if now - waiting.not_found_since < MISSING_AFTER_S:
                continue
            reason = "trace_not_found" if waiting.step is Step.SCORE else "trace_lost"
            self._drop(waiting, reason, now)
            self._notices.report(reason, parcel=waiting, after_s=MISSING_AFTER_S)

    def _has_no_root(self, parcel: Parcel, waited_s: float, now: float) -> bool:
        """Decide about spans whose root has been missing for `waited_s`; return False if they keep waiting.

        Under overload, the root's process may have left the trace out, or may send it late.
        """
        longest_s = ADOPT_LATE_S if self._bucket.is_crowded(now, leave=_MOST_RESERVED) else ADOPT_AFTER_S
        if not self.closing and waited_s < longest_s:
            return False
        if parcel.came_in_overload and not (parcel.is_error or self.outbox.keeps_all):
            for waiting in self.outbox.with_it(parcel):
                self._drop(waiting, "overload", now)
        else:
            derived = adopted_id(parcel.trace_id, parcel.project or self._project)
            self._adopted[parcel.trace_id] = derived
            self._is_posted.setdefault(derived, False)
            if len(self._adopted) > _REMEMBERED:
                del self._is_posted[self._adopted.popitem(last=False)[1]]
            self.outbox.adopt(parcel, self._project, now)
        return True

    def _give_up(self, parcel: Parcel, reason: str, verdict: Verdict, now: float) -> None:
        self._has_cost_spans = True
        words, size = verdict.message, len(parcel.body())
        given_up = [parcel]
        if parcel.step is Step.CREATE:  # without it, the server has no trace for its other parts
            given_up = [each for each in self.outbox.with_it(parcel) if each is parcel or not each.is_remote]
        spans = sum(each.span_count for each in given_up)
        for each in given_up:
            self.outbox.keep_refused(each, words, now)
            self._drop(each, reason, now)
        line = "score_refused" if parcel.step is Step.SCORE else reason
        cause = f"{reason}: {words[:60]}"
        self._notices.report(line, cause=cause, parcel=parcel, words=words, spans=spans, size=size)

    def _drop(self, parcel: Parcel, reason: str, now: float) -> None:
        self._count_dropped(parcel, reason)
        if parcel.step is Step.CREATE:
            self._attached.gone(parcel)
        self.outbox.finish(parcel, now)

    def _backoff(self, parcel: Parcel) -> float:
        return self._uniform(0.0, min(60.0, 2.0 ** min(parcel.attempts, 6)))


def _is_unposted(parcel: Parcel) -> bool:
    """Return whether the trace cannot be on the server, so that nothing more of it needs to be sent."""
    return parcel.step is Step.CREATE and not parcel.in_doubt


def _lacks_spans(outcome: Outcome, parcel: Parcel) -> bool:
    """Return whether the stored trace lacks spans of the parcel: another process, or an earlier part, posted it.

    Return False too if the answer has no list of spans, because nothing can be compared.
    """
    shown: list[Any] | None = json_object(outcome.body).get("spans") if isinstance(outcome, Answer) else None
    if not isinstance(shown, list):
        return False
    found = (cast("dict[str, Any]", span).get("span_id") for span in shown if isinstance(span, dict))
    ids = {span_id for span_id in found if isinstance(span_id, str)}
    return any(orjson.loads(span).get("span_id") not in ids for span in parcel.spans)
