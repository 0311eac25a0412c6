"""Entry of requests into the outbox: sampling under overload, splitting by size, and spans whose root is elsewhere."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from dataclasses import replace
from enum import Enum, auto
from typing import Final

from pandaprobe_otel.delivery.attached_metadata import AttachedMetadata, with_chance
from pandaprobe_otel.delivery.blockage import Blockage
from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.job import Job, Tended
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.delivery.parcel import MAX_SPANS, Parcel, Step, adopted_id
from pandaprobe_otel.delivery.randomness import randomness_of_uuid
from pandaprobe_otel.delivery.repair import SMALLEST_CAP, fit
from pandaprobe_otel.delivery.tail_sampler import PATIENCE_MIN, TailSampler

ADOPT_AFTER_S: Final = 300.0
"""Time for the root's process to post a trace. After that, the trace's other spans become a trace of their own."""
ADOPT_LATE_S: Final = 3600.0
"""Value of `ADOPT_AFTER_S` after an overload of the fleet: the trace may wait for a token in the other process."""
FIRST_LOOK_S: Final = 0.5
"""Delay of the first look-up. An idle server stores an accepted trace within this time (measured: 0.15 to 0.5 s)."""
LOOK_BELOW_CUT_S: Final = 150.0
"""Delay of a look-up of a trace that was probably left out (unless it failed elsewhere): two more look-ups suffice."""
_LAST_LOOK_S: Final = 60.0
_FEWEST_RESERVED: Final = 5
_MOST_RESERVED: Final = 20
_OVERLOAD: Final = 100
"""Number of waiting traces above which sending them takes more than a minute."""
_ERRORS_COUNT_S: Final = 600.0
_ERRORS_PER_TOKEN: Final = 40
"""Number of errors within ten minutes (four a minute) that reserve one more token."""
LARGEST_BODY: Final = 4 << 20
"""Bytes of a request until a server refuses this size. The server has no bound, but lags behind with large bodies."""
STRANGER_AFTER_ADOPTIONS: Final = 3
_REMEMBERED_ADOPTIONS: Final = 10_000


class Fate(Enum):
    """Decision about spans whose root is in another process and not on the server."""

    WAIT = auto()
    ADOPT = auto()
    LEAVE_OUT = auto()


class Admission:
    """Requests from the app or from the disk, on their way into the outbox. Not thread-safe: the policy calls it.

    Times are monotonic, in seconds. If the outbox keeps everything, everything is admitted.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        bucket: LeasedBucket,
        ledger: Ledger,
        notices: Notices,
        blockage: Blockage,
        project: str,
    ) -> None:
        self._outbox = outbox
        self._bucket = bucket
        self._ledger = ledger
        self._notices = notices
        self._blockage = blockage
        self._errors: deque[float] = deque(maxlen=(_MOST_RESERVED - _FEWEST_RESERVED) * _ERRORS_PER_TOKEN)
        """Times at which traces with an error came."""
        self._body_cap = LARGEST_BODY
        # A store has room for hours, so traces of the day may be sent at night.
        self.sampler = TailSampler(math.inf if outbox.has_store else PATIENCE_MIN)
        self.attached = AttachedMetadata()
        self.orphans = Orphans(project)

    def offer(self, request: Parcel, now: float) -> None:
        """Take over a new request, unless its trace is left out: see `TailSampler`."""
        sampler, chance = self.sampler, 1.0
        if not request.is_remote and request.trace_id in sampler.left_out:
            chance = 0.0
        elif request.step is Step.CREATE:
            if sampler.is_slow(request.name, request.duration_s):
                request = replace(request, is_slow=True)
            chance = self._chance(request, now)
            if not chance:
                sampler.leave_out(request.trace_id)
            elif chance < request.sample_rate:
                # The trace may have been sampled before by the same randomness: the smaller probability applies to both
                # samplings together.
                request = with_chance(request, chance)
        if chance:
            self.put(request, now)
        else:
            self.count_dropped(request, "overload")
            self._notices.report("overload")

    def put(self, request: Parcel, now: float) -> None:
        """Take over a request, split into parts that the server accepts."""
        if request.trace_id in self.orphans.ids:
            # Even a root that reaches a gateway later belongs to the adopted trace.
            request = request.under(self.orphans.ids[request.trace_id])
        if request.is_error and request.step is Step.CREATE:
            self._errors.append(now)
        pieces = request.split() if request.spans.count > MAX_SPANS else (request,)
        if request.size > self._body_cap:
            pieces = tuple(small for piece in pieces for small in fit(piece, self._body_cap))
        for piece in pieces:
            if gone := self._outbox.put(piece, now):
                self._evicted(gone, now)

    def is_blocked(self, now: float) -> bool:
        """Return whether no trace can be sent now for a cause other than the budget."""
        blockage = self._blockage
        if self._bucket.episode is not None:
            return True
        return blockage.may_block and max(blockage.opens_at(), blockage.creates_from(now)) > now

    def tended(self, tended: Tended, now: float) -> None:
        """Take over the requests of other processes, and count the jobs that are gone."""
        self._ledger.ended(sum(found.request.span_count for found in tended.found) + tended.damaged_spans)
        self._ledger.dropped("spool_damaged", tended.damaged_spans)
        new = (found.request for found in tended.found)
        self._errors.extend(now for request in new if request.is_error and request.step is Step.CREATE)
        for job, reason in tended.gone:
            self._had_to_go(job, reason)
        if tended.body_cap is not None:
            self._body_cap = max(min(tended.body_cap, self._body_cap), SMALLEST_CAP)

    def count_dropped(self, request: Parcel, reason: str) -> None:
        """Count the spans, or the score, of a request that is given up."""
        self._ledger.dropped(reason, request.span_count)
        if request.step is Step.SCORE:
            self._ledger.score_dropped(reason)

    def too_large(self, size: int) -> int:
        """Halve the bound on bodies, because one of this size was refused; return the new bound."""
        self._body_cap = max(min(size, self._body_cap) // 2, SMALLEST_CAP)
        self._outbox.remember_cap(self._body_cap)
        return self._body_cap

    def opened(self, job: Job, now: float) -> bool:
        """Load the job's content into memory; return False if the job must wait or was split."""
        if (job.request.packed or job.request.is_bare) and not self._outbox.open(job, now):
            return False
        if job.request.trace_id in self.orphans.ids:
            self._outbox.finish(job, now)
            self.put(job.request, now)
            return False
        if job.size > self._body_cap and len(pieces := fit(job.request, self._body_cap)) > 1:
            self._outbox.replace(job, pieces, now)
            return False
        return True

    def left_to_errors(self, job: Job, now: float) -> int:
        """Return the tokens that the job may not take, while more traces wait than can be sent in a minute.

        Under overload, every token is lent, and a new error would wait up to a minute for one. So other traces leave a
        few tokens. They lose that part of the limit while errors come, and nothing otherwise.
        """
        while self._errors and self._errors[0] < now - _ERRORS_COUNT_S:
            self._errors.popleft()
        if job.request.is_error or not self._errors or self._outbox.schedule.waiting_for_tokens < _OVERLOAD:
            return 0
        return _FEWEST_RESERVED + len(self._errors) // _ERRORS_PER_TOKEN

    def fate(self, job: Job, waited_s: float, now: float, *, is_strange: bool, closing: bool) -> Fate:
        """Decide about a job whose root has been missing for `waited_s`.

        `is_strange`: roots above spans of this name never arrive. Under overload, the root's process may have left the
        trace out because of its id's randomness; then all other processes leave it out too.
        """
        request = job.request
        cut = self._bucket.publish_cutoff(self.sampler.others.cut, now)
        if job.looks == 0:  # the decision of the root's process at that time applies
            job.is_below_cut = not request.is_error and randomness_of_uuid(request.trace_id) < cut
        job.looks += 1
        job.saw_overload |= cut > 0
        if not (is_strange or closing or waited_s >= ADOPT_AFTER_S):
            return Fate.WAIT
        if job.is_below_cut and not self._outbox.keeps_all:
            return Fate.LEAVE_OUT
        if is_strange:  # no other process decides
            return Fate.ADOPT if self._chance(request, now) else Fate.LEAVE_OUT
        return Fate.WAIT if job.saw_overload and not closing and waited_s < ADOPT_LATE_S else Fate.ADOPT

    @staticmethod
    def look_again_s(job: Job) -> float:
        """Return the seconds until the next look-up of the job's trace."""
        return LOOK_BELOW_CUT_S if job.is_below_cut else min(FIRST_LOOK_S * 2 ** (job.attempts - 1), _LAST_LOOK_S)

    def _chance(self, request: Parcel, now: float) -> float:
        sampler, waiting = self.sampler, self._outbox.schedule.waiting_for_tokens
        if self._outbox.keeps_all or not waiting:
            return sampler.calm(request, now)
        blocked, fill = self.is_blocked(now), self._outbox.fill
        chance = sampler.chance(request, waiting=waiting, fill=fill, blocked=blocked, now=now)
        if sampler.others.cut:
            self._bucket.publish_cutoff(sampler.others.cut, now)
        return chance

    def _evicted(self, gone: list[tuple[Job, str]], now: float) -> None:
        unposted = {job.request.trace_id for job, _ in gone if _is_unposted(job)}
        for job, reason in gone:
            is_end = job.request.step is Step.FINISH and job.request.trace_id not in unposted
            if not is_end or job.request.is_bare:  # an end that was only on disk no longer exists
                self._had_to_go(job, reason)
                continue
            # Some of its spans are lost and counted, but the trace is over nevertheless.
            for other, why in self._outbox.put(job.request, now):
                self._had_to_go(other, why)

    def _had_to_go(self, job: Job, reason: str) -> None:
        self.count_dropped(job.request, reason)
        if job.request.step is Step.CREATE:
            self.attached.evicted(job.request)
        if _is_unposted(job):
            self.sampler.leave_out(job.request.trace_id)
        self._notices.report(reason)


def _is_unposted(job: Job) -> bool:
    """Return whether the job's trace cannot be on the server, so that nothing more of it needs to be sent."""
    return job.request.step is Step.CREATE and not job.in_doubt


class Orphans:
    """Adopted traces. Not thread-safe: the policy calls it under its lock."""

    def __init__(self, project: str) -> None:
        self._project = project
        self.ids: OrderedDict[str, str] = OrderedDict()
        """Derived id of each adopted trace."""
        self._is_posted: dict[str, bool] = {}
        """True for each derived id under which the server has accepted a create."""
        self._in_a_row: Counter[str] = Counter()

    def has_strange_root(self, request: Parcel) -> bool:
        """Return whether the last roots above spans of this name never came: their processes do not send spans here."""
        return self._in_a_row[request.name] >= STRANGER_AFTER_ADOPTIONS

    def adopted(self, request: Parcel) -> None:
        """Note that the request's trace is a separate trace from now on."""
        self._in_a_row[request.name] += 1
        derived = adopted_id(request.trace_id, self._project)
        self.ids[request.trace_id] = derived
        self._is_posted.setdefault(derived, False)
        if len(self.ids) > _REMEMBERED_ADOPTIONS:
            _, oldest = self.ids.popitem(last=False)
            del self._is_posted[oldest]

    def is_first_post(self, trace_id: str) -> bool:
        """Note an accepted create; return False if an earlier create of the same adopted trace was accepted."""
        is_posted = self._is_posted.get(trace_id)
        if is_posted is None:
            return True
        self._is_posted[trace_id] = True
        return not is_posted

    def found(self, request: Parcel) -> None:
        """Note that the root above a request was on the server."""
        self._in_a_row.pop(request.name, None)
