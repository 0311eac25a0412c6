"""Wait that a server asks for: Retry-After (RFC 9110, section 10.2.3), and headers that proxies send instead of it.

The result is between one second and ten minutes, or None. A zero or a past date also gives None, because a server that
has just refused a request does not mean "now", and our own schedule is safer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

SHORTEST_S: Final = 1.0
LONGEST_S: Final = 600.0
"""A longer wait is usually a proxy's mistake, and a request every ten minutes does no harm."""
_EPOCH_FROM_S: Final = 1e9
_MOST_CHARACTERS: Final = 64


def parse_retry_after(value: str | None, date: str | None = None) -> float | None:
    """Return the seconds to wait, between `SHORTEST_S` and `LONGEST_S`; None if absent, invalid or too short.

    An HTTP date is compared with the answer's own `Date` header, so that a wrong local clock does not matter.
    """
    seconds = _number(value)
    if seconds is None:
        until, now = _time(value), _time(date)
        seconds = until - now if until is not None and now is not None else 0.0
    return _bounded(seconds)


def parse_rate_limit_reset(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until the limit resets, from the headers that proxies add to a 429; None without them.

    Reads `RateLimit` with its `t` parameter, `RateLimit-Reset` (both drafts of the IETF's httpapi group), and
    `X-RateLimit-Reset` as seconds or as a time since the epoch. Header names are in lower case.
    """
    structured = re.search(r";\s*t=(\d+)", headers.get("ratelimit", ""))
    for value in (structured and structured.group(1), headers.get("ratelimit-reset"), headers.get("x-ratelimit-reset")):
        seconds = _number(value)
        if seconds is None:
            continue
        if seconds >= _EPOCH_FROM_S:
            now = _time(headers.get("date"))
            seconds = 0.0 if now is None else seconds - now
        return _bounded(seconds)
    return None


def _bounded(seconds: float) -> float | None:
    return min(seconds, LONGEST_S) if seconds >= SHORTEST_S else None


def _number(value: str | None) -> float | None:
    try:
        number = float((value or "")[:_MOST_CHARACTERS])
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _time(value: str | None) -> float | None:
    """Return an HTTP date in seconds since the epoch, or None."""
    try:
        time = parsedate_to_datetime((value or "")[:_MOST_CHARACTERS])
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ArithmeticError, LookupError, TypeError, ValueError):  # a bad year or zone, or not a date at all
        return None
