"""Nanoseconds since the epoch -> RFC 3339 text in UTC with microseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_END: Final = 253_402_300_800 * 1_000_000_000
"""The end of the year 9999: what a date can express."""


def rfc3339(ns: int) -> str:
    """Return the time as `2026-01-02T03:04:05.678901Z`; times before 1970 or after 9999 become the nearest of these."""
    if not 0 <= ns < _END:
        ns = 0 if ns < 0 else _END - 1
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
