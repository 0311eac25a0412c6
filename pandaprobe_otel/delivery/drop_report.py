"""What was dropped is also told in band: the next trace that goes out carries the counts in its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.delivery.parcel import Parcel

KEY: Final = "pandaprobe_otel.dropped"
_BY_WISH: Final = frozenset({"filtered", "sampled_out"})
"""Reasons that a setting asked for: they are no loss."""


class DropReport:
    """Knows which drops have been reported."""

    def __init__(self) -> None:
        self._reported: dict[str, int] = {}

    def attach(self, parcel: Parcel, dropped: Mapping[str, int]) -> Parcel:
        """The parcel with the counts since the last report; the same parcel when there is nothing new."""
        new = {
            reason: count - self._reported.get(reason, 0)
            for reason, count in dropped.items()
            if reason not in _BY_WISH and count > self._reported.get(reason, 0)
        }
        if not new:
            return parcel
        self._reported.update({reason: dropped[reason] for reason in new})
        fields: dict[str, Any] = orjson.loads(parcel.fields)
        metadata = fields.get("metadata")
        kept = cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else dict[str, Any]()
        fields["metadata"] = {**kept, KEY: new}
        return replace(parcel, fields=orjson.dumps(fields))
