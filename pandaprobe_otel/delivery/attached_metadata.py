"""Weights and drop counts, attached to the metadata of sent traces.

The weight of a sent trace is the number of traces for which it stands, so that counts can be scaled back; it is one
over `sample_rate`. For traces admitted by chance, `sample_rate` is the probability. A later drop for lack of room is
not by chance, so the weight of the dropped trace is added to the next trace of its kind: one of the same name that
agrees in being an error or not, and slow or not. Drops for any reason are reported by the next trace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest

SAMPLE_RATE_KEY: Final = "pandaprobe_otel.sample_rate"
"""Metadata key for the share of traces of this kind that was sent, including sampling by `sample_rate`."""
_DROPPED_KEY: Final = "pandaprobe_otel.dropped"
_BY_WISH: Final = frozenset({"filtered", "sampled_out"})
"""Reasons for drops that a setting asks for; such drops are not losses."""
_MOST_NAMES: Final = 10_000

_Kind = tuple[bool, bool, str]


class AttachedMetadata:
    """The weights and drop counts that traces under way carry, or that later traces will carry. Not thread-safe: the
    policy calls it.
    """

    def __init__(self) -> None:
        self._unsent: dict[_Kind, float] = {}
        """Weights of dropped traces, which the next traces of their kinds will carry."""
        self._weights: dict[str, float] = {}
        """Weight that each trace under way carries in addition to that of its own probability."""
        self._reported: Counter[str] = Counter()
        self._reports: dict[str, Counter[str]] = {}
        """Drop counts that each trace under way carries."""

    @property
    def has_something(self) -> bool:
        """True if there is a weight to attach, or a trace under way carries something."""
        return bool(self._unsent or self._weights or self._reports)

    def attach(self, request: OutgoingRequest, dropped: Mapping[str, int]) -> OutgoingRequest:
        """Return the request with its weight and the drop counts since the last report; without either, return it
        unchanged.
        """
        new = {
            reason: count - self._reported[reason]
            for reason, count in dropped.items()
            if reason not in _BY_WISH and count > self._reported[reason]
        }
        if new:
            self._reported.update(new)
            report = self._reports.setdefault(request.trace_id, Counter())
            report.update(new)
            request = _told(request, _DROPPED_KEY, dict(report))
        if unsent := self._unsent.pop(_kind(request), 0.0):
            weight = self._weights.get(request.trace_id, 0.0) + unsent
            self._weights[request.trace_id] = weight
            request = _told(request, SAMPLE_RATE_KEY, 1.0 / (1.0 / request.sample_rate + weight))
        return request

    def arrived(self, request: OutgoingRequest) -> None:
        """Forget the weight and the drop counts that a delivered trace carried."""
        self._reports.pop(request.trace_id, None)
        self._weights.pop(request.trace_id, None)

    def gone(self, request: OutgoingRequest) -> None:
        """Release the weight and the drop counts that a dropped trace carried, so that other traces carry them."""
        self._reported.subtract(self._reports.pop(request.trace_id, {}))
        if carried := self._weights.pop(request.trace_id, 0.0):
            self._add(request, carried)

    def evicted(self, request: OutgoingRequest) -> None:
        """Let the next trace of the same kind also stand for one that was dropped for lack of room."""
        self.gone(request)
        self._add(request, 1.0 / request.sample_rate)

    def _add(self, request: OutgoingRequest, traces: float) -> None:
        kind = _kind(request)
        if kind not in self._unsent and len(self._unsent) >= _MOST_NAMES:
            oldest = next(iter(self._unsent))  # names may contain ids: another name takes over the weight
            traces += self._unsent.pop(oldest)
        self._unsent[kind] = self._unsent.get(kind, 0.0) + traces


def with_chance(request: OutgoingRequest, chance: float) -> OutgoingRequest:
    """Return the request of a trace that was admitted with this probability.

    If the trace was sampled before by the same randomness, the smaller of the two probabilities applies to both
    samplings together.
    """
    if chance >= request.sample_rate:
        return request
    return replace(_told(request, SAMPLE_RATE_KEY, chance), sample_rate=chance)


def _told(request: OutgoingRequest, key: str, value: object) -> OutgoingRequest:
    fields: dict[str, Any] = orjson.loads(request.fields)
    metadata = fields.get("metadata")
    kept = cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else dict[str, Any]()
    fields["metadata"] = {**kept, key: value}
    return replace(request, fields=orjson.dumps(fields))


def _kind(request: OutgoingRequest) -> _Kind:
    return request.is_error, request.is_slow, request.name
