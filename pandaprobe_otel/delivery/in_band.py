"""Sampling weights and drop counts, attached to the metadata of sent traces."""

from __future__ import annotations

from collections.abc import Mapping

from pandaprobe_otel.delivery.drop_report import DropReport
from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.delivery.shares import Shares


class InBand:
    """`Shares` and `DropReport` combined. Not thread-safe: the dispatcher calls it under its lock."""

    def __init__(self) -> None:
        self._shares = Shares()
        self._report = DropReport()

    @property
    def has_something(self) -> bool:
        """True if there is something to attach, or a trace under way carries something."""
        return self._shares.is_in_use or self._report.is_in_use

    def attach(self, parcel: Parcel, dropped: Mapping[str, int]) -> Parcel:
        """Return the parcel with weight and counts; the same parcel if there are none to attach."""
        return self._shares.attach(self._report.attach(parcel, dropped))

    def arrived(self, parcel: Parcel) -> None:
        """Forget what a delivered trace carried."""
        self._report.arrived(parcel.trace_id)
        self._shares.arrived(parcel)

    def gone(self, parcel: Parcel) -> None:
        """Return what a dropped trace carried, so that other traces carry it."""
        self._report.gone(parcel.trace_id)
        self._shares.gone(parcel)

    def evicted(self, parcel: Parcel) -> None:
        """Let the next trace of the same kind stand for one that was dropped for lack of room."""
        self._report.gone(parcel.trace_id)
        self._shares.evicted(parcel)
