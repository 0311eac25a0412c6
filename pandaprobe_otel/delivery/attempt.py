"""One request that is about to go out for a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pandaprobe_otel.delivery.budget import Lease
from pandaprobe_otel.delivery.outbox import Job
from pandaprobe_otel.transport.messages import Request

REQUEST_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A request for a job. `is_check` only looks whether the trace is there.

    A check comes before a create whose outcome is unknown is sent again, before a score, and (`is_audit`) some time
    after a trace was accepted.
    """

    job: Job
    lease: Lease | None = None
    is_check: bool = False
    is_audit: bool = False

    def request(self, timeout_s: float = REQUEST_TIMEOUT_S) -> Request:
        """The HTTP request of this attempt."""
        parcel = self.job.parcel
        if self.is_check:
            return Request(method="GET", path=f"/traces/{parcel.trace_id}", timeout_s=timeout_s)
        return Request(method=parcel.method, path=parcel.path, body=parcel.body(), timeout_s=timeout_s)
