"""Report of drop counts to PandaProbe: the next trace carries them in its metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest

KEY: Final = "pandaprobe_otel.dropped"
_BY_WISH: Final = frozenset({"filtered", "sampled_out"})
"""Reasons that a setting asks for; these drops are not losses."""


class DropReport:
    """Reported drops, and the traces under way that carry the reports."""

    def __init__(self) -> None:
        self._reported: Counter[str] = Counter()
        self._carried: dict[str, Counter[str]] = {}

    @property
    def is_in_use(self) -> bool:
        """True if a trace under way carries a report."""
        return bool(self._carried)

    def attach(self, request: OutgoingRequest, dropped: Mapping[str, int]) -> OutgoingRequest:
        """Return the request with the counts since the last report; the same request if there are no new ones."""
        new = {
            reason: count - self._reported[reason]
            for reason, count in dropped.items()
            if reason not in _BY_WISH and count > self._reported[reason]
        }
        if not new:
            return request
        self._reported.update(new)
        carried = self._carried.setdefault(request.trace_id, Counter())
        carried.update(new)
        fields: dict[str, Any] = orjson.loads(request.fields)
        metadata = fields.get("metadata")
        kept = cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else dict[str, Any]()
        fields["metadata"] = {**kept, KEY: dict(carried)}
        return replace(request, fields=orjson.dumps(fields))

    def arrived(self, trace_id: str) -> None:
        """Forget the report of a delivered trace."""
        self._carried.pop(trace_id, None)

    def gone(self, trace_id: str) -> None:
        """Take back the report of a dropped trace, so that another trace carries it."""
        self._reported.subtract(self._carried.pop(trace_id, {}))
