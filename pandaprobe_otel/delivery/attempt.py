"""One request that is about to go out for a job."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from pandaprobe_otel.delivery.budget import REQUEST_TIMEOUT_S, Lease
from pandaprobe_otel.delivery.outbox import Job
from pandaprobe_otel.transport.messages import Request

_MOST_READ: Final = 128 << 10
"""Bytes of an answer: of an error's, five hundred refused fields are 75 KB; of a success nothing is read."""
_MOST_LOOKED_AT: Final = 16 << 20
"""Bytes of a trace that is looked at. Of a larger one it cannot be told which spans it has."""


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
        most_read = _MOST_LOOKED_AT if self.is_check else _MOST_READ
        asked = Request(method=self.method, path=self.path, body=self._body(), timeout_s=timeout_s, most_read=most_read)
        return asked if self.lease is None else replace(asked, time_left_s=self.lease.time_left_s)

    @property
    def method(self) -> str:
        """HTTP method of the request."""
        return "GET" if self.is_check else self.job.parcel.method

    @property
    def path(self) -> str:
        """Path of the request below the endpoint."""
        return f"/traces/{self.job.parcel.trace_id}" if self.is_check else self.job.parcel.path

    def _body(self) -> bytes | None:
        return None if self.is_check else self.job.parcel.body()
