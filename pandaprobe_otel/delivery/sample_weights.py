"""Weights of sent traces: the number of traces that each represents, so that counts can be scaled back.

The weight is one over `sample_rate`. For traces admitted by chance, `sample_rate` is the probability. A later drop for
lack of room is not by chance, so the next trace of its kind gets the dropped trace's weight. Traces are of one kind if
they have the same name and agree in having an error and in being slow.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest

SAMPLE_RATE_KEY: Final = "pandaprobe_otel.sample_rate"
"""Metadata key of the share of such traces that is sent, including sampling by the setting `sample_rate`."""

_MOST_NAMES: Final = 10_000

_Kind = tuple[bool, bool, str]


class SampleWeights:
    """Weights of dropped and sent traces. Not thread-safe: the policy calls it under its lock."""

    def __init__(self) -> None:
        self._unsent: dict[_Kind, float] = {}
        self._carried: dict[str, float] = {}
        """Weight that each trace under way carries in addition to its own."""

    @property
    def is_in_use(self) -> bool:
        """True if a trace represents others, or will."""
        return bool(self._unsent or self._carried)

    def evicted(self, request: OutgoingRequest) -> None:
        """Add the weight of a trace that was dropped for lack of room to the next trace of its kind."""
        self._add(request, 1.0 / request.sample_rate + self._carried.pop(request.trace_id, 0.0))

    def gone(self, request: OutgoingRequest) -> None:
        """Pass on the additional weight of a trace that was dropped for another reason."""
        carried = self._carried.pop(request.trace_id, 0.0)
        if carried:
            self._add(request, carried)

    def arrived(self, request: OutgoingRequest) -> None:
        """Forget the additional weight of a delivered trace."""
        self._carried.pop(request.trace_id, None)

    def attach(self, request: OutgoingRequest) -> OutgoingRequest:
        """Return the request with its weight; the same request if it represents no other trace."""
        unsent = self._unsent.pop(_kind(request), 0.0)
        if not unsent:
            return request
        carried = self._carried.get(request.trace_id, 0.0) + unsent
        self._carried[request.trace_id] = carried
        return _told(request, 1.0 / (1.0 / request.sample_rate + carried))

    def _add(self, request: OutgoingRequest, traces: float) -> None:
        kind = _kind(request)
        if kind not in self._unsent and len(self._unsent) >= _MOST_NAMES:
            oldest = next(iter(self._unsent))  # names may contain ids, so another name takes over the weight
            traces += self._unsent.pop(oldest)
        self._unsent[kind] = self._unsent.get(kind, 0.0) + traces


def with_chance(request: OutgoingRequest, chance: float) -> OutgoingRequest:
    """Return the request of a trace that was admitted with this probability.

    If the same randomness has sampled the trace before, the smaller probability applies to both samplings together.
    """
    return request if chance >= request.sample_rate else replace(_told(request, chance), sample_rate=chance)


def _told(request: OutgoingRequest, rate: float) -> OutgoingRequest:
    fields: dict[str, Any] = orjson.loads(request.fields)
    metadata = fields.get("metadata")
    kept = cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else dict[str, Any]()
    fields["metadata"] = {**kept, SAMPLE_RATE_KEY: rate}
    return replace(request, fields=orjson.dumps(fields))


def _kind(request: OutgoingRequest) -> _Kind:
    return request.is_error, request.is_slow, request.name
