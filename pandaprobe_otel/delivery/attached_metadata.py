"""Weights and drop counts, attached to the metadata of sent traces.

The weight of a sent trace is the number of traces for which it stands, so that counts can be scaled back; it is one
over `sample_rate`. For traces admitted by chance, `sample_rate` is the probability. A later drop for lack of room is
not by chance, so the weight of the dropped trace is added to the next trace of its kind: one of the same name that
agrees in being an error or not, and slow or not. Drops for any reason are reported by the next trace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.delivery.parcel import Parcel

SAMPLE_RATE_KEY: Final = "pandaprobe_otel.sample_rate"
"""Metadata key for the share of traces of this kind that was sent, including sampling by `sample_rate`."""
_DROPPED_KEY: Final = "pandaprobe_otel.dropped"
_BY_WISH: Final = frozenset({"filtered", "sampled_out"})
"""Reasons for drops that a setting asks for; such drops are not losses."""
_MOST_NAMES: Final = 10_000

_Kind = tuple[bool, bool, str]


@dataclass(slots=True)
class _Carried:
    weight: float = 0.0
    """Weight of the trace in addition to that of its own probability."""
    dropped: Counter[str] = field(default_factory=Counter[str])


class AttachedMetadata:
    """The weights and drop counts that traces under way carry, or that later traces will carry. Not thread-safe: the
    policy calls it.
    """

    def __init__(self) -> None:
        self.unsent: dict[_Kind, float] = {}
        """Weights of dropped traces, which the next traces of their kinds will carry."""
        self.carried: dict[str, _Carried] = {}
        """Metadata of traces under way. An entry is removed when its trace is delivered."""
        self._reported: Counter[str] = Counter()

    def attach(self, request: Parcel, dropped: Mapping[str, int]) -> Parcel:
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
            carried = self.carried.setdefault(request.trace_id, _Carried())
            carried.dropped.update(new)
            request = _with_value(request, _DROPPED_KEY, dict(carried.dropped))
        if unsent := self.unsent.pop(_kind(request), 0.0):
            carried = self.carried.setdefault(request.trace_id, _Carried())
            carried.weight += unsent
            request = _with_value(request, SAMPLE_RATE_KEY, 1.0 / (1.0 / request.sample_rate + carried.weight))
        return request

    def gone(self, request: Parcel) -> None:
        """Release the weight and the drop counts that a dropped trace carried, so that other traces carry them."""
        carried = self.carried.pop(request.trace_id, None)
        if carried is not None:
            self._reported.subtract(carried.dropped)
            if carried.weight:
                self._add(request, carried.weight)

    def evicted(self, request: Parcel) -> None:
        """Let the next trace of the same kind also stand for one that was dropped for lack of room."""
        self.gone(request)
        self._add(request, 1.0 / request.sample_rate)

    def _add(self, request: Parcel, traces: float) -> None:
        kind = _kind(request)
        if kind not in self.unsent and len(self.unsent) >= _MOST_NAMES:
            oldest = next(iter(self.unsent))  # names may contain ids: another name takes over the weight
            traces += self.unsent.pop(oldest)
        self.unsent[kind] = self.unsent.get(kind, 0.0) + traces


def with_chance(request: Parcel, chance: float) -> Parcel:
    """Return the request of a trace that was admitted with this probability."""
    return replace(_with_value(request, SAMPLE_RATE_KEY, chance), sample_rate=chance)


def _with_value(request: Parcel, key: str, value: object) -> Parcel:
    fields: dict[str, Any] = orjson.loads(request.fields)
    add_metadata(fields, key, value)
    return replace(request, fields=orjson.dumps(fields))


def add_metadata(fields: dict[str, Any], key: str, value: object) -> None:
    """Add a value to the metadata of a trace or span."""
    metadata = fields.get("metadata")
    kept = cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else {}
    fields["metadata"] = {**kept, key: value}


def _kind(request: Parcel) -> _Kind:
    return request.is_error, request.is_slow, request.name
