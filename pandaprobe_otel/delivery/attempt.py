"""A single request for a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pandaprobe_otel.delivery.budget import REQUEST_TIMEOUT_S, Lease
from pandaprobe_otel.delivery.job import Job
from pandaprobe_otel.transport.request_outcome import Request, for_ever

_MOST_READ: Final = 128 << 10
"""Bound on the bytes of an answer. An error with five hundred refused fields takes 75 KB; a success is not read."""
_MOST_LOOKED_AT: Final = 16 << 20
"""Bound on the bytes of a looked-up trace. If a trace is larger, its spans cannot be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A request for a job. With `is_check`, it only looks up whether the server has the trace.

    A check comes before a score, and before repeating a create with an unknown outcome. With `is_audit`, it comes
    some time after a trace was accepted.
    """

    job: Job
    lease: Lease | None = None
    is_check: bool = False
    is_audit: bool = False

    def request(self, timeout_s: float = REQUEST_TIMEOUT_S) -> Request:
        """Return the HTTP request of this attempt."""
        return Request(
            method=self.method,
            path=self.path,
            body=None if self.is_check else self.job.request.body(),
            timeout_s=timeout_s,
            most_read=_MOST_LOOKED_AT if self.is_check else _MOST_READ,
            time_left_s=for_ever if self.lease is None else self.lease.time_left_s,
        )

    @property
    def method(self) -> str:
        """HTTP method of the request."""
        return "GET" if self.is_check else self.job.request.method

    @property
    def path(self) -> str:
        """Path of the request below the endpoint."""
        return f"/traces/{self.job.request.trace_id}" if self.is_check else self.job.request.path
