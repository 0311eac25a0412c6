"""The Retry-After header in both of its forms (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_EPOCH_FROM_S = 1e9
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


def parse_rate_limit_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until the limit opens again, by the headers that proxies add to a 429; None where there are none.

    Read are `RateLimit` with its `t` parameter and `RateLimit-Reset` (drafts of the IETF's httpapi group), and
    `X-RateLimit-Reset` as seconds or as a time since the epoch. Header names are in lower case.
    """
    structured = re.search(r";\s*t=(\d+)", headers.get("ratelimit", ""))
    for value in (structured and structured.group(1), headers.get("ratelimit-reset"), headers.get("x-ratelimit-reset")):
        seconds = parse_retry_after(value)
        if seconds is None:
            continue
        if float(value or 0) < _EPOCH_FROM_S:
            return seconds
        return _until_epoch(float(value or 0), headers.get("date"))
    return None


def _until_epoch(epoch_s: float, date: str | None) -> float | None:
    if date is None:
        return None
    try:
        now = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return None
    return min(max(epoch_s - now, 0.0), LONGEST_S)


def _until(value: str, date: str | None) -> float | None:
    if date is None:
        return None
    try:
        seconds = (parsedate_to_datetime(value) - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError):  # not a date, or one with a zone and one without
        return None
    return min(max(seconds, 0.0), LONGEST_S)
