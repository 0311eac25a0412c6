"""What was dropped is also told in band: the next trace that goes out carries the counts in its metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.delivery.parcel import Parcel

KEY: Final = "pandaprobe_otel.dropped"
_BY_WISH: Final = frozenset({"filtered", "sampled_out"})
"""Reasons that a setting asked for: they are no loss."""


class DropReport:
    """Knows which drops have been reported, and by which traces that are still on their way."""

    def __init__(self) -> None:
        self._reported: Counter[str] = Counter()
        self._carried: dict[str, Counter[str]] = {}

    @property
    def is_in_use(self) -> bool:
        """Whether a trace on its way carries a report."""
        return bool(self._carried)

    def attach(self, parcel: Parcel, dropped: Mapping[str, int]) -> Parcel:
        """The parcel with the counts since the last report; the same parcel when there is nothing new."""
        new = {
            reason: count - self._reported[reason]
            for reason, count in dropped.items()
            if reason not in _BY_WISH and count > self._reported[reason]
        }
        if not new:
            return parcel
        self._reported.update(new)
        carried = self._carried.setdefault(parcel.trace_id, Counter())
        carried.update(new)
        fields: dict[str, Any] = orjson.loads(parcel.fields)
        metadata = fields.get("metadata")
        kept = cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else dict[str, Any]()
        fields["metadata"] = {**kept, KEY: dict(carried)}
        return replace(parcel, fields=orjson.dumps(fields))

    def arrived(self, trace_id: str) -> None:
        """The trace was delivered, and with it what it carried."""
        self._carried.pop(trace_id, None)

    def gone(self, trace_id: str) -> None:
        """The trace was dropped: another one has to carry its report."""
        self._reported.subtract(self._carried.pop(trace_id, {}))
