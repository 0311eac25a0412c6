"""Sampling under lasting overload, to keep about as many traces as the budget can send.

An overload is lasting if traces have waited for tokens for two minutes, and sending the waiting ones takes ten minutes,
or they fill half of the room. (With a spool, only the room matters, because traces of the day may be sent at night.)
Then traces are admitted by the randomness of their ids, at a share that follows the rate of tokens. At that backlog, as
many traces are admitted as are sent; at a smaller backlog, up to a quarter more; at a larger backlog, as few as nine
tenths.

Errors come first, then slow traces and the first trace of each name in ten minutes. Errors, and slow or first traces
together, are each cut only if they would take more than their part while the other traces need theirs.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import replace
from typing import Final

from pandaprobe_otel.delivery.arrival_rates import MEMORY_S, Arrivals, Rate
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest
from pandaprobe_otel.delivery.randomness import randomness_of_uuid

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


class _Durations:
    __slots__ = ("count", "mark_s", "usual_s")

    def __init__(self, first_s: float) -> None:
        self.count, self.mark_s, self.usual_s = 1, first_s, first_s

    def add(self, duration_s: float) -> bool:
        is_slow = self.count >= _NEEDED and duration_s > max(self.mark_s, self.usual_s * _USUAL)
        self.count += 1
        self.mark_s *= _UP if duration_s > self.mark_s else _DOWN
        self.usual_s += _WEIGHT * (duration_s - self.usual_s)
        return is_slow


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
            self._names[name] = _Durations(duration_s)
            if len(self._names) > _MOST_NAMES:
                self._names.popitem(last=False)
            return False
        self._names.move_to_end(name)
        return known.add(duration_s)


class TailSampler:
    """Sampler of arriving traces. Not thread-safe: the policy calls it under its lock.

    Times are monotonic, in seconds. patience_min: minutes of sending that may wait; infinite if traces wait on disk.
    """

    def __init__(self, patience_min: float = PATIENCE_MIN) -> None:
        self._patience_min = patience_min
        self._now = self._clock = 0.0
        """Clock that stops while a cause other than the budget prevents sending."""
        self._names: OrderedDict[str, float] = OrderedDict()
        self._left_out: OrderedDict[str, None] = OrderedDict()
        self._slowness = Slowness()
        self._begin(0.0)

    def _begin(self, clock: float) -> None:
        self._is_calm = False
        self._since = clock
        self._renew_at = 0.0
        self._lasts = False
        self._sent = Rate(clock)
        self._errors, self._firsts, self._others = Arrivals(clock), Arrivals(clock), Arrivals(clock)
        self._flows = (self._errors, self._firsts, self._others)

    @property
    def cut(self) -> float:
        """Randomness below which a trace without priority is left out; 0 if no trace is left out."""
        return self._others.cut

    def sent(self) -> None:
        """Count a trace that took a token."""
        self._sent.count(self._clock)

    def marked(self, request: OutgoingRequest) -> OutgoingRequest:
        """Return the request of a new trace, marked if the trace was slow."""
        is_slow = self._slowness.is_slow(request.name, request.duration_s)
        return replace(request, is_slow=True) if is_slow else request

    def left_out(self, trace_id: str) -> None:
        """Leave out a trace and all its later requests."""
        self._left_out[trace_id] = None
        if len(self._left_out) > _MOST_REMEMBERED:
            self._left_out.popitem(last=False)

    def is_left_out(self, trace_id: str) -> bool:
        """Return whether the trace is left out."""
        return trace_id in self._left_out

    def chance(self, request: OutgoingRequest, *, waiting: int, fill: float, blocked: bool, now: float) -> float:
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
        flow = self._flow_of(request)
        randomness = randomness_of_uuid(request.trace_id)
        if not blocked:
            flow.arrived(randomness, self._clock)
        if self._clock - self._since >= _LASTING_S and self._clock >= self._renew_at:
            self._renew_at = self._clock + _RENEW_S
            self._renew(waiting, fill)
        if randomness < flow.cut:
            return 0.0
        if flow is not self._errors:
            self._remember(request.name)
        return 1.0 - flow.cut

    def calm(self, request: OutgoingRequest, now: float) -> float:
        """Note a trace that arrives while none waits for a token; return its probability of admission, which is 1."""
        self._clock += max(now - self._now, 0.0)
        self._now = now
        if not self._is_calm:
            self._begin(self._clock)
            self._is_calm = True
        if not request.is_error:
            self._remember(request.name)
        return 1.0

    def _flow_of(self, request: OutgoingRequest) -> Arrivals:
        if request.is_error:
            return self._errors
        last = self._names.get(request.name)
        is_first = last is None or self._clock - last >= _FIRST_AGAIN_S
        return self._firsts if is_first or request.is_slow else self._others

    def _remember(self, name: str) -> None:
        if self._names.get(name, self._clock - _FIRST_AGAIN_S) <= self._clock - _FIRST_AGAIN_S:
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
        errors, firsts, others = (flow.per_minute(self._clock) for flow in self._flows)
        budget = goes * min(max(1.5 - pressure / 2, _LEAST), _MOST)
        if errors + firsts + others <= goes:
            budget = math.inf  # the backlog is older and will be sent
        errors = self._errors.limit(max(goes * _ERRORS, budget - firsts - others), self._clock)
        firsts = self._firsts.limit(max(goes * _FIRSTS, budget - errors - others), self._clock)
        self._others.limit(max(goes * _OTHERS, budget - errors - firsts), self._clock)
