"""The choice among more traces than can be sent, and the weights of those that are sent.

Sampling keeps about as many traces as the budget can send. An overload is lasting if traces have waited for tokens for
two minutes, and sending the waiting ones takes ten minutes, or they fill half of the room. (With a spool, only the room
matters, because traces of the day may be sent at night.) Then traces are admitted by the randomness of their ids, at a
share that follows the rate of tokens. At that backlog, as many traces are admitted as are sent; at a smaller backlog,
up to a quarter more; at a larger backlog, as few as nine tenths.

Errors come first, then slow traces and the first trace of each name in ten minutes. Errors, and slow or first traces
together, are each cut only if they would take more than their part while the other traces need theirs.

The weight of a sent trace is the number of traces for which it stands, so that counts can be scaled back; it is one
over `sample_rate`. For traces admitted by chance, `sample_rate` is the probability. A later drop for lack of room is
not by chance, so the weight of the dropped trace is added to the next trace of its kind: one of the same name that
agrees in being an error or not, and slow or not. Drops for any reason are reported by the next trace.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
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
_MOST_KINDS: Final = 10_000
_SPACE: Final = 1 << 56
MEMORY_S: Final = 120.0
"""Time constant of the decay: in this time, the weight of an event falls by the factor e."""
_SMALLEST_KNOWN: Final = 0.2
_CUT_STEP: Final = 0.02
_NO_CUT: Final = 0.01
_REMEMBERED: Final = 1000
"""Traces whose randomness determines the cut."""
PATIENCE_MIN: Final = 10.0
"""Minutes of sending that may wait before traces are left out."""
FULLEST: Final = 0.5
_LASTING_S: Final = MEMORY_S
_RENEW_S: Final = 1.0
_ERRORS: Final = 0.8
_FIRSTS: Final = 0.15
_OTHERS: Final = 0.05
"""Parts of the sent traces guaranteed to errors, to slow or first traces, and to all others."""
_LEAST: Final = 0.9
_MOST: Final = 1.25
"""Bounds on admission, as multiples of the send rate."""
_LONGEST_GAP_S: Final = 60.0
"""Longest time that counts between two arrivals while traces wait. After a longer one, the process was suspended."""
_FIRST_AGAIN_S: Final = 600.0
_MOST_REMEMBERED: Final = 10_000
_MOST_NAMES: Final = 1000
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


class Rate:
    """Events per minute, with exponential decay. Times are in seconds and never decrease."""

    def __init__(self, now: float) -> None:
        self._since = self._at = now
        self._weight = 0.0

    def count(self, now: float) -> None:
        """Count one event."""
        self._weight = self._weight * math.exp((self._at - now) / MEMORY_S) + 1.0
        self._at = now

    def per_minute(self, now: float) -> float:
        """Return the recent rate; shortly after the beginning, return the rate since then."""
        observed_s = MEMORY_S * -math.expm1(-max(now - self._since, 1.0) / MEMORY_S)
        return self._weight * math.exp((self._at - now) / MEMORY_S) / observed_s * 60.0


class Arrivals(Rate):
    """Arriving traces of one kind, and the randomness below which they are left out.

    The cut is a quantile of the arrived traces, not the share itself: if another sampler has used the same randomness,
    the traces are not spread evenly. Within the highest fifth, they are assumed to be even: a share of a hundredth
    would leave too few traces for a quantile.
    """

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.seen: deque[float] = deque(maxlen=_REMEMBERED)
        """Randomness of each counted trace."""
        self.cut = 0.0

    def limit(self, most: float, now: float) -> float:
        """Let `most` traces a minute through; return the number that will pass. Call this once a second."""
        arriving = self.per_minute(now)
        if arriving <= most:
            self._move(0.0)
            return arriving
        share = max(most, 0.0) / arriving
        known = max(share, _SMALLEST_KNOWN)
        quantile = sorted(self.seen)[int((1.0 - known) * len(self.seen))]
        self._move(1.0 - (1.0 - quantile) * share / known)
        return most

    def _move(self, cut: float) -> None:
        """Move the cut in small steps. If it varied quickly, processes that share traces would adopt its maximum."""
        step = 1.0 if not self.cut else _CUT_STEP
        self.cut += (cut - self.cut) * step
        if self.cut < _NO_CUT:
            self.cut = 0.0


@dataclass(slots=True)
class _Durations:
    count: int
    mark_s: float
    usual_s: float


class Slowness:
    """Detection of slow traces: they are slower than 49 of 50 recent ones of their name, and take over twice the usual
    time. It keeps two numbers for each of the last thousand names.
    """

    def __init__(self) -> None:
        self._names: OrderedDict[str, _Durations] = OrderedDict()

    def is_slow(self, name: str, duration_s: float) -> bool:
        """Return whether a trace of this name took unusually long, and count it for later ones."""
        known = self._names.get(name)
        if known is None:
            self._names[name] = _Durations(1, duration_s, duration_s)
            if len(self._names) > _MOST_NAMES:
                self._names.popitem(last=False)
            return False
        self._names.move_to_end(name)
        is_slow = known.count >= _NEEDED and duration_s > max(known.mark_s, known.usual_s * _USUAL)
        known.count += 1
        known.mark_s *= _UP if duration_s > known.mark_s else _DOWN
        known.usual_s += _WEIGHT * (duration_s - known.usual_s)
        return is_slow


class TailSampler:
    """Sampler of arriving traces. Not thread-safe: the policy calls it under its lock.

    Times are monotonic, in seconds. patience_min: minutes of sending that may wait; infinite if traces wait on disk.
    """

    def __init__(self, patience_min: float = PATIENCE_MIN) -> None:
        self._patience_min = patience_min
        self._now = self._clock = 0.0
        """Clock that stops while a cause other than the budget prevents sending."""
        self._names: OrderedDict[str, float] = OrderedDict()
        self.is_slow = Slowness().is_slow
        self.left_out: OrderedDict[str, None] = OrderedDict()
        """Newest traces that were left out, whose later requests are left out too."""
        self._begin(0.0)

    def _begin(self, clock: float) -> None:
        self._is_calm = False
        self._since = clock
        self._renew_at = 0.0
        self._lasts = False
        self._sent = Rate(clock)
        self._errors, self._firsts, self.others = Arrivals(clock), Arrivals(clock), Arrivals(clock)

    def sent(self) -> None:
        """Count a trace that took a token."""
        self._sent.count(self._clock)

    def leave_out(self, trace_id: str) -> None:
        """Leave out a trace and all its later requests."""
        self.left_out[trace_id] = None
        if len(self.left_out) > _MOST_REMEMBERED:
            self.left_out.popitem(last=False)

    def chance(self, parcel: Parcel, *, waiting: int, fill: float, blocked: bool, now: float) -> float:
        """Return the probability with which a trace like this one is admitted while others wait; 0 if this one is left
        out.

        waiting: traces that wait for a token. fill: used share of the room for waiting traces. blocked: a cause other
        than the budget prevents sending now.
        """
        if self._is_calm:
            self._begin(self._clock)
        if not blocked:
            self._clock += min(max(now - self._now, 0.0), _LONGEST_GAP_S)
        self._now = now
        is_first = self._clock - self._names.get(parcel.name, -math.inf) >= _FIRST_AGAIN_S
        if parcel.is_error:
            flow = self._errors
        elif is_first or parcel.is_slow:
            flow = self._firsts
        else:
            flow = self.others
        randomness = randomness_of_uuid(parcel.trace_id)
        if not blocked:
            flow.count(self._clock)
            flow.seen.append(randomness)
        if self._clock - self._since >= _LASTING_S and self._clock >= self._renew_at:
            self._renew_at = self._clock + _RENEW_S
            self._renew(waiting, fill)
        if randomness < flow.cut:
            return 0.0
        if is_first and not parcel.is_error:
            self._remember(parcel.name)
        return 1.0 - flow.cut

    def calm(self, parcel: Parcel, now: float) -> float:
        """Note a trace that arrives while none waits for a token; return its probability of admission, which is 1."""
        self._clock += max(now - self._now, 0.0)
        self._now = now
        if not self._is_calm:
            self._begin(self._clock)
            self._is_calm = True
        if not parcel.is_error and self._clock - self._names.get(parcel.name, -math.inf) >= _FIRST_AGAIN_S:
            self._remember(parcel.name)
        return 1.0

    def _remember(self, name: str) -> None:
        """Remember the name of a trace that is the first of its name in ten minutes."""
        self._names[name] = self._clock
        self._names.move_to_end(name)
        if len(self._names) > _MOST_REMEMBERED:
            self._names.popitem(last=False)

    def _renew(self, waiting: int, fill: float) -> None:
        """Recompute the cuts."""
        goes = self._sent.per_minute(self._clock)
        if not goes:
            return
        pressure = max(waiting / goes / self._patience_min, fill / FULLEST)
        self._lasts = self._lasts or pressure >= 1.0
        if not self._lasts:
            return
        errors, firsts, others = (flow.per_minute(self._clock) for flow in (self._errors, self._firsts, self.others))
        budget = goes * min(max(1.5 - pressure / 2, _LEAST), _MOST)
        if errors + firsts + others <= goes:
            budget = math.inf  # the backlog is older and will be sent
        errors = self._errors.limit(max(goes * _ERRORS, budget - firsts - others), self._clock)
        firsts = self._firsts.limit(max(goes * _FIRSTS, budget - errors - others), self._clock)
        self.others.limit(max(goes * _OTHERS, budget - errors - firsts), self._clock)


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

    def attach(self, parcel: Parcel, dropped: Mapping[str, int]) -> bytes | None:
        """Return the parcel's fields with its weight and the drop counts since the last report; None without either."""
        new = {
            reason: count - self._reported[reason]
            for reason, count in dropped.items()
            if reason not in _BY_WISH and count > self._reported[reason]
        }
        fields: bytes | None = None
        if new:
            self._reported.update(new)
            carried = self.carried.setdefault(parcel.trace_id, _Carried())
            carried.dropped.update(new)
            fields = _with_value(parcel.fields, _DROPPED_KEY, dict(carried.dropped))
        if unsent := self.unsent.pop(_kind(parcel), 0.0):
            carried = self.carried.setdefault(parcel.trace_id, _Carried())
            carried.weight += unsent
            rate = 1.0 / (1.0 / parcel.sample_rate + carried.weight)
            fields = _with_value(fields or parcel.fields, SAMPLE_RATE_KEY, rate)
        return fields

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
        if kind not in self.unsent and len(self.unsent) >= _MOST_KINDS:
            oldest = next(iter(self.unsent))  # names may contain ids: another name takes over the weight
            traces += self.unsent.pop(oldest)
        self.unsent[kind] = self.unsent.get(kind, 0.0) + traces


def admit_by_chance(parcel: Parcel, chance: float) -> None:
    """Note in a parcel that its trace was admitted with this probability."""
    parcel.fields = _with_value(parcel.fields, SAMPLE_RATE_KEY, chance)
    parcel.sample_rate = chance


def _with_value(encoded: bytes, key: str, value: object) -> bytes:
    fields: dict[str, Any] = orjson.loads(encoded)
    add_metadata(fields, key, value)
    return orjson.dumps(fields)


def add_metadata(fields: dict[str, Any], key: str, value: object) -> None:
    """Add a value to the metadata of a trace or span."""
    metadata = fields.get("metadata")
    kept = cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else {}
    fields["metadata"] = {**kept, key: value}


def _kind(parcel: Parcel) -> _Kind:
    return parcel.is_error, parcel.is_slow, parcel.name
