"""What a trace that goes says in its metadata of those that did not: for how many it stands, and what was dropped."""

from __future__ import annotations

from collections.abc import Mapping

from pandaprobe_otel.delivery.drop_report import DropReport
from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.delivery.shares import Shares


class InBand:
    """`Shares` and `DropReport` as one. Not thread-safe: the dispatcher calls it under its lock."""

    def __init__(self) -> None:
        self._shares = Shares()
        self._report = DropReport()

    @property
    def has_something(self) -> bool:
        """Whether there is something to say, or a trace on its way that says something."""
        return self._shares.is_in_use or self._report.is_in_use

    def attach(self, parcel: Parcel, dropped: Mapping[str, int]) -> Parcel:
        """The parcel with what it has to say; the same parcel when that is nothing."""
        return self._shares.attach(self._report.attach(parcel, dropped))

    def arrived(self, parcel: Parcel) -> None:
        """The trace was delivered, and with it what it carried."""
        self._report.arrived(parcel.trace_id)
        self._shares.arrived(parcel)

    def gone(self, parcel: Parcel) -> None:
        """The trace was dropped for a reason of its own; others have to carry what it carried."""
        self._report.gone(parcel.trace_id)
        self._shares.gone(parcel)

    def evicted(self, parcel: Parcel) -> None:
        """The trace was dropped for want of room: the next of its kind stands for it too."""
        self._report.gone(parcel.trace_id)
        self._shares.evicted(parcel)
