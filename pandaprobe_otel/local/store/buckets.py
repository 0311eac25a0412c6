"""Time buckets and percentiles of analytics, as computed by PostgreSQL's date_trunc and percentile_cont."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pandaprobe_otel.api.fields import AnalyticsGranularity
from pandaprobe_otel.local.times import DAY, HOUR

_WEEK: Final = 7 * DAY
# The epoch was a Thursday; weeks begin on Monday.
_MONDAY: Final = 4 * DAY


def bucket_of(micros: int, granularity: AnalyticsGranularity) -> int:
    """Return the beginning of the bucket of a moment."""
    if granularity == "hour":
        return micros - micros % HOUR
    if granularity == "day":
        return micros - micros % DAY
    return micros - (micros - _MONDAY) % _WEEK


def percentile(ordered: Sequence[float], fraction: float) -> float | None:
    """Return a percentile of ascending values, interpolated between neighbours; None without values."""
    if not ordered:
        return None
    position = fraction * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def mean(values: Sequence[float]) -> float | None:
    """Return the mean; None without values."""
    return sum(values) / len(values) if values else None
