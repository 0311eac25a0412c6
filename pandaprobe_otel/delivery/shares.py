"""When not every trace can go, each one that goes says for how many it stands, so that counts can be scaled back.

A trace stands for itself and for those of its name (and outcome) that were dropped for want of room since the last
one of that name went: `sample_rate` is one over that number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.delivery.parcel import Parcel

SAMPLE_RATE_KEY: Final = "pandaprobe_otel.sample_rate"
"""Metadata key of the share of such traces that was sent, sampling by `sample_rate` included."""

_MOST_NAMES: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Carried:
    """What a trace on its way says."""

    traces: int
    rate: float


class Shares:
    """Who stands for whom. Not thread-safe: the dispatcher calls it under its lock."""

    def __init__(self) -> None:
        self._unsent: dict[tuple[bool, str], int] = {}
        self._carried: dict[str, _Carried] = {}

    def evicted(self, parcel: Parcel) -> None:
        """The trace was dropped for want of room; the next of its name stands for it too."""
        carried = self._carried.pop(parcel.trace_id, None)
        self._add(parcel, carried.traces if carried is not None else 1)

    def gone(self, parcel: Parcel) -> None:
        """The trace was dropped for a reason of its own; those for which it stood still need another."""
        carried = self._carried.pop(parcel.trace_id, None)
        if carried is not None:
            self._add(parcel, carried.traces - 1)

    def arrived(self, parcel: Parcel) -> None:
        """The trace was delivered."""
        self._carried.pop(parcel.trace_id, None)

    def attach(self, parcel: Parcel) -> Parcel:
        """The parcel with its share; the same parcel when it stands for no other."""
        unsent = self._unsent.pop(_key(parcel), 0)
        if not unsent:
            return parcel
        fields: dict[str, Any] = orjson.loads(parcel.fields)
        metadata = fields.get("metadata")
        kept = cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else dict[str, Any]()
        before = self._carried.get(parcel.trace_id) or _Carried(traces=1, rate=float(kept.get(SAMPLE_RATE_KEY, 1.0)))
        carried = replace(before, traces=before.traces + unsent)
        self._carried[parcel.trace_id] = carried
        fields["metadata"] = {**kept, SAMPLE_RATE_KEY: carried.rate / carried.traces}
        return replace(parcel, fields=orjson.dumps(fields))

    def _add(self, parcel: Parcel, traces: int) -> None:
        key = _key(parcel)
        if key not in self._unsent and len(self._unsent) >= _MOST_NAMES:
            oldest = next(iter(self._unsent))  # names that hold an id, say: one of them stands for another
            traces += self._unsent.pop(oldest)
        self._unsent[key] = self._unsent.get(key, 0) + traces


def _key(parcel: Parcel) -> tuple[bool, str]:
    return parcel.is_error, parcel.name
