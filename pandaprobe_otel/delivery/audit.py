"""Later look-up of a sample of accepted traces. Missing traces are sent again.

The server answers 202 before it stores a trace, and does not report if storing fails (measured: a worker gives up
after about 15 s). A look-up is free. Only a lost trace is billed again.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final
from zlib import crc32

from pandaprobe_otel.delivery.job import Job
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest

LOOK_AFTER_S: Final = 20.0
LOOK_AGAIN_AFTER_S: Final = 60.0
"""A trace that is missing at the first look-up may still wait in the server's queue."""
MAX_BYTES: Final = 8 << 20


class Audit:
    """Traces to look up. Not thread-safe: the policy calls it under its lock."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._planned: deque[tuple[float, Job]] = deque()
        """Times of look-ups, in order, and their traces."""
        self._looking: Job | None = None
        self._bytes = 0

    def accepted(self, request: OutgoingRequest, now: float) -> None:
        """Keep an accepted create for a later look-up, if it is in the sample and there is room."""
        in_sample = crc32(request.trace_id.encode()) < self._share * (1 << 32)
        if in_sample and self._bytes + request.size <= MAX_BYTES:
            self._planned.append((now + LOOK_AFTER_S, Job(request)))
            self._bytes += request.size

    def next_due(self) -> float:
        """Return the time of the next look-up; infinity if none is planned or one is under way."""
        return self._planned[0][0] if self._planned and self._looking is None else math.inf

    def next(self, now: float) -> Job | None:
        """Return the trace to look up now."""
        if self.next_due() > now:
            return None
        _, self._looking = self._planned.popleft()
        return self._looking

    def found(self) -> None:
        """Forget the trace: the server has it."""
        if self._looking is not None:
            self._bytes -= self._looking.request.size
        self._looking = None

    def missing(self, now: float) -> OutgoingRequest | None:
        """Plan another look-up of the missing trace. After the second one, return the trace to be sent again."""
        job = self._looking
        if job is None:
            return None
        job.looks += 1
        if job.looks == 1:
            self.unknown(now)
            return None
        self.found()
        return job.request

    def unknown(self, now: float) -> None:
        """Plan another look-up, because no answer showed whether the server has the trace."""
        job, self._looking = self._looking, None
        if job is not None:
            due = now + LOOK_AGAIN_AFTER_S
            index = next((i for i, (other, _) in enumerate(self._planned) if other > due), len(self._planned))
            self._planned.insert(index, (due, job))
