"""Traces adopted because another process never posted their root, and span names for which that is the rule."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import replace
from typing import Final

from pandaprobe_otel.delivery.parcel import Parcel, adopted_id

STRANGER_AFTER_ADOPTIONS: Final = 3
_REMEMBERED_ADOPTIONS: Final = 10_000


class Orphans:
    """The adopted traces. Not thread-safe: the dispatcher calls it under its lock."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._adopted: OrderedDict[str, None] = OrderedDict()
        self._in_a_row: Counter[str] = Counter()

    def followed(self, parcel: Parcel) -> Parcel:
        """Return the parcel, under the derived id if its trace was adopted.

        This includes a root that reaches a gateway after that.
        """
        if parcel.trace_id not in self._adopted:
            return parcel
        derived = adopted_id(parcel.trace_id, self._project)
        fields = parcel.fields.replace(parcel.trace_id.encode(), derived.encode(), 1)
        return replace(parcel, trace_id=derived, fields=fields, is_remote=False)

    def has_strange_root(self, parcel: Parcel) -> bool:
        """Return whether the last roots above spans of this name never came: their processes do not report to us."""
        return self._in_a_row[parcel.name] >= STRANGER_AFTER_ADOPTIONS

    def adopted(self, parcel: Parcel) -> None:
        """Note that the parcel's trace is a trace of its own from now on."""
        self._in_a_row[parcel.name] += 1
        self._adopted[parcel.trace_id] = None
        if len(self._adopted) > _REMEMBERED_ADOPTIONS:
            self._adopted.popitem(last=False)

    def found(self, parcel: Parcel) -> None:
        """Note that the root above a parcel was on the server."""
        self._in_a_row.pop(parcel.name, None)
