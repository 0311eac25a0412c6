"""Who is let in to wait for a token, and what the processes of a fleet know of that about each other."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.outbox import Job, Outbox
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.randomness import randomness_of_uuid
from pandaprobe_otel.delivery.shares import with_chance
from pandaprobe_otel.delivery.tail_sampler import TailSampler

ADOPT_AFTER_S: Final = 300.0
"""How long the root's process has to post a trace before its other spans become a trace of their own."""
ADOPT_LATE_S: Final = 3600.0
"""The same when the fleet was overloaded meanwhile, since the trace may be waiting for a token there."""
FIRST_LOOK_S: Final = 0.5
"""After this time an accepted trace is there when the server is idle (measured 0.15 to 0.5 s)."""
LOOK_BELOW_CUT_S: Final = 150.0
"""Where it is most likely not to come (but for an error elsewhere, say), two more looks have to do."""
_LAST_LOOK_S: Final = 60.0


class Fate(Enum):
    """What becomes of spans whose root is in another process, and not there."""

    WAIT = auto()
    ADOPT = auto()
    LEAVE_OUT = auto()


class Admission:
    """Not thread-safe: the dispatcher calls it under its lock. Times are monotonic, in seconds.

    blocked: whether nothing can be sent now, for another cause than the budget.
    """

    def __init__(self, bucket: LeasedBucket, outbox: Outbox, blocked: Callable[[float], bool]) -> None:
        self._bucket = bucket
        self._outbox = outbox
        self._blocked = blocked
        self._sampler = TailSampler(outbox.patience_min)

    @property
    def kept_share(self) -> float:
        """The chance with which a trace without a claim is let through; 1 without overload."""
        return 1.0 - self._sampler.cut

    def admit(self, parcel: Parcel, now: float) -> Parcel | None:
        """The parcel as it is to be sent; None when its trace is left out."""
        if not parcel.is_remote and self._sampler.is_left_out(parcel.trace_id):
            return None
        if parcel.step is not Step.CREATE:
            return parcel
        parcel = self._sampler.marked(parcel)
        chance = self._chance(parcel, now)
        if not chance:
            self._sampler.left_out(parcel.trace_id)
            return None
        return with_chance(parcel, chance)

    def sent(self) -> None:
        """A trace took a token."""
        self._sampler.sent()

    def evicted(self, trace_id: str) -> None:
        """The trace had to go for want of room: what comes for it later is of no use."""
        self._sampler.left_out(trace_id)

    def fate(self, job: Job, waited_s: float, now: float, *, is_strange: bool, closing: bool) -> Fate:
        """Of a job whose root has not been there for so long. `is_strange`: roots above this name never come.

        Under overload the root's process may have left the trace out, by the randomness of its id: then so do all.
        """
        parcel = job.parcel
        cut = self._bucket.agree(self._sampler.cut, now)
        if job.looks == 0:  # what counts is what the root's process did then
            job.is_below_cut = not parcel.is_error and randomness_of_uuid(parcel.trace_id) < cut
        job.looks += 1
        job.saw_overload |= cut > 0
        if not (is_strange or closing or waited_s >= ADOPT_AFTER_S):
            return Fate.WAIT
        if job.is_below_cut:
            return Fate.LEAVE_OUT
        if is_strange:  # nobody else decides
            return Fate.ADOPT if self._chance(parcel, now) else Fate.LEAVE_OUT
        return Fate.WAIT if job.saw_overload and not closing and waited_s < ADOPT_LATE_S else Fate.ADOPT

    @staticmethod
    def look_again_s(job: Job) -> float:
        """When to look again whether the job's trace is there."""
        return LOOK_BELOW_CUT_S if job.is_below_cut else min(FIRST_LOOK_S * 2 ** (job.attempts - 1), _LAST_LOOK_S)

    def _chance(self, parcel: Parcel, now: float) -> float:
        waiting, fill = self._outbox.waiting_for_tokens, self._outbox.fill
        chance = self._sampler.chance(parcel, waiting=waiting, fill=fill, blocked=self._blocked(now), now=now)
        if self._sampler.cut:
            self._bucket.agree(self._sampler.cut, now)
        return chance
