"""When not every trace can go, each one that goes says for how many it stands, so that counts can be scaled back.

One over `sample_rate` is that number. Of traces that are let through by chance, `sample_rate` is the chance. What is
dropped for want of room after that was no chance: those for which it stood are added to those for which the next one
of its kind stands, which is one of its name (and outcome, and slow like it or not).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.delivery.parcel import Parcel

SAMPLE_RATE_KEY: Final = "pandaprobe_otel.sample_rate"
"""Metadata key of the share of such traces that was sent, sampling by `sample_rate` included."""

_MOST_NAMES: Final = 10_000

_Kind = tuple[bool, bool, str]


class Shares:
    """Who stands for whom. Not thread-safe: the dispatcher calls it under its lock."""

    def __init__(self) -> None:
        self._unsent: dict[_Kind, float] = {}
        self._carried: dict[str, float] = {}
        """For how many traces, besides those that its own chance tells of, a trace on its way stands."""

    @property
    def is_in_use(self) -> bool:
        """Whether a trace stands for others, or is to."""
        return bool(self._unsent or self._carried)

    def evicted(self, parcel: Parcel) -> None:
        """The trace was dropped for want of room; the next of its kind stands for it too."""
        self._add(parcel, 1.0 / parcel.sample_rate + self._carried.pop(parcel.trace_id, 0.0))

    def gone(self, parcel: Parcel) -> None:
        """The trace was dropped for a reason of its own; those for which it stood still need another."""
        carried = self._carried.pop(parcel.trace_id, 0.0)
        if carried:
            self._add(parcel, carried)

    def arrived(self, parcel: Parcel) -> None:
        """The trace was delivered."""
        self._carried.pop(parcel.trace_id, None)

    def attach(self, parcel: Parcel) -> Parcel:
        """The parcel with its share; the same parcel when it stands for no other."""
        unsent = self._unsent.pop(_kind(parcel), 0.0)
        if not unsent:
            return parcel
        carried = self._carried.get(parcel.trace_id, 0.0) + unsent
        self._carried[parcel.trace_id] = carried
        return _told(parcel, 1.0 / (1.0 / parcel.sample_rate + carried))

    def _add(self, parcel: Parcel, traces: float) -> None:
        kind = _kind(parcel)
        if kind not in self._unsent and len(self._unsent) >= _MOST_NAMES:
            oldest = next(iter(self._unsent))  # names that hold an id, say: one of them stands for another
            traces += self._unsent.pop(oldest)
        self._unsent[kind] = self._unsent.get(kind, 0.0) + traces


def with_chance(parcel: Parcel, chance: float) -> Parcel:
    """The parcel of a trace that was let through by this chance.

    When it was sampled before by the same randomness, the smaller of the two chances is that of both.
    """
    return parcel if chance >= parcel.sample_rate else replace(_told(parcel, chance), sample_rate=chance)


def _told(parcel: Parcel, rate: float) -> Parcel:
    fields: dict[str, Any] = orjson.loads(parcel.fields)
    metadata = fields.get("metadata")
    kept = cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else dict[str, Any]()
    fields["metadata"] = {**kept, SAMPLE_RATE_KEY: rate}
    return replace(parcel, fields=orjson.dumps(fields))


def _kind(parcel: Parcel) -> _Kind:
    return parcel.is_error, parcel.is_slow, parcel.name
