"""The Retry-After header in both of its forms (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime

LONGEST_S = 3600.0
"""A wait that a header may impose; a longer one is a mistake of a proxy more often than a wish."""


def parse_retry_after(value: str | None, date: str | None = None) -> float | None:
    """Return the seconds to wait, between 0 and `LONGEST_S`; None when absent or garbage.

    An HTTP date is read against the answer's own `Date` header, so that a wrong local clock does not matter.
    """
    if value is None or not value.strip():
        return None
    try:
        seconds = float(value)
    except ValueError:
        return _until(value, date)
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, LONGEST_S)


def _until(value: str, date: str | None) -> float | None:
    if date is None:
        return None
    try:
        seconds = (parsedate_to_datetime(value) - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError):  # not a date, or one with a zone and one without
        return None
    return min(max(seconds, 0.0), LONGEST_S)
