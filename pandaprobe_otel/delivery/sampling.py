"""Ranks of traces when not all can be sent, and the weights of those that are sent.

The outbox is a bounded queue. If it is full, it leaves out the traces of the lowest rank: see `Outbox`. The weight of a
sent trace is the number of traces for which it stands, so that counts can be scaled back; it is one over `sample_rate`.
The weight of a trace that is left out is added to the next trace of its kind: one that agrees in being an error or not,
and in being slow or the first of its name or neither. So the weights add up to the number of traces. Drops for any
reason are reported by the next trace.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast
from zlib import crc32

import orjson

from pandaprobe_otel.delivery.parcel import Parcel

SAMPLE_RATE_KEY: Final = "pandaprobe_otel.sample_rate"
"""Metadata key for the share of traces of this kind that was sent, including sampling by `sample_rate`."""
_DROPPED_KEY: Final = "pandaprobe_otel.dropped"
_BY_WISH: Final = frozenset({"filtered", "sampled_out"})
"""Reasons for drops that a setting asks for; such drops are not losses."""
_SPACE: Final = 1 << 56
_FIRST_AGAIN_S: Final = 600.0
_MOST_NAMES: Final = 4000
_NEEDED: Final = 20
"""Number of known traces of a name before any of them counts as slow."""
_UP: Final = 1.2
_DOWN: Final = 0.9963
"""Factor of a step down. One step up and 49 steps down make 1, so one trace in fifty stays above the mark."""
_USUAL: Final = 2.0
_WEIGHT: Final = 0.05


def randomness(trace_id: int) -> float:
    """Return the randomness of a trace id, by which all processes that sample a trace make the same decision.

    It goes from 0 to 1 (by rounding, 1 itself is possible). W3C Trace Context (level 2, "random-trace-id flag")
    promises randomness in the lowest 56 bits. OpenTelemetry's consistent probability sampling keeps a trace if these
    bits are not below a threshold. So if one process keeps fewer traces than another, all its traces are among those of
    the other.
    """
    return (trace_id & (_SPACE - 1)) / _SPACE


def randomness_of_uuid(trace_id: str) -> float:
    """Return the randomness of a PandaProbe trace id (a UUID); for any other text, return a hash."""
    try:
        return int(trace_id[-15:-13] + trace_id[-12:], 16) / _SPACE
    except ValueError:
        return crc32(trace_id.encode("utf-8", "surrogatepass")) / (1 << 32)


@dataclass(slots=True)
class _Usual:
    """Numbers of one name."""

    first_at: float
    """Time of the newest trace that counted as the first of its name."""
    mark_s: float
    usual_s: float
    count: int = 0


class Names:
    """Detection of slow traces and of the first of each name. It keeps four numbers for each of the latest names.

    A trace is slow if it took longer than 49 of 50 recent ones of its name, and over twice the usual time. It is the
    first if there was none of its name for ten minutes. Traces with an error have names of their own.
    """

    def __init__(self) -> None:
        self._names: OrderedDict[tuple[str, bool], _Usual] = OrderedDict()

    def look_at(self, parcel: Parcel, now: float) -> None:
        """Mark a trace that is slow or the first of its name, and count it for later ones."""
        key, seconds = (parcel.name, parcel.is_error), parcel.duration_s
        known = self._names.get(key)
        if known is None:
            known = self._names[key] = _Usual(now, seconds, seconds)
            parcel.is_first = True
            if len(self._names) > _MOST_NAMES:
                self._names.popitem(last=False)
        else:
            self._names.move_to_end(key)
            if now - known.first_at >= _FIRST_AGAIN_S:
                known.first_at, parcel.is_first = now, True
            parcel.is_slow = known.count >= _NEEDED and seconds > max(known.mark_s, known.usual_s * _USUAL)
            known.mark_s *= _UP if seconds > known.mark_s else _DOWN
            known.usual_s += _WEIGHT * (seconds - known.usual_s)
        known.count += 1


_Kind = tuple[bool, bool]


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

    def attach(self, parcel: Parcel, dropped: Mapping[str, int]) -> bytes | None:
        """Return the parcel's fields with its weight and the drop counts since the last report; None without either.

        A further attempt gets those of the first one, too.
        """
        new = {
            reason: count - self._reported[reason]
            for reason, count in dropped.items()
            if reason not in _BY_WISH and count > self._reported[reason]
        }
        unsent = self.unsent.pop(_kind(parcel), 0.0)
        if not (new or unsent or parcel.trace_id in self.carried):
            return None
        self._reported.update(new)
        carried = self.carried.setdefault(parcel.trace_id, _Carried())
        carried.dropped.update(new)
        carried.weight += unsent
        fields: dict[str, Any] = orjson.loads(parcel.fields)
        if carried.dropped:
            add_metadata(fields, _DROPPED_KEY, dict(carried.dropped))
        if carried.weight:
            add_metadata(fields, SAMPLE_RATE_KEY, 1.0 / (1.0 / parcel.sample_rate + carried.weight))
        return orjson.dumps(fields)

    def gone(self, parcel: Parcel) -> None:
        """Release the weight and the drop counts that a dropped trace carried, so that other traces carry them."""
        carried = self.carried.pop(parcel.trace_id, None)
        if carried is not None:
            self._reported.subtract(carried.dropped)
            if carried.weight:
                self._add(parcel, carried.weight)

    def evicted(self, parcel: Parcel) -> None:
        """Let the next trace of the same kind also stand for one that was dropped for lack of room."""
        self.gone(parcel)
        self._add(parcel, 1.0 / parcel.sample_rate)

    def _add(self, parcel: Parcel, traces: float) -> None:
        kind = _kind(parcel)
        self.unsent[kind] = self.unsent.get(kind, 0.0) + traces


def add_metadata(fields: dict[str, Any], key: str, value: object) -> None:
    """Add a value to the metadata of a trace or span."""
    metadata = fields.get("metadata")
    kept = cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else {}
    fields["metadata"] = {**kept, key: value}


def _kind(parcel: Parcel) -> _Kind:
    return parcel.is_error, parcel.is_slow or parcel.is_first
