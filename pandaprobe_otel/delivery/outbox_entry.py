"""Entry of requests into the outbox: admission, splitting by size, and counting of evicted requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from pandaprobe_otel.delivery.admission import Admission
from pandaprobe_otel.delivery.attached_metadata import AttachedMetadata
from pandaprobe_otel.delivery.body_splitting import SMALLEST_CAP, fit
from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.job import Job
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.log_causes import Causes
from pandaprobe_otel.delivery.orphans import Orphans
from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.delivery.store import Tended

_FEWEST_RESERVED: Final = 5
_MOST_RESERVED: Final = 20
_OVERLOAD: Final = 100
"""Number of waiting traces above which sending them takes more than a minute."""
_ERRORS_COUNT_S: Final = 600.0
_ERRORS_PER_TOKEN: Final = 40
"""Number of errors within ten minutes (four a minute) that reserve one more token."""
LARGEST_BODY: Final = 4 << 20
"""Bytes of a request until a server refuses this size. The server has no bound, but lags behind with large bodies."""


class OutboxEntry:
    """Requests from the app or from the disk. Not thread-safe: the policy calls it under its lock."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        bucket: LeasedBucket,
        ledger: Ledger,
        causes: Causes,
        project: str,
        blocked: Callable[[float], bool],
    ) -> None:
        self._outbox = outbox
        self._ledger = ledger
        self._causes = causes
        self._errors: deque[float] = deque(maxlen=(_MOST_RESERVED - _FEWEST_RESERVED) * _ERRORS_PER_TOKEN)
        """Times at which traces with an error came."""
        self._body_cap = LARGEST_BODY
        self.admission = Admission(bucket, outbox, blocked)
        self.attached = AttachedMetadata()
        self.orphans = Orphans(project)
        self.repeated: set[str] = set()
        """Traces that are posted once more, because the server has lost them."""

    def offer(self, request: OutgoingRequest, now: float) -> None:
        """Take over a new request, unless its trace is left out: see `TailSampler`."""
        admitted = self.admission.admit(request, now)
        if admitted is None:
            self.count_dropped(request, "overload")
            self._causes.overload()
        else:
            self.put(admitted, now)

    def put(self, request: OutgoingRequest, now: float) -> None:
        """Take over a request, split into parts that the server accepts."""
        request = self.orphans.followed(request)
        if request.step is Step.CREATE and request.is_error:
            self._errors.append(now)
        pieces = request.split()
        if request.size > self._body_cap:
            pieces = tuple(small for piece in pieces for small in fit(piece, self._body_cap))
        for piece in pieces:
            if gone := self._outbox.put(piece, now):
                self._evicted(gone, now)

    def repeat(self, request: OutgoingRequest, now: float) -> None:
        """Take over an accepted trace that the server has lost."""
        self._ledger.undelivered(len(request.spans))
        self.repeated.add(request.trace_id)
        self.put(request, now)

    def tended(self, tended: Tended, now: float) -> None:
        """Take over the requests of other processes, and count the jobs that are gone."""
        self._ledger.ended(sum(found.request.span_count for found in tended.found) + tended.damaged_spans)
        self._ledger.dropped("spool_damaged", tended.damaged_spans)
        for found in tended.found:
            if found.request.is_error and found.request.step is Step.CREATE:
                self._errors.append(now)
        for job, reason in tended.gone:
            self._had_to_go(job, reason)
        if tended.body_cap is not None:
            self._body_cap = max(min(tended.body_cap, self._body_cap), SMALLEST_CAP)

    def count_dropped(self, request: OutgoingRequest, reason: str) -> None:
        """Count the spans, or the score, of a request that is given up."""
        self._ledger.dropped(reason, request.span_count)
        if request.step is Step.CREATE:
            self.repeated.discard(request.trace_id)
        if request.step is Step.SCORE:
            self._ledger.score_dropped(reason)

    def too_large(self, size: int) -> int:
        """Halve the bound on bodies, because one of this size was refused; return the new bound."""
        self._body_cap = max(min(size, self._body_cap) // 2, SMALLEST_CAP)
        self._outbox.remember_cap(self._body_cap)
        return self._body_cap

    def opened(self, job: Job, now: float) -> bool:
        """Load the job's content into memory; return False if the job must wait or was split."""
        if not self._outbox.open(job, now):
            return False
        if self.orphans.followed(job.request) is not job.request:
            self._outbox.finish(job, now)
            self.put(job.request, now)
            return False
        if job.request.size > self._body_cap and len(pieces := fit(job.request, self._body_cap)) > 1:
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
            self.admission.sampler.left_out(job.request.trace_id)
        self._causes.had_to_go(reason)


def _is_unposted(job: Job) -> bool:
    """Return whether the job's trace cannot be on the server, so that nothing more of it needs to be sent."""
    return job.request.step is Step.CREATE and not job.in_doubt
