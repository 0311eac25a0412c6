"""Admission control under overload, and decisions about spans whose root is in another process."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from pandaprobe_otel.delivery.attached_metadata import with_chance
from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.job import Job
from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.delivery.randomness import randomness_of_uuid
from pandaprobe_otel.delivery.tail_sampler import TailSampler

ADOPT_AFTER_S: Final = 300.0
"""Time for the root's process to post a trace. After that, the trace's other spans become a trace of their own."""
ADOPT_LATE_S: Final = 3600.0
"""Value of `ADOPT_AFTER_S` after an overload of the fleet: the trace may wait for a token in the other process."""
FIRST_LOOK_S: Final = 0.5
"""Delay of the first look-up. An idle server stores an accepted trace within this time (measured: 0.15 to 0.5 s)."""
LOOK_BELOW_CUT_S: Final = 150.0
"""Delay of a look-up of a trace that was probably left out (unless it failed elsewhere): two more look-ups suffice."""
_LAST_LOOK_S: Final = 60.0


class Fate(Enum):
    """Decision about spans whose root is in another process and not on the server."""

    WAIT = auto()
    ADOPT = auto()
    LEAVE_OUT = auto()


class Admission:
    """Admission of requests to the outbox. Not thread-safe: the policy calls it under its lock.

    Times are monotonic, in seconds. blocked: returns whether a cause other than the budget prevents sending now. If the
    outbox keeps everything, everything is admitted.
    """

    def __init__(self, bucket: LeasedBucket, outbox: Outbox, blocked: Callable[[float], bool]) -> None:
        self._bucket = bucket
        self._outbox = outbox
        self._keeps_all = outbox.keeps_all
        self._blocked = blocked
        self.sampler = TailSampler(outbox.patience_min)

    def admit(self, request: OutgoingRequest, now: float) -> OutgoingRequest | None:
        """Return the request to send, or None if its trace is left out."""
        if not request.is_remote and self.sampler.is_left_out(request.trace_id):
            return None
        if request.step is not Step.CREATE:
            return request
        request = self.sampler.marked(request)
        chance = self._chance(request, now)
        if not chance:
            self.sampler.left_out(request.trace_id)
            return None
        return with_chance(request, chance)

    def fate(self, job: Job, waited_s: float, now: float, *, is_strange: bool, closing: bool) -> Fate:
        """Decide about a job whose root has been missing for `waited_s`.

        `is_strange`: roots above spans of this name never arrive. Under overload, the root's process may have left the
        trace out because of its id's randomness; then all other processes leave it out too.
        """
        request = job.request
        cut = self._bucket.publish_cutoff(self.sampler.cut, now)
        if job.looks == 0:  # the decision of the root's process at that time applies
            job.is_below_cut = not request.is_error and randomness_of_uuid(request.trace_id) < cut
        job.looks += 1
        job.saw_overload |= cut > 0
        if not (is_strange or closing or waited_s >= ADOPT_AFTER_S):
            return Fate.WAIT
        if job.is_below_cut and not self._keeps_all:
            return Fate.LEAVE_OUT
        if is_strange:  # no other process decides
            return Fate.ADOPT if self._chance(request, now) else Fate.LEAVE_OUT
        return Fate.WAIT if job.saw_overload and not closing and waited_s < ADOPT_LATE_S else Fate.ADOPT

    @staticmethod
    def look_again_s(job: Job) -> float:
        """Return the seconds until the next look-up of the job's trace."""
        return LOOK_BELOW_CUT_S if job.is_below_cut else min(FIRST_LOOK_S * 2 ** (job.attempts - 1), _LAST_LOOK_S)

    def _chance(self, request: OutgoingRequest, now: float) -> float:
        waiting = self._outbox.schedule.waiting_for_tokens
        if self._keeps_all or not waiting:
            return self.sampler.calm(request, now)
        blocked, fill = self._blocked(now), self._outbox.fill
        chance = self.sampler.chance(request, waiting=waiting, fill=fill, blocked=blocked, now=now)
        if self.sampler.cut:
            self._bucket.publish_cutoff(self.sampler.cut, now)
        return chance
