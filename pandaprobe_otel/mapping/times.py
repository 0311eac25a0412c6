"""Nanoseconds since the epoch -> RFC 3339 text in UTC with microseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_THREE_DIGITS: Final = tuple(f"{number:03d}" for number in range(1000))
_END: Final = 253_402_300_800
"""The end of the year 9999: what a date can express."""


def rfc3339(ns: int) -> str:
    """Return the time as `2026-01-02T03:04:05.678901Z`; times before 1970 or after 9999 become the nearest of these."""
    seconds, rest = divmod(ns, 1_000_000_000)
    if not 0 <= seconds < _END:
        seconds, rest = (0, 0) if seconds < 0 else (_END - 1, 999_999_999)
    # Two looked up thousands take a quarter less than one number that is filled up with zeros (benchmarks/mapping).
    return f"{_second(seconds)}.{_THREE_DIGITS[rest // 1_000_000]}{_THREE_DIGITS[rest // 1000 % 1000]}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
