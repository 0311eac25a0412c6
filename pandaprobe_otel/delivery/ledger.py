"""Counts of all spans: ended = delivered + dropped by reason + pending, at any time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCounts:
    """Consistent reading of the ledger."""

    ended: int
    delivered: int
    dropped: Mapping[str, int]
    scores_dropped: Mapping[str, int]
    traces_delivered: int
    answers: Mapping[str, int]
    leases: int
    """Tokens taken by traces. `wait_s`: the total time that these traces waited for them."""
    wait_s: float

    @property
    def pending(self) -> int:
        """Spans that have ended but are neither delivered nor dropped yet."""
        return self.ended - self.delivered - sum(self.dropped.values())


class Ledger:
    """Span counts under one lock. Each method only adds or reads."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start from zero with a new lock; also in a forked child, because the parent counts its own spans."""
        self._lock = threading.Lock()
        self._ended = 0
        self._delivered = 0
        self._traces = 0
        self._leases, self._wait_s = 0, 0.0
        self._dropped: Counter[str] = Counter()
        self.has_drops = False
        """True if any spans were dropped."""
        self._scores_dropped: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()

    def ended(self, spans: int) -> None:
        """Count spans that have ended."""
        with self._lock:
            self._ended += spans

    def refused(self, reason: str) -> None:
        """Count a span that has ended and is dropped at once. No interrupt can come between the two counts."""
        with self._lock:
            dropped = self._dropped.get(reason, 0) + 1
            self._ended += 1
            self._dropped[reason] = dropped
            self.has_drops = True

    def delivered(self, spans: int, *, traces: int = 0) -> None:
        """Count spans that the server has accepted, and the traces that were posted with them."""
        with self._lock:
            self._delivered += spans
            self._traces += traces

    def leased(self, wait_s: float) -> None:
        """Count a trace that has taken a token after waiting for `wait_s`."""
        with self._lock:
            self._leases += 1
            self._wait_s += wait_s

    def dropped(self, reason: str, spans: int) -> None:
        """Count spans that will not be delivered, under a named reason. A negative number takes some back."""
        if spans:
            with self._lock:
                self._dropped[reason] += spans
                if not self._dropped[reason]:
                    del self._dropped[reason]
                self.has_drops = True

    def score_dropped(self, reason: str, scores: int = 1) -> None:
        """Count a score that will not be delivered, under a named reason. A negative number takes some back."""
        with self._lock:
            self._scores_dropped[reason] += scores
            if not self._scores_dropped[reason]:
                del self._scores_dropped[reason]

    def answered(self, verdict: str) -> None:
        """Count an answer of the server by its meaning."""
        with self._lock:
            self._answers[verdict] += 1

    def read(self) -> LedgerCounts:
        """Read all counts at one moment."""
        with self._lock:
            return LedgerCounts(
                ended=self._ended,
                delivered=self._delivered,
                dropped=MappingProxyType(dict(self._dropped)),
                scores_dropped=MappingProxyType(dict(self._scores_dropped)),
                traces_delivered=self._traces,
                answers=MappingProxyType(dict(self._answers)),
                leases=self._leases,
                wait_s=self._wait_s,
            )
