"""Sampling weights and drop counts, attached to the metadata of sent traces."""

from __future__ import annotations

from collections.abc import Mapping

from pandaprobe_otel.delivery.drop_report import DropReport
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest
from pandaprobe_otel.delivery.sample_weights import SampleWeights


class AttachedMetadata:
    """`SampleWeights` and `DropReport` combined. Not thread-safe: the policy calls it under its lock."""

    def __init__(self) -> None:
        self._weights = SampleWeights()
        self._report = DropReport()

    @property
    def has_something(self) -> bool:
        """True if there are values to attach, or a trace under way carries some."""
        return self._weights.is_in_use or self._report.is_in_use

    def attach(self, request: OutgoingRequest, dropped: Mapping[str, int]) -> OutgoingRequest:
        """Return the request with weight and counts; the same request if there are none."""
        return self._weights.attach(self._report.attach(request, dropped))

    def arrived(self, request: OutgoingRequest) -> None:
        """Forget the values that a delivered trace carried."""
        self._report.arrived(request.trace_id)
        self._weights.arrived(request)

    def gone(self, request: OutgoingRequest) -> None:
        """Take back the values that a dropped trace carried, so that other traces carry them."""
        self._report.gone(request.trace_id)
        self._weights.gone(request)

    def evicted(self, request: OutgoingRequest) -> None:
        """Let the next trace of the same kind represent a trace that was dropped for lack of room."""
        self._report.gone(request.trace_id)
        self._weights.evicted(request)
